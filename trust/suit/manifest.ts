/**
 * Holdfast's profile of the SUIT manifest: which facts must stand in it, and where. Channel, version, floor and build
 * date stand in the private-use manifest member −257 (a byte string holding a map 1…4, and 5 in releases that bring no
 * agent), because the draft allows its
 * custom parameters as hints only (§8.4.8.16), and these are no hints.
 *
 * Invariants: `decodeManifest(encodeManifest(d))` says what `d` says. Every component is bound to vendor and class, has
 * digest, size and URI, is fetched and matched on install, and matched on validation.
 * May not: sign, or judge whether a manifest fits a device.
 */
import { type Decoded, equalBytes, hex, markDecoded, unhex, utf8 } from '../bytes.ts';
import { CBOR_CAP_BYTES, type CborKey, type CborValue, decodeCbor, encodeCbor } from '../cbor.ts';
import { accept, type Verdict } from '../refusal.ts';
import { COMPONENT, MAX_IMAGE_BYTES, NAME, TARGET_PATH, VERSION_TEXT } from '../tuf/holdfast-target.ts';
import { COMMAND, DIGEST_SHA256, malformedSuit, PARAMETER } from './commands.ts';
import { classIdentifier, vendorIdentifier } from './identifiers.ts';
import type { SequenceName, SuitComponent } from './interpret.ts';
import {
  COMMON_COMPONENTS,
  COMMON_SHARED_SEQUENCE,
  decodeManifestStructure,
  MANIFEST_VERSION,
  type ManifestStructure,
  MEMBER,
} from './structure.ts';

export interface ManifestImage {
  /** Component name: `boot`, `rootfs`. */
  readonly component: string;
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Target path of the image. */
  readonly uri: string;
}

interface ManifestFacts {
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floorSequence: number;
  readonly buildUnixS: number;
  /** The exception: why none of its images brings an agent. Left out: the author says that one does. */
  readonly withoutAgent?: string;
  readonly images: readonly ManifestImage[];
}

export interface ManifestDescription extends ManifestFacts {
  readonly vendor: string;
  readonly hardwareClass: string;
}

/** What a decoded manifest says. Vendor and class are UUIDs here: names cannot be read back from them. */
export interface Manifest extends ManifestFacts {
  readonly vendorId: Uint8Array;
  readonly classId: Uint8Array;
}

/** Why a release brings no agent: for people, printable ASCII. */
export const REASON_TEXT = /^[\x20-\x7e]{1,200}$/;
/** Members of the map in manifest member −257. */
const FACT = { channel: 1, version: 2, floorSequence: 3, buildUnixS: 4, withoutAgent: 5 } as const;
/** Ask for records of success and failure, with system information: what the draft's own examples ask for. */
const REPORT_ALL = 15;
const REPORT_FAILURE = 2;
const TAKEN_SEQUENCES: readonly SequenceName[] = ['shared', 'validate', 'install', 'invoke'];

// --- encoding ----------------------------------------------------------------------------------------------------

/** The manifest, ready to be digested and signed. Throws for what `decodeManifest` would refuse: what we make is ours. */
export function encodeManifest(description: ManifestDescription): Uint8Array {
  const common = new Map<number, CborValue>([
    [COMMON_COMPONENTS, description.images.map((image) => [utf8(image.component)])],
    [COMMON_SHARED_SEQUENCE, encodeCbor(sharedSequence(description))],
  ]);
  const facts = new Map<number, CborValue>([
    [FACT.channel, description.channel],
    [FACT.version, description.version],
    [FACT.floorSequence, description.floorSequence],
    [FACT.buildUnixS, description.buildUnixS],
  ]);
  if (description.withoutAgent !== undefined) facts.set(FACT.withoutAgent, description.withoutAgent);
  const match = [COMMAND.imageMatch, REPORT_ALL];
  const bytes = encodeCbor(
    new Map<number, CborValue>([
      [MEMBER.version, MANIFEST_VERSION],
      [MEMBER.sequence, description.sequence],
      [MEMBER.common, encodeCbor(common)],
      [MEMBER.validate, encodeCbor(forEachImage(description, () => match))],
      [
        MEMBER.install,
        encodeCbor(
          forEachImage(description, ({ uri }) => [
            ...[COMMAND.overrideParameters, new Map([[PARAMETER.uri, uri]])],
            ...[COMMAND.fetch, REPORT_FAILURE],
            ...match,
          ]),
        ),
      ],
      [MEMBER.holdfast, encodeCbor(facts)],
    ]),
  );
  const check = decodeManifest(bytes);
  if (!check.ok) throw new RangeError(`no manifest can say this: ${check.detail}`);
  return bytes;
}

function sharedSequence(description: ManifestDescription): CborValue[] {
  const identity = new Map<number, CborValue>([
    [PARAMETER.vendorIdentifier, vendorIdentifier(description.vendor)],
    [PARAMETER.classIdentifier, classIdentifier(description.vendor, description.hardwareClass)],
  ]);
  return [
    ...[COMMAND.setComponentIndex, true],
    ...[COMMAND.overrideParameters, identity],
    ...[COMMAND.vendorIdentifier, REPORT_ALL],
    ...[COMMAND.classIdentifier, REPORT_ALL],
    ...forEachImage(description, (image) => [COMMAND.overrideParameters, imageParameters(image)]),
  ];
}

function imageParameters(image: ManifestImage): Map<number, CborValue> {
  const sha256 = unhex(image.sha256);
  if (sha256 === undefined) throw new RangeError(`the digest of ${image.component} is no hexadecimal`);
  return new Map<number, CborValue>([
    [PARAMETER.imageDigest, encodeCbor([DIGEST_SHA256, sha256])],
    [PARAMETER.imageSize, image.sizeBytes],
  ]);
}

