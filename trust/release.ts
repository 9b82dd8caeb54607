/**
 * Is this release for this device, and may it be installed? `verifyRelease` is the table of contents of the answer.
 *
 * Invariants: a signature is checked over received bytes before anything that they say is acted upon. What TUF says
 * (targets keys) and what SUIT says (author key) must agree in every fact, so both must be stolen to ship an image.
 * May not: read, fetch, keep or remember anything.
 */

import type { Decoded, Verified } from './bytes.ts';
import { equalBytes, hex, unhex } from './bytes.ts';
import { verifySign1 } from './cose.ts';
import { decideSequence } from './counter.ts';
import { sha256Hex } from './crypto.ts';
import { accept, refuse, type Verdict } from './refusal.ts';
import { decodeEnvelope, ENVELOPE_CAP_BYTES, type Envelope, verifyManifestDigest } from './suit/envelope.ts';
import { classIdentifier, vendorIdentifier } from './suit/identifiers.ts';
import { decodeManifest, type Manifest } from './suit/manifest.ts';
import { findImageFiles, findRelease, findTarget } from './tuf/listing.ts';
import type { Author, ReleaseEntry, ReleaseImageEntry, Root, TargetFile, Targets } from './tuf/metadata.ts';
import { markVerified } from './verified.ts';

export { findTarget };

export interface ReleaseImage {
  readonly component: string;
  readonly sizeBytes: number;
  /** Hex, of the whole image. */
  readonly sha256: string;
  readonly targetPath: string;
  readonly blockMap: { readonly targetPath: string; readonly sizeBytes: number; readonly sha256: string };
}

export interface Release {
  readonly releasePath: string;
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly floorSequence: number;
  readonly buildUnixS: number;
  /** The author's exception: why none of the images brings an agent. It stands in the envelope alone, which the targets list by its digest. */
  readonly withoutAgent?: string;
  /** The author whose signature was accepted. */
  readonly authorKeyId: string;
  readonly images: readonly ReleaseImage[];
}

export interface DeviceIdentity {
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
}

export interface ReleaseCheck {
  readonly root: Verified<Root>;
  readonly targets: Verified<Targets>;
  readonly releasePath: string;
  /** The target file at `releasePath`, as received. */
  readonly envelope: Uint8Array;
  readonly device: DeviceIdentity;
  readonly installedSequence: number;
  readonly floorSequence: number;
}

/**
 * Everything that is checked about a release before its first block is fetched, in order. The order decides which code
 * a release gets that is wrong in more than one way, and it is chosen so that the code names the cause:
 *
 *  1. `listed`     the targets keys name this path as a release            target-unknown
 *  2. `received`   the bytes are the listed ones                           input-too-large, envelope-digest-mismatch
 *  3. `envelope`   they are an envelope of our profile                     cbor-…, envelope-malformed, envelope-unsigned
 *  4. `authors`    signed by known authors, under their pinned algorithms  author-unknown, signature-…, envelope-signature-invalid
 *  5. `manifest`   the manifest is what was signed, and of our profile     envelope-digest-mismatch, command-refused
 *  6. `fit`        vendor, author's scope, class, channel                  vendor-mismatch … channel-mismatch
 *  7. `sequence`   newer than installed, not below the floor               sequence-not-newer, sequence-below-floor
 *  8. `agreed`     TUF and SUIT say the same                               targets-suit-disagree
 *
 * Steps 6 and 7 judge the author's statement against the device, before step 8 compares it with TUF's. The other way
 * round, a genuine release of another class would be refused as a disagreement when its lister copied the wrong name,
 * and the reason that a person can act on would be lost. Within 6, the vendor comes before the scope, because scopes
 * are class names below a vendor; the scope comes before the class, because a key used beyond its scope is an attack
 * and a wrong class is a mistake.
 */
