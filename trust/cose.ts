/**
 * COSE_Sign1 (RFC 9052 §4.2): decoding, the bytes that a signature covers, verification by a key pinned to one
 * algorithm.
 *
 * Invariants: the signature is checked over the protected header as received. A key verifies only under the algorithm
 * it is pinned to, whatever the header says, so that a header can never choose how it is checked. Only fully specified
 * algorithms (RFC 9864): -19 Ed25519, -9 ESP256. Unknown header parameters and `crit` are refused.
 * May not: sign, or look keys up.
 */
import { CBOR_CAP_BYTES, type CborMap, CborTag, type CborValue, decodeCbor, encodeCbor } from './cbor.ts';
import { verifyP256 } from './crypto.ts';
import { accept, type Refusal, refuse, type Verdict } from './refusal.ts';
import { verifyEd25519 } from './signature.ts';

export const COSE_ED25519 = -19;
export const COSE_ESP256 = -9;
/** Polymorphic ones, found in public test vectors; refused unless a caller (tests) asks for them. */
export const COSE_ES256 = -7;
export const COSE_EDDSA = -8;

export const COSE_SIGN1_TAG = 18;
const HEADER_ALGORITHM = 1;
const HEADER_CONTENT_TYPE = 3;
const HEADER_KEY_ID = 4;

export type SignatureAlgorithm = 'ed25519' | 'esp256';

const ALGORITHM_IDS: Readonly<Record<SignatureAlgorithm, number>> = { ed25519: COSE_ED25519, esp256: COSE_ESP256 };
const POLYMORPHIC_IDS: Readonly<Record<SignatureAlgorithm, number>> = { ed25519: COSE_EDDSA, esp256: COSE_ES256 };

/** A public key and the one algorithm under which it may verify. */
export interface PinnedKey {
  readonly algorithm: SignatureAlgorithm;
  /** Ed25519: 32 bytes. ESP256: uncompressed P-256 point, 65 bytes. */
  readonly publicKey: Uint8Array;
}

export interface Sign1 {
  /** The protected header as received: what the signature covers. */
  readonly protectedBytes: Uint8Array;
  readonly algorithm: number;
  /** Key id, from the protected header or else the unprotected one; undefined when there is none. */
  readonly kid: Uint8Array | undefined;
  /** Null when detached. */
  readonly payload: Uint8Array | null;
  readonly signature: Uint8Array;
}

/** Tagged COSE_Sign1 in deterministic CBOR. `envelope-malformed` when it is CBOR but no COSE_Sign1 of our profile. */
export function decodeSign1(bytes: Uint8Array): Verdict<Sign1> {
  const outer = decodeCbor(bytes, { capBytes: CBOR_CAP_BYTES, tags: [COSE_SIGN1_TAG] });
  if (!outer.ok) return outer;
  if (!(outer.value instanceof CborTag)) return malformed('not tagged as COSE_Sign1 (18)');
  const parts = outer.value.value;
  if (!Array.isArray(parts) || parts.length !== 4) return malformed('not an array of four');
  const [protectedBytes, unprotected, payload, signature] = parts as readonly CborValue[];
  if (!(protectedBytes instanceof Uint8Array)) return malformed('the protected header is no byte string');
  if (!(unprotected instanceof Map)) return malformed('the unprotected header is no map');
  if (payload !== null && !(payload instanceof Uint8Array)) return malformed('the payload is no byte string');
  if (!(signature instanceof Uint8Array)) return malformed('the signature is no byte string');
  const header = decodeProtected(protectedBytes);
  if (!header.ok) return header;
  const headers = readHeaders(header.value, unprotected);
  return headers.ok ? accept({ protectedBytes, ...headers.value, payload, signature }) : headers;
}

function decodeProtected(bytes: Uint8Array): Verdict<CborMap> {
  const decoded = decodeCbor(bytes, { capBytes: CBOR_CAP_BYTES });
  if (!decoded.ok) return decoded;
  return decoded.value instanceof Map ? accept(decoded.value) : malformed('the protected header holds no map');
}

