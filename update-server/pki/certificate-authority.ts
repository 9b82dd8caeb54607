/**
 * The server's two certificate authorities: one signs the server's own TLS certificate, the other the certificates of
 * devices. They are separate keys, so that neither can speak for the other, and both are for transport identity only:
 * nothing about firmware hangs on them.
 *
 * On disk: `<name>-ca.key` (PKCS#8 PEM, 0600) is made durable before `<name>-ca.pem`. A cut between the two leaves a key
 * without a certificate, and the next start issues the certificate anew. Keys never leave this folder.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  type webcrypto,
  X509Certificate,
} from 'node:crypto';
import { join } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { loadX509, type X509 } from './x509.ts';

export const DAY_MS = 24 * 3600 * 1000;
/** A factory image pins the authority, so it has to outlive the devices that carry it. */
const AUTHORITY_DAYS = 20 * 365;
/** Certificates begin this much earlier than the issuer's clock says: clocks of peers run behind. */
export const CLOCK_SLACK_MS = DAY_MS;
const PEM_CAP_BYTES = 64 * 1024;
const SIGNING = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export type AuthorityName = 'server' | 'device';

export interface CertificateAuthority {
  readonly name: AuthorityName;
  /** Certificate of the authority, PEM. */
  readonly pem: string;
  readonly certificate: X509Certificate;
  /** Signs a leaf certificate for `publicKey`. */
  issue(leaf: LeafCertificate): Promise<string>;
}

export interface LeafCertificate {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly notBeforeUnixMs: number;
  readonly notAfterUnixMs: number;
  readonly usage: 'server' | 'client';
  /** DNS names and IP addresses; empty for devices. */
  readonly names: readonly string[];
}

export interface AuthorityFiles {
  readonly disk: Disk;
  readonly directory: string;
  readonly nowUnixMs: () => number;
}

/** Opens an authority, or makes it. Faults: `pki-damaged` when what stands there does not fit together. */
export async function openAuthority(files: AuthorityFiles, name: AuthorityName): Promise<CertificateAuthority> {
  await makeDirectoryDurably(files.disk, files.directory);
  const pemPath = join(files.directory, `${name}-ca.pem`);
  const stored = await readText(files.disk, pemPath);
  const key = await openKey(files.disk, join(files.directory, `${name}-ca.key`), stored === undefined);
  const pem = stored ?? (await makeAuthority(files, name, key, pemPath));
  const certificate = decodeCertificate(pem, pemPath);
  if (!certificate.checkPrivateKey(key)) throw damaged(pemPath, 'the certificate does not belong to the key beside it');
  return { name, pem, certificate, issue: (leaf) => issueLeaf(certificate, key, leaf) };
}

/** Reads a private key, or makes one durably when `mayMake`. P-256 only. */
export async function openKey(disk: Disk, path: string, mayMake: boolean): Promise<KeyObject> {
  const text = await readText(disk, path);
  if (text === undefined) {
    if (!mayMake) throw damaged(path, 'the private key is missing, its certificate is there');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await writeDurably(disk, path, Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' })));
    return privateKey;
  }
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch {
    // What it is instead does not matter: it is not a key that can be used.
  }
  throw damaged(path, 'this is not a P-256 private key in PEM');
}

export function decodeCertificate(pem: string, where: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw damaged(where, 'this is not a certificate in PEM');
  }
}

export async function readText(disk: Disk, path: string): Promise<string | undefined> {
  const bytes = await disk.readFile(path, PEM_CAP_BYTES);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8');
}

function damaged(where: string, what: string): Fault {
  return new Fault({
    code: 'pki-damaged',
    what,
    where,
    cure: 'Put the pki folder back from a backup. Without one: move it away, start again, and enrol every device anew.',
    exitStatus: EXIT.corrupt,
  });
}

async function makeAuthority(
  files: AuthorityFiles,
  name: AuthorityName,
  key: KeyObject,
  path: string,
): Promise<string> {
  const x509 = await loadX509();
  const now = files.nowUnixMs();
  const publicKey = await importPublicKey(createPublicKey(key));
  const subject = [{ CN: [`Holdfast ${name} CA ${randomBytes(4).toString('hex')}`] }];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject,
    issuer: subject,
    notBefore: new Date(now - CLOCK_SLACK_MS),
    notAfter: new Date(now + AUTHORITY_DAYS * DAY_MS),
    publicKey,
    signingKey: await importPrivateKey(key),
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  const pem = `${certificate.toString('pem')}\n`;
  await writeDurably(files.disk, path, Buffer.from(pem), 0o644);
  return pem;
}

async function issueLeaf(authority: X509Certificate, key: KeyObject, leaf: LeafCertificate): Promise<string> {
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(authority.raw);
  const publicKey = await importPublicKey(leaf.publicKey);
  const usage = leaf.usage === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: [{ CN: [leaf.commonName] }],
    issuer: issuer.subjectName,
    notBefore: new Date(leaf.notBeforeUnixMs),
    notAfter: new Date(leaf.notAfterUnixMs),
    publicKey,
    signingKey: await importPrivateKey(key),
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ...alternativeNames(x509, leaf.names),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

function alternativeNames(x509: typeof X509, names: readonly string[]): X509.Extension[] {
  if (names.length === 0) return [];
  const entries = names.map((value) => ({ type: isAddress(value) ? ('ip' as const) : ('dns' as const), value }));
  return [new x509.SubjectAlternativeNameExtension(entries)];
}

export const isAddress = (name: string): boolean => name.includes(':') || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(name);

/** 16 random bytes, positive and without a leading zero, as RFC 5280 §4.1.2.2 wants it. */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function importPublicKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const spki = key.export({ type: 'spki', format: 'der' });
  return crypto.subtle.importKey('spki', new Uint8Array(spki), SIGNING, true, ['verify']);
}

function importPrivateKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), SIGNING, false, ['sign']);
}
