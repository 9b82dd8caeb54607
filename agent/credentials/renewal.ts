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

/** At every start, before the identity is read: a renewal that was decided is carried to its end. */
export async function finishRenewal(disk: Disk, paths: IdentityPaths): Promise<void> {
  const names = await disk.list(directoryOf(paths.key));
  const has = (path: string): boolean => names.includes(path.slice(path.lastIndexOf('/') + 1));
  if (!has(nextOf(paths.certificate))) return;
  if (has(nextOf(paths.key))) await moveDurably(disk, nextOf(paths.key), paths.key);
  await moveDurably(disk, nextOf(paths.certificate), paths.certificate);
}

async function moveDurably(disk: Disk, from: string, to: string): Promise<void> {
  await disk.rename(from, to);
  await disk.syncDirectory(directoryOf(to));
}

function nextOf(path: string): string {
  return `${path}.next`;
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
