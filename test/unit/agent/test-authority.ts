/**
 * Certificate authorities and certificates for tests, made afresh each time: any dates, any names, any extensions, so
 * that each refusal is provoked by one change to a chain that is accepted.
 */
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 24 * 3600_000;

export interface CertificateWishes {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly isAuthority?: boolean;
  readonly pathLength?: number;
  readonly keyUsage?: number;
  readonly extendedKeyUsage?: readonly string[];
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly extensions?: readonly x509.Extension[];
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly certificate: x509.X509Certificate;
}

export const SERVER_USE = '1.3.6.1.5.5.7.3.1';
export const CLIENT_USE = '1.3.6.1.5.5.7.3.2';
export const EXPIRED = { notBefore: new Date(Date.now() - 40 * DAY_MS), notAfter: new Date(Date.now() - 10 * DAY_MS) };
export const NOT_YET = { notBefore: new Date(Date.now() + 10 * DAY_MS), notAfter: new Date(Date.now() + 40 * DAY_MS) };

let serial = 1;

/** Self-signed without an issuer. */
export async function issue(
  subject: string,
  wishes: CertificateWishes,
  issuer?: IssuedCertificate,
): Promise<IssuedCertificate> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await certify(subject, wishes, keys, issuer);
  return {
    certificate,
    certificatePem: certificate.toString('pem'),
    privateKeyPem: await pemOf(keys.privateKey),
    keys,
  };
}

async function certify(
  subject: string,
  wishes: CertificateWishes,
  keys: webcrypto.CryptoKeyPair,
  issuer: IssuedCertificate | undefined,
): Promise<x509.X509Certificate> {
  serial += 1;
  const names = [
    ...(wishes.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(wishes.ip ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  return x509.X509CertificateGenerator.create({
    serialNumber: serial.toString(16).padStart(4, '0'),
    subject: `CN=${subject}`,
    issuer: issuer === undefined ? `CN=${subject}` : issuer.certificate.subject,
    notBefore: wishes.notBefore ?? new Date(Date.now() - DAY_MS),
    notAfter: wishes.notAfter ?? new Date(Date.now() + 30 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(wishes.isAuthority ?? false, wishes.pathLength, true),
      ...(wishes.keyUsage === undefined ? [] : [new x509.KeyUsagesExtension(wishes.keyUsage, true)]),
      ...(wishes.extendedKeyUsage === undefined
        ? []
        : [new x509.ExtendedKeyUsageExtension([...wishes.extendedKeyUsage])]),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
      ...(wishes.extensions ?? []),
    ],
  });
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`;
}

export const authority = (name = 'Test CA', wishes: CertificateWishes = {}, issuer?: IssuedCertificate) =>
  issue(
    name,
    { isAuthority: true, keyUsage: x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, ...wishes },
    issuer,
  );

/** A server's certificate for localhost. */
export const serverCertificate = (issuer: IssuedCertificate, wishes: CertificateWishes = {}) =>
  issue(
    'server',
    { dns: ['localhost'], keyUsage: x509.KeyUsageFlags.digitalSignature, extendedKeyUsage: [SERVER_USE], ...wishes },
    issuer,
  );

export const deviceCertificate = (issuer: IssuedCertificate, deviceId: string, wishes: CertificateWishes = {}) =>
  issue(deviceId, { keyUsage: x509.KeyUsageFlags.digitalSignature, extendedKeyUsage: [CLIENT_USE], ...wishes }, issuer);

/** PEM for what a PKCS#10 request (DER) asks, under its own name or another. */
export async function certifyRequest(
  issuer: IssuedCertificate,
  request: Uint8Array,
  wishes: { readonly subject?: string; readonly publicKey?: webcrypto.CryptoKey } = {},
): Promise<string> {
  const asked = new x509.Pkcs10CertificateRequest(Uint8Array.from(request));
  if (!(await asked.verify())) throw new Error('the request is not signed by its key');
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString('hex'),
    subject: wishes.subject === undefined ? asked.subject : `CN=${wishes.subject}`,
    issuer: issuer.certificate.subject,
    publicKey: wishes.publicKey ?? (await asked.publicKey.export()),
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new x509.ExtendedKeyUsageExtension([CLIENT_USE])],
  });
  return certificate.toString('pem');
}

export { x509 };
