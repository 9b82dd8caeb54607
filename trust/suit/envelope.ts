/**
 * The SUIT envelope (draft-ietf-suit-manifest-37 §8.2, §8.3): CBOR tag 107, an authentication wrapper, a manifest, and
 * elements severed from it.
 *
 * Invariants: what comes out holds the bytes as received: the digest that the signatures cover, the manifest that the
 * digest covers. No integrated payloads: an image is never part of what is signed about it.
 * May not: sign, verify, or look into the manifest.
 */
import { type Decoded, equalBytes, markDecoded } from '../bytes.ts';
import { CBOR_CAP_BYTES, CborTag, type CborValue, decodeCbor, encodeCbor } from '../cbor.ts';
import { decodeSign1, type Sign1 } from '../cose.ts';
import { sha256 } from '../crypto.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { DIGEST_SHA256, decodeDigest, malformedSuit } from './commands.ts';
import { SEVERABLE } from './structure.ts';

export const ENVELOPE_TAG = 107;
export const ENVELOPE_CAP_BYTES = CBOR_CAP_BYTES;
const AUTHENTICATION = 2;
const MANIFEST = 3;
const MAX_SIGNATURES = 8;

export interface Envelope {
  /** The encoded SUIT_Digest as received: what each signature covers. */
  readonly digestBytes: Uint8Array;
  /** The SHA-256 that this digest states; `verifyManifestDigest` compares it. */
  readonly manifestSha256: Uint8Array;
  readonly signatures: readonly Sign1[];
  /** The encoded manifest as received. */
  readonly manifest: Uint8Array;
  /** Elements severed from the manifest, by member number. */
  readonly severed: ReadonlyMap<number, Uint8Array>;
}

/** The encoded SUIT_Digest of a manifest: the detached payload that authors sign. */
export function manifestDigest(manifest: Uint8Array): Uint8Array {
  return encodeCbor([DIGEST_SHA256, digestOf(manifest)]);
}

/** §8.3: the digest covers the manifest together with its byte string head. */
function digestOf(manifest: Uint8Array): Uint8Array {
  return sha256(encodeCbor(manifest));
}

/** `signatures`: encoded COSE_Sign1 over `manifestDigest(manifest)` (cose.ts `encodeSign1`). */
export function encodeEnvelope(parts: {
  readonly manifest: Uint8Array;
  readonly signatures: readonly Uint8Array[];
  readonly severed?: ReadonlyMap<number, Uint8Array>;
}): Uint8Array {
  const authentication = encodeCbor([manifestDigest(parts.manifest), ...parts.signatures]);
  const members: [number, CborValue][] = [
    [AUTHENTICATION, authentication],
    [MANIFEST, parts.manifest],
    ...(parts.severed ?? []),
  ];
  return encodeCbor(new CborTag(ENVELOPE_TAG, new Map(members)));
}

/** `input-too-large`, `cbor-…` or `envelope-malformed`. Nothing is verified yet, the manifest not even decoded. */
export function decodeEnvelope(bytes: Uint8Array): Verdict<Decoded<Envelope>> {
  const outer = decodeCbor(bytes, { capBytes: ENVELOPE_CAP_BYTES, tags: [ENVELOPE_TAG] });
  if (!outer.ok) return outer;
  const members = outer.value instanceof CborTag ? outer.value.value : undefined;
  if (!(members instanceof Map)) return malformedSuit('not a map tagged 107');
  const severed = new Map<number, Uint8Array>();
  for (const [key, value] of members) {
    if (!(value instanceof Uint8Array)) return malformedSuit(`envelope element ${key} is no byte string`);
    if (typeof key === 'string') return malformedSuit('integrated payloads are not taken');
    if (SEVERABLE.includes(key)) severed.set(key, value);
    else if (key !== AUTHENTICATION && key !== MANIFEST) return malformedSuit(`envelope element ${key} is not taken`);
  }
  const manifest = members.get(MANIFEST);
  const wrapper = members.get(AUTHENTICATION);
  if (!(manifest instanceof Uint8Array)) return malformedSuit('there is no manifest');
  if (!(wrapper instanceof Uint8Array)) return malformedSuit('there is no authentication wrapper');
  const authentication = decodeAuthentication(wrapper);
  if (!authentication.ok) return authentication;
  return accept(markDecoded<Envelope>({ ...authentication.value, manifest, severed }));
}

function decodeAuthentication(
  wrapper: Uint8Array,
): Verdict<Pick<Envelope, 'digestBytes' | 'manifestSha256' | 'signatures'>> {
  const decoded = decodeCbor(wrapper, { capBytes: ENVELOPE_CAP_BYTES });
  if (!decoded.ok) return decoded;
  const items: CborValue = decoded.value;
  if (!Array.isArray(items)) return malformedSuit('the authentication wrapper is no array');
  if (items.length > 1 + MAX_SIGNATURES) return malformedSuit(`there are more than ${MAX_SIGNATURES} signatures`);
  const [digestBytes, ...blocks] = items as readonly CborValue[];
  if (!(digestBytes instanceof Uint8Array)) return malformedSuit('the wrapper does not begin with a digest');
  const digest = decodeCbor(digestBytes, { capBytes: ENVELOPE_CAP_BYTES });
  if (!digest.ok) return digest;
  const manifestSha256 = decodeDigest(digest.value);
  if (manifestSha256 === undefined) return malformedSuit('the digest is no SHA-256');
  const signatures: Sign1[] = [];
  for (const block of blocks) {
    if (!(block instanceof Uint8Array)) return malformedSuit('a signature block is no byte string');
    const sign1 = decodeSign1(block);
    if (!sign1.ok) return sign1;
    signatures.push(sign1.value);
  }
  return accept({ digestBytes, manifestSha256, signatures });
}

/** Is the manifest the one that the (already verified) digest states? `envelope-digest-mismatch` when not. */
export function verifyManifestDigest(envelope: Envelope): Verdict<Uint8Array> {
  if (equalBytes(digestOf(envelope.manifest), envelope.manifestSha256)) return accept(envelope.manifest);
  return refuse('envelope-digest-mismatch', 'SUIT: the manifest is not what the signed digest says');
}
