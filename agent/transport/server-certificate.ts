/**
 * May this server be talked to? The device's own answer, given for every connection, besides OpenSSL's.
 *
 * Rule: a path of valid signatures from the server's certificate to an anchor, at most four certificates long; every
 * issuer an authority that may sign certificates, within its path length; the server's certificate made for servers; and
 * its name. Dates are judged apart: a device that slept through a certificate's end must still be able to fetch signed
 * metadata, so a certificate out of its dates, and good in all else, is accepted as `outOfDates`. No secret is sent then.
 *
 * Why not ask OpenSSL alone: with `rejectUnauthorized: false` Node reports one error only (the date), and calls no name
 * check after it. A stranger's expired certificate would look like ours. Error codes therefore never accept anything here.
 *
 * Stricter than OpenSSL on purpose: name constraints and unknown critical extensions are refused, not interpreted.
 */
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { type CertificateExtensions, decodeCertificateExtensions } from './certificate-extensions.ts';

/** The server's certificate, two intermediates and the anchor. */
export const CHAIN_CAP = 4;
/** Certificates that a server may send along; more are not looked at. */
export const SENT_CERTIFICATES_CAP = 8;

const SERVER_AUTHENTICATION = '1.3.6.1.5.5.7.3.1';
const ANY_EXTENDED_USAGE = '2.5.29.37.0';
/** ECDSA and RSA (PKCS#1, PSS) with SHA-256 or better, and Ed25519. SHA-1 and MD5 have been forged. */
const SIGNATURE_ALGORITHMS: readonly string[] = [
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.10',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
];
const RSA_BITS_AT_LEAST = 2048;

export interface PresentedChain {
  readonly leaf: X509Certificate;
  /** What the server sent besides, in any order. */
  readonly others: readonly X509Certificate[];
}

export interface ServerCertificateRule {
  readonly anchors: readonly X509Certificate[];
  /** Host name or address that was dialled. */
  readonly host: string;
  readonly nowUnixMs: number;
}

export interface AcceptedServer {
  /** True when a certificate of the path is not within its dates: metadata and reports only, no secret. */
  readonly outOfDates: boolean;
  /** Which certificate and which dates, when out of them; else empty. */
  readonly detail: string;
}

export function verifyServerCertificate(
  presented: PresentedChain,
  rule: ServerCertificateRule,
): Verdict<AcceptedServer> {
  const usage = whyNotServer(presented.leaf);
  if (usage !== undefined) return refuse('server-certificate-untrusted', usage);
  const path = pathToAnchor(presented, rule.anchors);
  if (path === undefined) {
    return refuse(
      'server-certificate-untrusted',
      `no path of valid signatures from ${subjectOf(presented.leaf)} to any of ${rule.anchors.length} anchors`,
    );
  }
  if (!namesHost(presented.leaf, rule.host)) {
    return refuse(
      'server-name-mismatch',
      `dialled ${rule.host}, the certificate names ${(presented.leaf.subjectAltName ?? 'nobody').slice(0, 200)}`,
    );
  }
  const late = path.find((certificate) => !withinDates(certificate, rule.nowUnixMs));
  return accept({
    outOfDates: late !== undefined,
    detail: late === undefined ? '' : `${subjectOf(late)} is good from ${late.validFrom} to ${late.validTo}`,
  });
}

/** Depth first over what was sent; every edge is checked before it is walked, so that no cycle and no fan-out is costly. */
function pathToAnchor(presented: PresentedChain, anchors: readonly X509Certificate[]): X509Certificate[] | undefined {
  const others = presented.others.slice(0, SENT_CERTIFICATES_CAP);
  const walk = (path: readonly X509Certificate[]): X509Certificate[] | undefined => {
    const tip = path.at(-1);
    if (tip === undefined) return undefined;
    if (anchors.some((anchor) => anchor.raw.equals(tip.raw))) return [...path];
    if (path.length >= CHAIN_CAP) return undefined;
    const anchor = anchors.find((candidate) => issued(candidate, tip, path.length - 1));
    if (anchor !== undefined) return [...path, anchor];
    for (const issuer of others) {
      if (path.some((seen) => seen.raw.equals(issuer.raw)) || !issued(issuer, tip, path.length - 1)) continue;
      const found = walk([...path, issuer]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return walk([presented.leaf]);
}

/** Did `issuer`, as an authority that may, sign `subject`? `authoritiesBelow`: intermediates between issuer and leaf. */
function issued(issuer: X509Certificate, subject: X509Certificate, authoritiesBelow: number): boolean {
  const extensions = decodeCertificateExtensions(issuer.raw);
  const signed = decodeCertificateExtensions(subject.raw);
  if (extensions === undefined || signed === undefined) return false;
  if (!extensions.isAuthority || !issuer.ca || extensions.notUnderstood.length > 0) return false;
  if (extensions.keyUsage !== undefined && !extensions.keyUsage.keyCertSign) return false;
  if (!mayServe(extensions)) return false;
  if (extensions.pathLength !== undefined && authoritiesBelow > extensions.pathLength) return false;
  if (!SIGNATURE_ALGORITHMS.includes(signed.signatureAlgorithm) || !strongEnough(issuer)) return false;
  // Names, key identifiers and key usage (X509_check_issued), then the signature itself.
  return subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

function whyNotServer(leaf: X509Certificate): string | undefined {
  const extensions = decodeCertificateExtensions(leaf.raw);
  if (extensions === undefined) return "the server's certificate cannot be read";
  if (extensions.notUnderstood.length > 0)
    return `the server's certificate has extensions that are not understood: ${extensions.notUnderstood.join(', ')}`;
  if (extensions.keyUsage !== undefined && !extensions.keyUsage.digitalSignature)
    return "the server's key may not sign a handshake";
  if (!mayServe(extensions)) return "the server's certificate is not made for servers";
  if (!strongEnough(leaf)) return "the server's key is too short";
  return undefined;
}

function mayServe({ extendedKeyUsage }: CertificateExtensions): boolean {
  return (
    extendedKeyUsage === undefined ||
    extendedKeyUsage.some((use) => use === SERVER_AUTHENTICATION || use === ANY_EXTENDED_USAGE)
  );
}

function strongEnough(certificate: X509Certificate): boolean {
  const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
  if (asymmetricKeyType === 'ec' || asymmetricKeyType === 'ed25519') return true;
  const isRsa = asymmetricKeyType === 'rsa' || asymmetricKeyType === 'rsa-pss';
  return isRsa && (asymmetricKeyDetails?.modulusLength ?? 0) >= RSA_BITS_AT_LEAST;
}

/** Alternative names only: a common name is not a host name (RFC 9525 §2). */
function namesHost(leaf: X509Certificate, host: string): boolean {
  if (isIP(host) !== 0) return leaf.checkIP(host) !== undefined;
  return leaf.checkHost(host, { subject: 'never', partialWildcards: false }) !== undefined;
}

function withinDates(certificate: X509Certificate, nowUnixMs: number): boolean {
  return Date.parse(certificate.validFrom) <= nowUnixMs && nowUnixMs <= Date.parse(certificate.validTo);
}

function subjectOf(certificate: X509Certificate): string {
  return `"${(certificate.subject ?? '').replaceAll('\n', ', ').slice(0, 120)}"`;
}
