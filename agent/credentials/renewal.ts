/**
 * A new key and certificate for a device that has both, over the connection that the old ones made. May be cut anywhere:
 *
 *   1. the next key is durable before it is named            a cut after this: the same key asks again
 *   2. the server issues, and still takes the old one        an answer lost: asked for once more
 *   3. the next certificate is durable beside the old pair   from here on the renewal is decided
 *   4. key, then certificate, are moved over the old ones    a cut in between: `finishRenewal` moves the rest
 *
 * Invariant: at any moment, after `finishRenewal`, key and certificate belong together.
 */
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import type { RenewAnswer } from '../../protocol/credentials-api.ts';
import { accept, type Verdict } from '../../trust/refusal.ts';
import { makeCertificateRequest } from './certificate-request.ts';
import { readOrMakeDeviceKey } from './device-key.ts';
import { checkChain, type Identity, type IdentityPaths } from './identity.ts';
import { finishRenewal, nextOf } from './renewal-end.ts';

/** Sends a PKCS#10 request (DER), gives what the server says. */
export type AskForCertificate = (certificateRequest: Uint8Array) => Promise<Verdict<RenewAnswer>>;

/** Throws what `ask` throws; the old pair stands then. */
export async function renewCertificate(
  disk: Disk,
  paths: IdentityPaths,
  deviceId: string,
  ask: AskForCertificate,
): Promise<Verdict<Identity>> {
  const key = await readOrMakeDeviceKey(disk, nextOf(paths.key));
  const answer = await ask(makeCertificateRequest(key.privateKey, deviceId));
  if (!answer.ok) return answer;
  const { certificateChain } = answer.value;
  const chain = checkChain(certificateChain, deviceId, key.privateKey);
  if (!chain.ok) return chain;
  await writeDurably(disk, nextOf(paths.certificate), new TextEncoder().encode(certificateChain));
  await finishRenewal(disk, paths);
  return accept({ deviceId, privateKeyPem: key.privateKeyPem, certificateChainPem: certificateChain });
}
