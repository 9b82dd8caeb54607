/** Skeleton; see exports. */
import type { Decoded } from '../bytes.ts';
import type { Sign1 } from '../cose.ts';
import type { Verdict } from '../refusal.ts';

export interface Envelope {
  /** The encoded SUIT_Digest as received: what each signature covers. */
  readonly digestBytes: Uint8Array;
  /** SHA-256 of the manifest (its bstr wrapping included), as the digest says. */
  readonly manifestSha256: Uint8Array;
  readonly signatures: readonly Sign1[];
  /** The encoded manifest as received. */
  readonly manifest: Uint8Array;
}
/** The encoded SUIT_Digest of a manifest: the detached payload that authors sign. */
export function manifestDigest(_manifest: Uint8Array): Uint8Array {
  throw new Error('not written yet');
}
/** `signatures`: encoded COSE_Sign1 (see cose.ts encodeSign1). */
export function encodeEnvelope(_parts: { manifest: Uint8Array; signatures: readonly Uint8Array[] }): Uint8Array {
  throw new Error('not written yet');
}
export function decodeEnvelope(_bytes: Uint8Array): Verdict<Decoded<Envelope>> {
  throw new Error('not written yet');
}
