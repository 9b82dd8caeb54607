/**
 * The claim: how a device proves, once, that it left its maker's factory. The secret is proven, never sent.
 *
 *   proof = HMAC-SHA-256(claim secret, "holdfast enrol 1" ‖ 0x00 ‖ nonce ‖ exporter ‖ SHA-256(certificate request))
 *
 * `nonce` is the server's and good for one use; `exporter` is 32 bytes of the TLS connection (RFC 9266 in spirit, with a
 * label of our own), so that a proof overheard or relayed on another connection is worth nothing; the request binds the key.
 */
import * as v from 'valibot';
import { Name } from './device-api.ts';

export const EXPORTER_LABEL = 'EXPORTER-holdfast-enrol-1';
export const EXPORTER_BYTES = 32;
export const NONCE_BYTES = 24;
export const CLAIM_SECRET_BYTES = 32;
const CONTEXT = new TextEncoder().encode('holdfast enrol 1\0');

export interface ClaimProofInput {
  readonly nonce: Uint8Array;
  readonly exporter: Uint8Array;
  readonly certificateRequestSha256: Uint8Array;
}

/** The bytes that the HMAC covers. All parts have fixed lengths, so that no two inputs give the same bytes. */
export function claimProofMessage(input: ClaimProofInput): Uint8Array {
  const parts = [
    [input.nonce, NONCE_BYTES],
    [input.exporter, EXPORTER_BYTES],
    [input.certificateRequestSha256, 32],
  ] as const;
  const message = new Uint8Array(CONTEXT.length + NONCE_BYTES + EXPORTER_BYTES + 32);
  message.set(CONTEXT);
  let offset = CONTEXT.length;
  for (const [bytes, length] of parts) {
    if (bytes.length !== length)
      throw new RangeError(`a part of a claim proof has ${bytes.length} bytes, not ${length}`);
    message.set(bytes, offset);
    offset += length;
  }
  return message;
}

/** The claim file: on the device's factory partition (0600), and nowhere else once it was handed out. */
export const ClaimFile = v.strictObject({
  format: v.literal('holdfast-claim-1'),
  /** Also the device's id. */
  claimId: Name,
  hardwareClass: Name,
  /** 32 random bytes, base64url. */
  secret: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/)),
  expiresUnixMs: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
export type ClaimFile = v.InferOutput<typeof ClaimFile>;

/** The claims of a production batch in one file (0600); each device gets its own and no other. */
export const ClaimBatch = v.strictObject({
  format: v.literal('holdfast-claims-1'),
  claims: v.pipe(v.array(ClaimFile), v.maxLength(1000)),
});
export type ClaimBatch = v.InferOutput<typeof ClaimBatch>;
