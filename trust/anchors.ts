/**
 * Transport anchors as root metadata carries them: base64 of the DER certificate on one line, because canonical JSON
 * has no control characters and PEM is made of lines.
 *
 * May not: judge a certificate. These functions only change the spelling.
 */

const PEM = /^-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----\s*$/;
const PEM_LINE_LENGTH = 64;

/** One line of base64 (RFC 4648 §4, padded) from one PEM certificate; undefined for any other text. */
export function anchorFromPem(pem: string): string | undefined {
  return PEM.exec(pem.trim())?.[1]?.replaceAll(/\s/g, '');
}

/** The PEM text of an anchor, as node:tls takes it. */
export function anchorToPem(anchor: string): string {
  const lines = anchor.match(new RegExp(`.{1,${PEM_LINE_LENGTH}}`, 'g')) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
