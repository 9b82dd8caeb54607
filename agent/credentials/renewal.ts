/**
 * A new certificate for a device that has one, over the connection that the old one made. The key stays: the claim is
 * bound to it, and so is the signature on what is sealed for the owners.
 *
 * May be cut anywhere: the server still takes the old certificate until it has seen the new one, and the file is either
 * the one or the other. An answer that is lost is asked for once more.
 */
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import type { RenewAnswer } from '../../protocol/credentials-api.ts';
import { accept, type Verdict } from '../../trust/refusal.ts';
import { makeCertificateRequest } from './certificate-request.ts';
import { readOrMakeDeviceKey } from './enrolment-key.ts';
import { checkChain, type Identity, type IdentityPaths } from './identity.ts';

/** Sends a PKCS#10 request (DER), gives what the server says. */
export type AskForCertificate = (certificateRequest: Uint8Array) => Promise<Verdict<RenewAnswer>>;

/** Throws what `ask` throws; the old certificate stands then. */
export async function renewCertificate(
  disk: Disk,
  paths: IdentityPaths,
  deviceId: string,
  ask: AskForCertificate,
): Promise<Verdict<Identity>> {
  const key = await readOrMakeDeviceKey(disk, paths);
  const answer = await ask(makeCertificateRequest(key.privateKey, deviceId));
  if (!answer.ok) return answer;
  const { certificateChain } = answer.value;
  const chain = checkChain(certificateChain, deviceId, key.privateKey);
  if (!chain.ok) return chain;
  await writeDurably(disk, paths.certificate, new TextEncoder().encode(certificateChain));
  return accept({ deviceId, privateKeyPem: key.privateKeyPem, certificateChainPem: certificateChain });
}