export function verifyRelease(check: ReleaseCheck): Verdict<Verified<Release>> {
  const listed = findRelease(check.targets, check.releasePath);
  if (!listed.ok) return listed;
  const received = verifyReceived(listed.value.file, check.envelope);
  if (!received.ok) return received;
  const envelope = decodeEnvelope(received.value);
  if (!envelope.ok) return envelope;
  const authors = verifyAuthors(check.root, envelope.value);
  if (!authors.ok) return authors;
  const manifest = verifyManifest(envelope.value);
  if (!manifest.ok) return manifest;
  const fit = verifyFit(manifest.value, authors.value, check.device);
  if (!fit.ok) return fit;
  const sequence = decideSequence(check, manifest.value.sequence);
  if (!sequence.ok) return sequence;
  const agreed = verifyAgreement(check.targets, listed.value.entry, manifest.value, check.device);
  if (!agreed.ok) return agreed;
  return accept(markVerified(describe(check, listed.value.entry, manifest.value, fit.value, agreed.value)));
}

function verifyReceived(file: TargetFile, bytes: Uint8Array): Verdict<Uint8Array> {
  if (bytes.length > ENVELOPE_CAP_BYTES) {
    return refuse('input-too-large', `${bytes.length} bytes of envelope, at most ${ENVELOPE_CAP_BYTES}`);
  }
  if (bytes.length !== file.length) {
    return refuse('envelope-digest-mismatch', `${bytes.length} bytes of envelope, the targets say ${file.length}`);
  }
  const sha256 = sha256Hex(bytes);
  if (sha256 === file.hashes.sha256) return accept(bytes);
  return refuse('envelope-digest-mismatch', `the envelope is ${sha256}, the targets say ${file.hashes.sha256}`);
}

/**
 * Every author that the root knows and that signed. Signatures by strangers are passed over (SUIT §8.3 lets anybody add
 * one); a known author's signature that does not verify refuses the whole, because nobody honest makes such a thing.
 */
function verifyAuthors(root: Verified<Root>, envelope: Decoded<Envelope>): Verdict<readonly Author[]> {
  if (envelope.signatures.length === 0) {
    return refuse('envelope-unsigned', 'the authentication wrapper holds no signature');
  }
  const found: Author[] = [];
  const strangers: string[] = [];
  for (const sign1 of envelope.signatures) {
    if (sign1.kid === undefined) return refuse('envelope-malformed', 'SUIT: a signature without key id');
    const keyId = hex(sign1.kid);
    const author = root.holdfast.authors.find((one) => one.keyId === keyId);
    const publicKey = author === undefined ? undefined : unhex(author.publicKey);
    if (author === undefined || publicKey === undefined) {
      strangers.push(keyId.slice(0, 16));
      continue;
    }
    const key = { algorithm: author.algorithm, publicKey };
    const verified = verifySign1({ sign1, detachedPayload: envelope.digestBytes, key });
    if (!verified.ok) return verified;
    found.push(author);
  }
  if (found.length > 0) return accept(found);
  return refuse('author-unknown', `signed by ${strangers.join(', ')}, whom root ${root.version} does not name`);
}

/** Only now is the manifest looked into: its digest is signed. */
function verifyManifest(envelope: Decoded<Envelope>): Verdict<Decoded<Manifest>> {
  const manifest = verifyManifestDigest(envelope);
  return manifest.ok ? decodeManifest(manifest.value, envelope.severed) : manifest;
}

/** The first author whose scope covers the manifest's class, which must be the device's; and the channel. */
function verifyFit(manifest: Manifest, authors: readonly Author[], device: DeviceIdentity): Verdict<Author> {
  if (!equalBytes(manifest.vendorId, vendorIdentifier(device.vendor))) {
    return refuse('vendor-mismatch', `made for vendor ${hex(manifest.vendorId)}, this device is of ${device.vendor}`);
  }
  const author = authors.find(({ hardwareClasses }) => coversClass(hardwareClasses, device.vendor, manifest.classId));
  if (author === undefined) {
    const scopes = authors.map(({ keyId, hardwareClasses }) => `${keyId.slice(0, 16)} (${hardwareClasses.join(', ')})`);
    return refuse('author-out-of-scope', `class ${hex(manifest.classId)} is beyond the scope of ${scopes.join(', ')}`);
  }
  if (!equalBytes(manifest.classId, classIdentifier(device.vendor, device.hardwareClass))) {
    return refuse('class-mismatch', `made for class ${hex(manifest.classId)}, this device is ${device.hardwareClass}`);
  }
  if (manifest.channel !== device.channel) {
    return refuse('channel-mismatch', `for channel ${manifest.channel}, this device follows ${device.channel}`);
  }
  return accept(author);
}

