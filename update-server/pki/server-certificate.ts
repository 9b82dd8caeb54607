/**
 * The server's own TLS certificate: one key, one certificate for all three listeners, signed by the server authority,
 * with the names under which devices and people reach it. Renewed when a third of its life is left or a name is missing.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { writeDurably } from '../../platform/durable-file.ts';
import {
  type AuthorityFiles,
  type CertificateAuthority,
  CLOCK_SLACK_MS,
  DAY_MS,
  decodeCertificate,
  isAddress,
  openKey,
  readText,
} from './certificate-authority.ts';

export const SERVER_CERTIFICATE_DAYS = 365;

export interface ServerIdentity {
  /** PKCS#8 PEM. Given to TLS, never logged. */
  readonly keyPem: string;
  /** Leaf and authority, PEM. */
  readonly chainPem: string;
  readonly notAfterUnixMs: number;
}

/** Opens the certificate for `names` (DNS names and IP addresses), or issues it. */
export async function openServerCertificate(
  files: AuthorityFiles,
  authority: CertificateAuthority,
  names: readonly string[],
): Promise<ServerIdentity> {
  const path = join(files.directory, 'server.pem');
  const stored = await readText(files.disk, path);
  const key = await openKey(files.disk, join(files.directory, 'server.key'), true);
  const usable = stored !== undefined && isUsable(stored, path, key, authority, names, files.nowUnixMs());
  const leaf = usable ? stored : await issueServerCertificate(files, authority, key, names, path);
  return {
    keyPem: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    chainPem: leaf + authority.pem,
    notAfterUnixMs: Date.parse(decodeCertificate(leaf, path).validTo),
  };
}

function isUsable(
  pem: string,
  path: string,
  key: KeyObject,
  authority: CertificateAuthority,
  names: readonly string[],
  nowUnixMs: number,
): boolean {
  const certificate = decodeCertificate(pem, path);
  const leftMs = Date.parse(certificate.validTo) - nowUnixMs;
  const named = names.every((name) =>
    isAddress(name) ? certificate.checkIP(name) !== undefined : certificate.checkHost(name) !== undefined,
  );
  return (
    named &&
    leftMs > (SERVER_CERTIFICATE_DAYS / 3) * DAY_MS &&
    certificate.checkPrivateKey(key) &&
    certificate.verify(authority.certificate.publicKey)
  );
}

async function issueServerCertificate(
  files: AuthorityFiles,
  authority: CertificateAuthority,
  key: KeyObject,
  names: readonly string[],
  path: string,
): Promise<string> {
  const now = files.nowUnixMs();
  const pem = await authority.issue({
    commonName: names[0] ?? 'localhost',
    publicKey: createPublicKey(key),
    notBeforeUnixMs: now - CLOCK_SLACK_MS,
    notAfterUnixMs: now + SERVER_CERTIFICATE_DAYS * DAY_MS,
    usage: 'server',
    names,
  });
  await writeDurably(files.disk, path, Buffer.from(pem), 0o644);
  return pem;
}
