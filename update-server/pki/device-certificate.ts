/**
 * Certificates of devices: what a request must be before one is issued, and what a presented one must be before it is
 * believed. Both are decisions on bytes; whether a certificate was revoked is the store's to say, at every request.
 */
import { createHash, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { type CertificateAuthority, CLOCK_SLACK_MS } from './certificate-authority.ts';
import { loadX509 } from './x509.ts';

/** DER bytes of a PKCS#10 request. A P-256 one has about 250. */
export const CERTIFICATE_REQUEST_CAP_BYTES = 3072;
const CLIENT_AUTH_OID = '1.3.6.1.5.5.7.3.2';

export interface CertificateRequest {
  readonly publicKey: KeyObject;
  /** SHA-256 of the SubjectPublicKeyInfo, hex: what "the same key" means. */
  readonly keyId: string;
}

/** What is wrong with a request, in words, or the request. */
export type RequestVerdict =
  | { readonly ok: true; readonly value: CertificateRequest }
  | { readonly ok: false; readonly detail: string };

const no = (detail: string): RequestVerdict => ({ ok: false, detail });

/**
 * Takes a PKCS#10 request whose self-signature proves possession of a P-256 key. Its subject and its wished-for
 * extensions are ignored: the claim says who the device is, and the server says what the certificate is good for.
 */
export async function verifyCertificateRequest(der: Uint8Array): Promise<RequestVerdict> {
  if (der.length > CERTIFICATE_REQUEST_CAP_BYTES) return no(`more than ${CERTIFICATE_REQUEST_CAP_BYTES} bytes`);
  const x509 = await loadX509();
  try {
    const request = new x509.Pkcs10CertificateRequest(Uint8Array.from(der));
    const publicKey = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
    if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return no('the key is not a P-256 key');
    if (!isEcdsaSha256(request.signatureAlgorithm)) {
      return no('the request is not signed with ECDSA and SHA-256');
    }
    if (!(await request.verify())) return no('the signature of the request does not verify');
    return { ok: true, value: { publicKey, keyId: keyIdOf(publicKey) } };
  } catch {
    return no('this is not a PKCS#10 request');
  }
}

const isEcdsaSha256 = (algorithm: { readonly name?: string; readonly hash?: unknown }): boolean =>
  algorithm.name === 'ECDSA' && JSON.stringify(algorithm.hash) === '{"name":"SHA-256"}';

export const keyIdOf = (publicKey: KeyObject): string =>
  createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');

export interface IssuedCertificate {
  readonly pem: string;
  readonly serial: string;
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string;
  readonly notAfterUnixMs: number;
}

export async function issueDeviceCertificate(
  authority: CertificateAuthority,
  deviceId: string,
  publicKey: KeyObject,
  lifeMs: number,
  nowUnixMs: number,
): Promise<IssuedCertificate> {
  const pem = await authority.issue({
    commonName: deviceId,
    publicKey,
    notBeforeUnixMs: nowUnixMs - CLOCK_SLACK_MS,
    notAfterUnixMs: nowUnixMs + lifeMs,
    usage: 'client',
    names: [],
  });
  const certificate = new X509Certificate(pem);
  return { pem, ...identityOf(certificate), notAfterUnixMs: Date.parse(certificate.validTo) };
}

function identityOf(certificate: X509Certificate): { serial: string; fingerprint: string } {
  const fingerprint = createHash('sha256').update(certificate.raw).digest('hex');
  return { serial: certificate.serialNumber.toLowerCase(), fingerprint };
}

export interface DeviceIdentity {
  readonly deviceId: string;
  readonly serial: string;
  readonly fingerprint: string;
  readonly notBeforeUnixMs: number;
  readonly notAfterUnixMs: number;
}

export type IdentityVerdict =
  | { readonly ok: true; readonly value: DeviceIdentity }
  | { readonly ok: false; readonly detail: string };

/** Everything about a presented certificate that does not change over time: issuer, signature, use, subject. */
export function verifyDeviceCertificate(
  certificate: X509Certificate,
  authority: CertificateAuthority,
): IdentityVerdict {
  if (!certificate.checkIssued(authority.certificate)) return { ok: false, detail: 'issued by another authority' };
  if (!certificate.verify(authority.certificate.publicKey))
    return { ok: false, detail: "the authority's signature does not verify" };
  if (certificate.ca) return { ok: false, detail: 'an authority is not a device' };
  if (!(certificate.keyUsage ?? []).includes(CLIENT_AUTH_OID))
    return { ok: false, detail: 'not for client authentication' };
  const deviceId = /^CN=([a-z0-9][a-z0-9._-]{0,63})$/.exec(certificate.subject)?.[1];
  if (deviceId === undefined) return { ok: false, detail: 'the subject is not one device id' };
  return {
    ok: true,
    value: {
      deviceId,
      ...identityOf(certificate),
      notBeforeUnixMs: Date.parse(certificate.validFrom),
      notAfterUnixMs: Date.parse(certificate.validTo),
    },
  };
}

/** In words why the dates refuse it now, or undefined. */
export function whyOutOfDates(identity: DeviceIdentity, nowUnixMs: number): string | undefined {
  if (nowUnixMs > identity.notAfterUnixMs) return `expired on ${new Date(identity.notAfterUnixMs).toISOString()}`;
  if (nowUnixMs < identity.notBeforeUnixMs)
    return `not valid before ${new Date(identity.notBeforeUnixMs).toISOString()}`;
  return undefined;
}
