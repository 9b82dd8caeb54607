/**
 * One TLS connection, dialled and decided: whoever gets a socket from here may write to it. HTTPS and MQTT both use it,
 * so that there is one rule for both. Nothing but the handshake was sent when the decision falls.
 *
 * OpenSSL's verdict and ours (server-certificate.ts) must agree; the one exception is a date, where ours decides.
 */
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { errorText } from '../../platform/fault.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { SourceUnreachable } from '../core/ports.ts';
import { SENT_CERTIFICATES_CAP, verifyServerCertificate } from './server-certificate.ts';

const HANDSHAKE_DEADLINE_MS = 15_000;
/** What OpenSSL calls a certificate out of its dates (X509_V_ERR_*). Needed for acceptance, never enough. */
const DATE_ERRORS: readonly string[] = ['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'];

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  /** PEM certificates; at least one. */
  readonly anchors: readonly string[];
}

/** What this device shows of itself. The key never leaves the process. */
export interface ClientIdentity {
  readonly privateKeyPem: string;
  /** Leaf first. */
  readonly certificateChainPem: string;
}

export interface SecureConnection {
  readonly socket: TLSSocket;
  readonly outOfDates: boolean;
  /** Which dates, when out of them; else empty. */
  readonly detail: string;
}

/** Throws SourceUnreachable when no handshake came about; refuses when one did and the server is not ours. */
export function connectSecurely(
  address: ServerAddress,
  identity: ClientIdentity | undefined,
  deadlineMs = HANDSHAKE_DEADLINE_MS,
): Promise<Verdict<SecureConnection>> {
  if (address.anchors.length === 0)
    return Promise.resolve(refuse('server-certificate-untrusted', 'there is no anchor'));
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address.host,
      port: address.port,
      ca: [...address.anchors],
      allowPartialTrustChain: true,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: false,
      ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
      ...(identity === undefined ? {} : { key: identity.privateKeyPem, cert: identity.certificateChainPem }),
    });
    const timer = setTimeout(() => fail(new Error(`no TLS handshake within ${deadlineMs} ms`)), deadlineMs);
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new SourceUnreachable(`${address.host}:${address.port}: ${errorText(error)}`, { cause: error }));
    };
    const closed = (): void => fail(new Error('the connection closed during the handshake'));
    socket.on('error', fail);
    socket.once('close', closed);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.off('close', closed);
      const verdict = decide(socket, address);
      // Whoever takes the socket listens for its errors; until then one must not end the process.
      socket.off('error', fail).on('error', () => {});
      if (!verdict.ok) socket.destroy();
      resolve(verdict);
    });
  });
}

function decide(socket: TLSSocket, address: ServerAddress): Verdict<SecureConnection> {
  const presented = presentedChain(socket);
  if (presented === undefined) return refuse('server-certificate-untrusted', 'the server showed no certificate');
  const anchors = address.anchors.map((pem) => new X509Certificate(pem));
  const verdict = verifyServerCertificate(presented, { anchors, host: address.host, nowUnixMs: Date.now() });
  if (!verdict.ok) return verdict;
  const opensslSays = socket.authorized ? undefined : String(socket.authorizationError);
  if (opensslSays !== undefined && !DATE_ERRORS.includes(opensslSays)) {
    return refuse('server-certificate-untrusted', `OpenSSL does not accept it: ${opensslSays}`);
  }
  // A clock that jumped between the two judgements: believe whichever is stricter.
  const outOfDates = verdict.value.outOfDates || opensslSays !== undefined;
  return accept({ socket, outOfDates, detail: verdict.value.detail });
}

/**
 * Everything that the server sent, and what Node added from the anchors. Asked once: after `getPeerX509Certificate()`
 * Node 24 answers `getPeerCertificate()` with nothing.
 */
function presentedChain(socket: TLSSocket): { leaf: X509Certificate; others: X509Certificate[] } | undefined {
  const found: X509Certificate[] = [];
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && found.length <= SENT_CERTIFICATES_CAP) {
    const certificate = new X509Certificate(next.raw);
    // A self-signed certificate is its own issuer in Node's list: stop at the first repetition.
    if (found.some((seen) => seen.raw.equals(certificate.raw))) break;
    found.push(certificate);
    next = next.issuerCertificate;
  }
  const [leaf, ...others] = found;
  return leaf === undefined ? undefined : { leaf, others };
}
