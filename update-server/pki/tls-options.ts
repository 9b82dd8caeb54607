/**
 * How the server speaks TLS, for all three listeners: TLS 1.3 only, with its one certificate. Used when a listener is made
 * and when its certificate is renewed: a renewal that named less than this would fall back to Node's defaults.
 */
import type { CertificateAuthority } from './certificate-authority.ts';
import type { ServerIdentity } from './server-certificate.ts';

const HANDSHAKE_TIMEOUT_MS = 10_000;

export interface ServerTlsOptions {
  readonly key: string;
  readonly cert: string;
  readonly minVersion: 'TLSv1.3';
  readonly handshakeTimeout: number;
}

/** For people, who come with a token. */
export const tlsForPeople = (identity: ServerIdentity): ServerTlsOptions => ({
  key: identity.keyPem,
  cert: identity.chainPem,
  minVersion: 'TLSv1.3',
  handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
});

/**
 * For devices: a client certificate is asked of everybody, and judged by the listener, not by TLS: enrolment has to work
 * without one, and the audit has to learn why one was turned away.
 */
export const tlsForDevices = (identity: ServerIdentity, deviceAuthority: CertificateAuthority) => ({
  ...tlsForPeople(identity),
  ca: [deviceAuthority.pem],
  requestCert: true,
  rejectUnauthorized: false,
});