function coversClass(hardwareClasses: readonly string[], vendor: string, classId: Uint8Array): boolean {
  return hardwareClasses.some((name) => name === '*' || equalBytes(classIdentifier(vendor, name), classId));
}

/** What the targets keys say against what the author says, fact by fact; then the files that the release needs. */
function verifyAgreement(
  targets: Verified<Targets>,
  entry: ReleaseEntry,
  manifest: Manifest,
  device: DeviceIdentity,
): Verdict<readonly ReleaseImage[]> {
  // The manifest's vendor and class were found to be the device's, so TUF's names must be the device's too.
  const facts: readonly (readonly [string, string | number, string | number])[] = [
    ['vendor', entry.vendor, device.vendor],
    ['hardware class', entry.hardwareClass, device.hardwareClass],
    ['channel', entry.channel, manifest.channel],
    ['version', entry.version, manifest.version],
    ['sequence', entry.sequence, manifest.sequence],
    ['floor', entry.floorSequence, manifest.floorSequence],
    ['build date', entry.buildUnixS, manifest.buildUnixS],
    ['number of images', entry.images.length, manifest.images.length],
  ];
  for (const [name, inTargets, inSuit] of facts) {
    if (inTargets !== inSuit) return disagree(`${name} is ${inTargets} in TUF, ${inSuit} in SUIT`);
  }
  const images: ReleaseImage[] = [];
  for (const image of entry.images) {
    const agreed = verifyImage(targets, image, manifest);
    if (!agreed.ok) return agreed;
    images.push(agreed.value);
  }
  return accept(images);
}

function verifyImage(targets: Verified<Targets>, image: ReleaseImageEntry, manifest: Manifest): Verdict<ReleaseImage> {
  const { component, sizeBytes, sha256 } = image;
  const inSuit = manifest.images.find((one) => one.component === component);
  if (inSuit === undefined) return disagree(`${component} stands in TUF only`);
  if (inSuit.sizeBytes !== sizeBytes)
    return disagree(`${component} has ${sizeBytes} bytes, ${inSuit.sizeBytes} in SUIT`);
  if (inSuit.sha256 !== sha256) return disagree(`${component} is ${sha256}, ${inSuit.sha256} in SUIT`);
  if (inSuit.uri !== image.image) return disagree(`${component} is at ${image.image}, at ${inSuit.uri} in SUIT`);
  const map = findImageFiles(targets, image);
  if (!map.ok) return map;
  const blockMap = { targetPath: image.blockMap, sizeBytes: map.value.sizeBytes, sha256: map.value.sha256 };
  return accept({ component, sizeBytes, sha256, targetPath: image.image, blockMap });
}

function disagree(what: string): Verdict<never> {
  return refuse('targets-suit-disagree', what);
}

function describe(
  check: ReleaseCheck,
  entry: ReleaseEntry,
  { withoutAgent }: Manifest,
  author: Author,
  images: readonly ReleaseImage[],
): Release {
  const { vendor, hardwareClass, channel, version, sequence, floorSequence, buildUnixS } = entry;
  return {
    releasePath: check.releasePath,
    ...{ vendor, hardwareClass, channel, version, sequence, floorSequence, buildUnixS },
    ...(withoutAgent === undefined ? {} : { withoutAgent }),
    authorKeyId: author.keyId,
    images,
  };
}