function readHeaders(
  inside: CborMap,
  outside: CborMap,
): Verdict<{ readonly algorithm: number; readonly kid: Uint8Array | undefined }> {
  // The algorithm outside the signed part would be the attacker's choice, even if a pinned key would notice.
  const algorithm = inside.get(HEADER_ALGORITHM);
  if (typeof algorithm !== 'number') return malformed('no algorithm in the protected header');
  for (const label of [...inside.keys(), ...outside.keys()]) {
    // RFC 9052 §3.1: what is marked critical must be understood. We understand nothing more, so nothing more may stand.
    const known = label === HEADER_ALGORITHM || label === HEADER_KEY_ID || label === HEADER_CONTENT_TYPE;
    if (!known) return malformed(`header parameter ${label} is not taken`);
  }
  for (const label of outside.keys()) {
    if (inside.has(label)) return malformed(`header parameter ${label} stands in both headers`);
    if (label === HEADER_ALGORITHM) return malformed('the algorithm stands in the unprotected header');
  }
  const kid = inside.get(HEADER_KEY_ID) ?? outside.get(HEADER_KEY_ID);
  if (kid !== undefined && !(kid instanceof Uint8Array)) return malformed('the key id is no byte string');
  return accept({ algorithm, kid });
}

export interface Sign1Check {
  readonly sign1: Sign1;
  /** What the signature covers beside the headers; the structure itself must carry no payload then. */
  readonly detachedPayload: Uint8Array;
  readonly key: PinnedKey;
  readonly externalAad?: Uint8Array;
  /** Tests only: lets -7 and -8 stand for the fully specified algorithms. */
  readonly acceptPolymorphic?: boolean;
}

/** `signature-algorithm-refused`, `envelope-malformed` (an embedded payload) or `envelope-signature-invalid`. */
export function verifySign1(check: Sign1Check): Verdict<Sign1> {
  const { sign1, key } = check;
  const pinned = ALGORITHM_IDS[key.algorithm];
  const polymorphic = check.acceptPolymorphic === true && sign1.algorithm === POLYMORPHIC_IDS[key.algorithm];
  if (sign1.algorithm !== pinned && !polymorphic) {
    return refuse('signature-algorithm-refused', `COSE algorithm ${sign1.algorithm}, the key is pinned to ${pinned}`);
  }
  if (sign1.payload !== null) return malformed('the payload must be detached');
  const message = sigStructure(sign1.protectedBytes, check.externalAad ?? new Uint8Array(0), check.detachedPayload);
  const verify = key.algorithm === 'ed25519' ? verifyEd25519 : verifyP256;
  if (verify(key.publicKey, message, sign1.signature)) return accept(sign1);
  return refuse('envelope-signature-invalid', `the ${key.algorithm} signature does not verify`);
}

/** Sig_structure (RFC 9052 §4.4): the bytes that are signed. */
export function sigStructure(protectedBytes: Uint8Array, externalAad: Uint8Array, payload: Uint8Array): Uint8Array {
  return encodeCbor(['Signature1', protectedBytes, externalAad, payload]);
}

/** The protected header of our profile: `{1: algorithm, 4: key id}`. */
export function encodeProtected(algorithm: SignatureAlgorithm, kid: Uint8Array): Uint8Array {
  return encodeCbor(
    new Map<number, CborValue>([
      [HEADER_ALGORITHM, ALGORITHM_IDS[algorithm]],
      [HEADER_KEY_ID, kid],
    ]),
  );
}

/** Tagged COSE_Sign1 with an empty unprotected header and a detached payload. */
export function encodeSign1(parts: {
  readonly protectedBytes: Uint8Array;
  readonly signature: Uint8Array;
}): Uint8Array {
  return encodeCbor(new CborTag(COSE_SIGN1_TAG, [parts.protectedBytes, new Map(), null, parts.signature]));
}

function malformed(what: string): Refusal {
  return refuse('envelope-malformed', `COSE_Sign1: ${what}`);
}
