/** Skeleton; see exports. */
import type { CborValue } from './cbor.ts';
import type { Verdict } from './refusal.ts';

/** COSE algorithm identifiers that Holdfast takes: fully specified ones only (RFC 9864). */
export const COSE_ED25519 = -19;
export const COSE_ESP256 = -9;
/** Polymorphic ones, in public test vectors; refused unless a caller (tests) names them. */
export const COSE_ES256 = -7;
export const COSE_EDDSA = -8;

export type CoseAlgorithm = number;
export type SignatureAlgorithm = 'ed25519' | 'esp256';

export interface PinnedKey {
  readonly algorithm: SignatureAlgorithm;
  /** Ed25519: 32 bytes. ESP256: uncompressed P-256 point, 65 bytes. */
  readonly publicKey: Uint8Array;
}

export interface Sign1 {
  /** The protected header as received: what the signature covers. */
  readonly protectedBytes: Uint8Array;
  readonly algorithm: CoseAlgorithm;
  /** Key id: protected header first. Undefined when there is none. */
  readonly kid: Uint8Array | undefined;
  /** Null when detached. */
  readonly payload: Uint8Array | null;
  readonly signature: Uint8Array;
}

export function decodeSign1(_bytes: Uint8Array): Verdict<Sign1> {
  throw new Error('not written yet');
}
export interface Sign1Check {
  readonly sign1: Sign1;
  readonly detachedPayload: Uint8Array;
  readonly key: PinnedKey;
  readonly externalAad?: Uint8Array;
  /** Tests only: lets -7 and -8 stand for the fully specified algorithms. */
  readonly acceptPolymorphic?: boolean;
}
export function verifySign1(_check: Sign1Check): Verdict<Sign1> {
  throw new Error('not written yet');
}
export function sigStructure(_protectedBytes: Uint8Array, _externalAad: Uint8Array, _payload: Uint8Array): Uint8Array {
  throw new Error('not written yet');
}
/** The protected header bytes of our profile: {1: alg, 4: kid}. */
export function encodeProtected(_algorithm: SignatureAlgorithm, _kid: Uint8Array): Uint8Array {
  throw new Error('not written yet');
}
/** Tagged (18), detached. */
export function encodeSign1(_parts: { protectedBytes: Uint8Array; signature: Uint8Array }): Uint8Array {
  throw new Error('not written yet');
}
export type { CborValue };
