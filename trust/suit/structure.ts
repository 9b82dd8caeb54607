/**
 * A SUIT manifest as the draft defines it, within the commands that Holdfast takes: sequence number, components, and
 * for each component what the commands set and do. manifest.ts lays Holdfast's profile on top.
 *
 * Invariants: all sequences are looked through for commands outside the set before any is interpreted. What stands in
 * the envelope counts only if a digest in the manifest covers it.
 * May not: check signatures or fit to a device.
 */
import { equalBytes } from '../bytes.ts';
import { CBOR_CAP_BYTES, type CborKey, type CborMap, type CborValue, decodeCbor, encodeCbor } from '../cbor.ts';
import { sha256 } from '../crypto.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { decodeCommands, decodeDigest, malformedSuit } from './commands.ts';
import { interpret, type NamedCommands, type SequenceName, type SuitComponent } from './interpret.ts';

export const MANIFEST_VERSION = 1;
/** Members of SUIT_Manifest (§11.2). */
export const MEMBER = {
  version: 1,
  sequence: 2,
  common: 3,
  referenceUri: 4,
  validate: 7,
  load: 8,
  invoke: 9,
  payloadFetch: 16,
  install: 20,
  text: 23,
  /** Private use (§11): Holdfast's own facts, see manifest.ts. */
  holdfast: -257,
} as const;

export const COMMON_COMPONENTS = 2;
export const COMMON_SHARED_SEQUENCE = 4;
/** Members that may be severed: moved to the envelope, a digest left in their place (§8.6). */
export const SEVERABLE: readonly number[] = [MEMBER.payloadFetch, MEMBER.install, MEMBER.text];

const SEQUENCES = {
  validate: MEMBER.validate,
  load: MEMBER.load,
  invoke: MEMBER.invoke,
  payloadFetch: MEMBER.payloadFetch,
  install: MEMBER.install,
} as const;

const MAX_COMPONENTS = 16;

export interface ManifestStructure {
  readonly sequence: number;
  readonly components: readonly SuitComponent[];
  /** Names of the sequences that stand in the manifest. */
  readonly sequences: readonly SequenceName[];
  /** The encoded Holdfast member, when there is one. */
  readonly holdfast: Uint8Array | undefined;
}

/** Decodes a manifest; `severed` are the elements that the envelope carries in its place. */
export function decodeManifestStructure(
  bytes: Uint8Array,
  severed: ReadonlyMap<number, Uint8Array>,
): Verdict<ManifestStructure> {
  const decoded = decodeCbor(bytes, { capBytes: CBOR_CAP_BYTES });
  if (!decoded.ok) return decoded;
  const manifest = decoded.value;
  if (!(manifest instanceof Map)) return malformedSuit('the manifest is no map');
  const unknown = firstUnknown(manifest, Object.values(MEMBER));
  if (unknown !== undefined) return malformedSuit(`manifest member ${unknown} is not taken`);
  if (manifest.get(MEMBER.version) !== MANIFEST_VERSION) return malformedSuit('the manifest version is not 1');
  const sequence = manifest.get(MEMBER.sequence);
  if (typeof sequence !== 'number' || sequence < 0) return malformedSuit('the sequence number is no unsigned integer');
  const common = decodeCommon(manifest.get(MEMBER.common));
  if (!common.ok) return common;
  const parts = collectSequences(manifest, severed);
  if (!parts.ok) return parts;
  const sequences = decodeSequences([['shared', common.value.shared], ...parts.value]);
  if (!sequences.ok) return sequences;
  const components = interpret(common.value.identifiers, sequences.value);
  if (!components.ok) return components;
  const holdfast = manifest.get(MEMBER.holdfast);
  if (holdfast !== undefined && !(holdfast instanceof Uint8Array))
    return malformedSuit('member -257 is no byte string');
  return accept({
    sequence,
    components: components.value,
    sequences: sequences.value.map(([name]) => name),
    holdfast,
  });
}