function forEachImage(description: ManifestDescription, commands: (image: ManifestImage) => CborValue[]): CborValue[] {
  return description.images.flatMap((image, index) => [COMMAND.setComponentIndex, index, ...commands(image)]);
}

// --- decoding ----------------------------------------------------------------------------------------------------

/**
 * A manifest of Holdfast's profile. `command-refused` for a command outside the set, `envelope-digest-mismatch` for a
 * severed element that was changed, `cbor-…` and `envelope-malformed` for everything else that is not the profile.
 */
export function decodeManifest(
  bytes: Uint8Array,
  severed: ReadonlyMap<number, Uint8Array> = new Map(),
): Verdict<Decoded<Manifest>> {
  const structure = decodeManifestStructure(bytes, severed);
  if (!structure.ok) return structure;
  const { sequence, components } = structure.value;
  const alien = structure.value.sequences.find((name) => !TAKEN_SEQUENCES.includes(name));
  if (alien !== undefined) return malformedSuit(`the ${alien} sequence is not taken`);
  if (sequence < 1) return malformedSuit('sequence numbers begin at 1');
  const facts = decodeFacts(structure.value);
  if (!facts.ok) return facts;
  if (facts.value.floorSequence > sequence) return malformedSuit('the floor stands above the sequence');
  const images: ManifestImage[] = [];
  for (const component of components) {
    const image = readImage(component);
    if (typeof image === 'string') return malformedSuit(image);
    if (images.some((other) => other.component === image.component)) return malformedSuit('a component stands twice');
    images.push(image);
  }
  const identity = readIdentity(components);
  if (identity === undefined) return malformedSuit('not every component is bound to the same vendor and class');
  return accept(markDecoded<Manifest>({ ...identity, ...facts.value, sequence, images }));
}

type OwnFacts = Pick<Manifest, 'channel' | 'version' | 'floorSequence' | 'buildUnixS' | 'withoutAgent'>;

function decodeFacts(structure: ManifestStructure): Verdict<OwnFacts> {
  if (structure.holdfast === undefined) return malformedSuit('member -257 is missing');
  const decoded = decodeCbor(structure.holdfast, { capBytes: CBOR_CAP_BYTES });
  if (!decoded.ok) return decoded;
  const map = decoded.value;
  const known: readonly CborKey[] = Object.values(FACT);
  if (!(map instanceof Map) || [...map.keys()].some((key) => !known.includes(key)))
    return malformedSuit('member -257 is not ours');
  const channel = map.get(FACT.channel);
  const version = map.get(FACT.version);
  const floorSequence = map.get(FACT.floorSequence);
  const buildUnixS = map.get(FACT.buildUnixS);
  if (typeof channel !== 'string' || !NAME.test(channel)) return malformedSuit('the channel is none');
  if (typeof version !== 'string' || !VERSION_TEXT.test(version)) return malformedSuit('the version is none');
  if (typeof floorSequence !== 'number' || floorSequence < 0) return malformedSuit('the floor is none');
  if (typeof buildUnixS !== 'number' || buildUnixS < 0) return malformedSuit('the build date is none');
  const withoutAgent = map.get(FACT.withoutAgent);
  if (withoutAgent === undefined) return accept({ channel, version, floorSequence, buildUnixS });
  if (typeof withoutAgent !== 'string' || !REASON_TEXT.test(withoutAgent))
    return malformedSuit('the reason for having no agent is none');
  return accept({ channel, version, floorSequence, buildUnixS, withoutAgent });
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readImage({ identifier, parameters, done }: SuitComponent): ManifestImage | string {
  const segment = identifier[0];
  if (segment === undefined || identifier.length !== 1) return 'a component identifier is not a single name';
  let component: string;
  try {
    component = STRICT_UTF8.decode(segment);
  } catch {
    return 'a component name is not UTF-8';
  }
  if (!COMPONENT.test(component)) return 'a component name has not the form it must have';
  const { imageSha256, sizeBytes, uri } = parameters;
  if (imageSha256 === undefined || sizeBytes === undefined || uri === undefined) {
    return `${component} lacks a digest, a size or a URI`;
  }
  if (sizeBytes < 1 || sizeBytes > MAX_IMAGE_BYTES) return `${component} has a size out of bounds`;
  if (!TARGET_PATH.test(uri)) return `${component} has a URI that is no target path`;
  if (!matchesLast(done.install, COMMAND.fetch)) return `${component} is not fetched and then matched on install`;
  if (!(done.validate ?? []).includes(COMMAND.imageMatch)) return `${component} is not matched on validation`;
  return { component, sizeBytes, sha256: hex(imageSha256), uri };
}

/** Nothing may be fetched after the last match: it would stay unchecked. */
function matchesLast(done: readonly number[] | undefined, fetch: number): boolean {
  if (done === undefined) return false;
  const fetched = done.lastIndexOf(fetch);
  return fetched >= 0 && done.lastIndexOf(COMMAND.imageMatch) > fetched;
}

function readIdentity(components: readonly SuitComponent[]): Pick<Manifest, 'vendorId' | 'classId'> | undefined {
  const { vendorId, classId } = components[0]?.parameters ?? {};
  if (vendorId === undefined || classId === undefined) return undefined;
  const bound = components.every(({ parameters, done }) => {
    const same =
      equalBytes(parameters.vendorId ?? new Uint8Array(0), vendorId) &&
      equalBytes(parameters.classId ?? new Uint8Array(0), classId);
    const checked = done.shared ?? [];
    return same && checked.includes(COMMAND.vendorIdentifier) && checked.includes(COMMAND.classIdentifier);
  });
  return bound ? { vendorId, classId } : undefined;
}
