/**
 * TLS identities for the wire attacks: the real server's, one by its authority with another name, a stranger's that
 * expired; and certificate requests as a device makes them.
 */
import 'reflect-metadata';
import { createPrivateKey, generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

const DAY_MS = 24 * 3600 * 1000;
const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface TlsIdentity {
  /** PKCS#8 PEM. */
  readonly keyPem: string;
  /** Leaf first. */
  readonly chainPem: string;
}

/** The identity of the server whose data folder this is. */
export async function stolenIdentity(dataDirectory: string): Promise<TlsIdentity> {
  const read = (name: string): Promise<string> => readFile(join(dataDirectory, 'pki', name), 'utf8');
  return { keyPem: await read('server.key'), chainPem: (await read('server.pem')) + (await read('server-ca.pem')) };
}

export interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly key: KeyObject;
}

/** The server's authority itself: only for the certificate with another name. */
export async function stolenAuthority(dataDirectory: string): Promise<Authority> {
  const pem = await readFile(join(dataDirectory, 'pki/server-ca.pem'), 'utf8');
  const key = createPrivateKey(await readFile(join(dataDirectory, 'pki/server-ca.key'), 'utf8'));
  return { certificate: new x509.X509Certificate(pem), key };
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

export const pemOfKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

async function keyPair(key: KeyObject): Promise<webcrypto.CryptoKeyPair> {
  const privateKey = await crypto.subtle.importKey(
    'pkcs8',
    new Uint8Array(key.export({ type: 'pkcs8', format: 'der' })),
    P256,
    true,
    ['sign'],
  );
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', privateKey);
  const open = { kty, crv, x, y } as webcrypto.JsonWebKey;
  return { privateKey, publicKey: await crypto.subtle.importKey('jwk', open, P256, true, ['verify']) };
}

/** An authority that nobody has heard of. */
export async function strangersAuthority(): Promise<Authority> {
  const key = newKey();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Stranger CA',
    keys: await keyPair(key),
    signingAlgorithm: P256,
    notBefore: new Date(Date.now() - 400 * DAY_MS),
    notAfter: new Date(Date.now() + 400 * DAY_MS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  return { certificate, key };
}

export interface LeafRequest {
  readonly authority: Authority;
  /** DNS name. */
  readonly name: string;
  /** Days from now; negative: it has expired. */
  readonly lifeDays: number;
}

export async function serverIdentity(request: LeafRequest): Promise<TlsIdentity> {
  const { authority, name, lifeDays } = request;
  const key = newKey();
  const leaf = await x509.X509CertificateGenerator.create({
    subject: `CN=${name}`,
    issuer: authority.certificate.subjectName,
    publicKey: (await keyPair(key)).publicKey,
    signingKey: (await keyPair(authority.key)).privateKey,
    signingAlgorithm: P256,
    notBefore: new Date(Date.now() - 100 * DAY_MS),
    notAfter: new Date(Date.now() + lifeDays * DAY_MS),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }]),
    ],
  });
  return { keyPem: pemOfKey(key), chainPem: `${leaf.toString('pem')}\n${authority.certificate.toString('pem')}\n` };
}

/** A new device key and the request that a device would make with it, DER. */
export async function deviceKeyAndRequest(deviceId: string): Promise<{ keyPem: string; request: Uint8Array }> {
  const key = newKey();
  return { keyPem: pemOfKey(key), request: await certificateRequest(deviceId, key) };
}

export async function certificateRequest(deviceId: string, key: KeyObject): Promise<Uint8Array> {
  const keys = await keyPair(key);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${deviceId}`,
    keys,
    signingAlgorithm: P256,
  });
  return new Uint8Array(request.rawData);
}