function firstUnknown(map: CborMap, known: readonly CborKey[]): CborKey | undefined {
  return [...map.keys()].find((key) => !known.includes(key));
}

interface Common {
  readonly identifiers: readonly (readonly Uint8Array[])[];
  readonly shared: Uint8Array;
}

function decodeCommon(value: CborValue | undefined): Verdict<Common> {
  if (!(value instanceof Uint8Array)) return malformedSuit('the common member is no byte string');
  const decoded = decodeCbor(value, { capBytes: CBOR_CAP_BYTES });
  if (!decoded.ok) return decoded;
  const common = decoded.value;
  if (!(common instanceof Map)) return malformedSuit('the common member holds no map');
  const unknown = firstUnknown(common, [COMMON_COMPONENTS, COMMON_SHARED_SEQUENCE]);
  // Dependencies (1) belong to another draft; a device that skipped them would install half a release.
  if (unknown !== undefined) return malformedSuit(`common member ${unknown} is not taken`);
  const list = common.get(COMMON_COMPONENTS);
  if (!Array.isArray(list) || list.length === 0) return malformedSuit('there are no components');
  if (list.length > MAX_COMPONENTS) return malformedSuit(`there are more than ${MAX_COMPONENTS} components`);
  const identifiers: Uint8Array[][] = [];
  for (const item of list) {
    if (!Array.isArray(item) || item.length === 0 || !item.every((segment) => segment instanceof Uint8Array)) {
      return malformedSuit('a component identifier is no array of byte strings');
    }
    identifiers.push(item);
  }
  const shared = common.get(COMMON_SHARED_SEQUENCE);
  if (!(shared instanceof Uint8Array)) return malformedSuit('the shared sequence is no byte string');
  return accept({ identifiers, shared });
}

type NamedBytes = readonly [SequenceName, Uint8Array];

/** The encoded sequences, taken from the envelope where they were severed, with their digests checked. */
function collectSequences(manifest: CborMap, severed: ReadonlyMap<number, Uint8Array>): Verdict<NamedBytes[]> {
  for (const key of severed.keys()) {
    // An element that no digest in the manifest covers is not signed at all (CVE-like: Mender's unlisted payloads).
    if (!Array.isArray(manifest.get(key))) {
      return refuse('envelope-digest-mismatch', `SUIT: element ${key} of the envelope has no digest in the manifest`);
    }
  }
  const found: NamedBytes[] = [];
  const members = [...Object.entries(SEQUENCES), ['text', MEMBER.text] as const] as [SequenceName | 'text', number][];
  for (const [name, key] of members) {
    const value = manifest.get(key);
    if (value === undefined) continue;
    const bytes = resolveMember(value, severed.get(key), key);
    if (!bytes.ok) return bytes;
    // Text is for people and may be left out; a sequence may not.
    if (name === 'text') continue;
    if (bytes.value === undefined) return malformedSuit(`the ${name} sequence was severed and left out`);
    found.push([name, bytes.value]);
  }
  return accept(found);
}

function resolveMember(
  value: CborValue,
  severed: Uint8Array | undefined,
  key: number,
): Verdict<Uint8Array | undefined> {
  if (value instanceof Uint8Array) return accept(value);
  const digest = SEVERABLE.includes(key) ? decodeDigest(value) : undefined;
  if (digest === undefined) return malformedSuit(`manifest member ${key} is neither a byte string nor a digest`);
  if (severed === undefined) return accept(undefined);
  // §8.4.12: the digest covers the element with its byte string head.
  if (equalBytes(sha256(encodeCbor(severed)), digest)) return accept(severed);
  return refuse('envelope-digest-mismatch', `SUIT: the severed element ${key} is not what the manifest says`);
}

function decodeSequences(parts: readonly NamedBytes[]): Verdict<NamedCommands[]> {
  const sequences: NamedCommands[] = [];
  for (const [name, bytes] of parts) {
    const commands = decodeCommands(bytes, `the ${name} sequence`);
    if (!commands.ok) return commands;
    sequences.push([name, commands.value]);
  }
  return accept(sequences);
}
