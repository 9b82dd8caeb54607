/**
 * What a device of protocol 3 says and asks of its credentials: the signed statement, the sealed blob for its owners,
 * and a new certificate. All over mTLS, by the device that the certificate names. Bounded and strict, as device-api.ts.
 *
 * May not: carry a secret. The blob is sealed to owners' keys that the server does not have.
 */
import * as v from 'valibot';
import { ESCROW_CAP_BYTES, EscrowNote, STATEMENT_CAP_BYTES } from './credentials.ts';
import { Sha256Hex } from './device-api.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const Base64Url = (max: number) => v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]+$/), v.maxLength(max));
const base64UrlLength = (bytes: number): number => Math.ceil((bytes * 4) / 3);

/** POST credentials/nonce; answers a `NonceAnswer` (device-api.ts). Good for one statement of this device. */
export const CredentialsNonceRequest = v.strictObject({ protocol: Count });
export type CredentialsNonceRequest = v.InferOutput<typeof CredentialsNonceRequest>;

/** POST credentials/statement: the bytes of a `RotationStatement` in JSON, and the signature over `statementMessage`. */
export const StatementRequest = v.strictObject({
  protocol: Count,
  statement: Base64Url(base64UrlLength(STATEMENT_CAP_BYTES)),
  /** ECDSA P-256 with SHA-256, r‖s, by the key of the certificate that this connection was made with. */
  signature: Base64Url(base64UrlLength(64)),
});
export type StatementRequest = v.InferOutput<typeof StatementRequest>;

/** What the server makes of a statement that it took. */
export const StatementVerdict = v.picklist([
  /** Every secret of the factory has been replaced, and nothing speaks against it. */
  'proven',
  /** Not every secret has been replaced yet. */
  'factory',
  /** Something speaks against it: `flags` says what. */
  'flagged',
]);
export type StatementVerdict = v.InferOutput<typeof StatementVerdict>;

export const StatementAnswer = v.strictObject({
  verdict: StatementVerdict,
  /** Codes of FLAGS (reasons.ts). A device may not know a later one. */
  flags: v.pipe(v.array(Text(64)), v.maxLength(16)),
});
export type StatementAnswer = v.InferOutput<typeof StatementAnswer>;

/** POST credentials/escrow. The same bytes again are taken again; other bytes for the same epoch are refused. */
export const EscrowRequest = v.strictObject({
  protocol: Count,
  epoch: v.pipe(Count, v.minValue(1)),
  /** Digest of the blob, and whose keys open it: as in the statement. */
  note: EscrowNote,
  blob: Base64Url(base64UrlLength(ESCROW_CAP_BYTES)),
});
export type EscrowRequest = v.InferOutput<typeof EscrowRequest>;
export const EscrowAnswer = v.strictObject({ epoch: Count, sha256: Sha256Hex });
export type EscrowAnswer = v.InferOutput<typeof EscrowAnswer>;

/** POST credentials/renew: PKCS#10 (DER, base64url) with a new key or the same one. */
export const RenewRequest = v.strictObject({ protocol: Count, certificateRequest: Base64Url(4096) });
export type RenewRequest = v.InferOutput<typeof RenewRequest>;
/** PEM, leaf first. The certificate of this connection stays good until the new one is first used, or for a week. */
export const RenewAnswer = v.strictObject({ certificateChain: Text(16 * 1024) });
export type RenewAnswer = v.InferOutput<typeof RenewAnswer>;
