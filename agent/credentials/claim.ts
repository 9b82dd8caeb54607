/**
 * The claim that the factory gave this device, and the proof of it. The secret stays in memory and in its file (0600);
 * what is sent is an HMAC that is worth nothing on any other connection (protocol/enrolment.ts).
 */
import { createHash, createHmac } from 'node:crypto';
import * as v from 'valibot';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { ClaimFile, claimProofMessage } from '../../protocol/enrolment.ts';

const CLAIM_CAP_BYTES = 4096;

/** Throws a Fault for a claim that is missing or malformed; never says anything of the secret. */
export async function readClaim(disk: Disk, path: string): Promise<ClaimFile> {
  let json: unknown;
  try {
    const bytes = await disk.readFile(path, CLAIM_CAP_BYTES);
    if (bytes === undefined) {
      throw new Fault({
        code: 'claim-missing',
        what: 'this device has no certificate, and no claim to enrol with',
        where: path,
        cure: 'Make a claim for it on the server and put the file there: holdfast devices claims.',
        exitStatus: EXIT.input,
      });
    }
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof FileTooLarge)
      throw malformed(path, 'it is not JSON');
    throw error;
  }
  const claim = v.safeParse(ClaimFile, json);
  if (!claim.success) throw malformed(path, `field ${v.getDotPath(claim.issues[0]) ?? '(all)'}`);
  return claim.output;
}

/** `nonce`: the server's; `exporter`: 32 bytes of the TLS connection that the request will travel on. */
export function proveClaim(
  claim: ClaimFile,
  parts: { nonce: Uint8Array; exporter: Uint8Array; certificateRequest: Uint8Array },
): string {
  const message = claimProofMessage({
    nonce: parts.nonce,
    exporter: parts.exporter,
    certificateRequestSha256: createHash('sha256').update(parts.certificateRequest).digest(),
  });
  return createHmac('sha256', Buffer.from(claim.secret, 'base64url')).update(message).digest('base64url');
}

function malformed(path: string, why: string): Fault {
  return new Fault({
    code: 'claim-malformed',
    what: `the claim file cannot be read (${why})`,
    where: path,
    cure: 'Put the claim file there as the server handed it out, unchanged.',
    exitStatus: EXIT.input,
  });
}
