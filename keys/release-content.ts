/**
 * From what a release is (names, sequence, images) to the formats that carry it: SUIT manifest and envelope, TUF targets.
 * Pure but for the signature. Formats are trust/'s; this file only fills them in, in one place, so that the two
 * descriptions of one release cannot disagree by construction; `rehearseVerification` then checks that they do not.
 */
import { unhex } from '../trust/bytes.ts';
import { encodeProtected, encodeSign1, sigStructure } from '../trust/cose.ts';
import { sha256Hex } from '../trust/crypto.ts';
import type { Verdict } from '../trust/refusal.ts';
import { type Release, type ReleaseImage, verifyRelease } from '../trust/release.ts';
import { encodeEnvelope, manifestDigest } from '../trust/suit/envelope.ts';
import { encodeManifest } from '../trust/suit/manifest.ts';
import { encodeTufDate } from '../trust/time.ts';
import { type HoldfastTarget, type Root, type TargetFile, type Targets, tufKeyOf } from '../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifySigned } from '../trust/tuf/repository.ts';
import { ephemeralKey, type SigningKey } from './signing-key.ts';
import { signMetadata } from './tuf-signing.ts';

/** A release before anybody signed it. */
export type ReleaseContent = Omit<Release, 'authorKeyId'>;
export type { ReleaseImage };

export interface ReleaseNames {
  readonly hardwareClass: string;
  readonly channel: string;
  readonly sequence: number;
}

/** `releases/<class>/<channel>/<sequence>`: where a release and its images stand among the targets. */
export function releaseFolder(names: ReleaseNames): string {
  return `releases/${names.hardwareClass}/${names.channel}/${names.sequence}`;
}

export function releasePathOf(names: ReleaseNames): string {
  return `${releaseFolder(names)}/release.suit`;
}

/** An image's entry in a release, from what one pass over it found. */
export function describeImage(
  names: ReleaseNames,
  component: string,
  image: { readonly sizeBytes: number; readonly sha256: string; readonly blockMap: Uint8Array },
): ReleaseImage {
  const folder = releaseFolder(names);
  return {
    component,
    sizeBytes: image.sizeBytes,
    sha256: image.sha256,
    targetPath: `${folder}/${component}.img`,
    blockMap: {
      targetPath: `${folder}/${component}.blocks`,
      sizeBytes: image.blockMap.length,
      sha256: sha256Hex(image.blockMap),
    },
  };
}

/** The encoded SUIT manifest. Deterministic: the same content gives the same bytes on every machine. */
export function manifestOf(content: ReleaseContent): Uint8Array {
  const { releasePath: _path, ...facts } = content;
  const images = content.images.map(({ component, sizeBytes, sha256, targetPath }) => ({
    component,
    sizeBytes,
    sha256,
    uri: targetPath,
  }));
  return encodeManifest({ ...facts, images });
}

/** The signed envelope, release.suit: a detached COSE_Sign1 of the manifest's digest, `kid` being the author's key id. */
export async function signEnvelope(manifest: Uint8Array, author: SigningKey): Promise<Uint8Array> {
  const kid = unhex(author.keyId) ?? new Uint8Array();
  const protectedBytes = encodeProtected(author.algorithm, kid);
  const signature = await author.sign(sigStructure(protectedBytes, new Uint8Array(), manifestDigest(manifest)));
  return encodeEnvelope({ manifest, signatures: [encodeSign1({ protectedBytes, signature })] });
}

function targetFile(sizeBytes: number, sha256: string, holdfast: HoldfastTarget): TargetFile {
  return { length: sizeBytes, hashes: { sha256 }, custom: { holdfast } };
}

/** The current targets and one release more, one version on. Deterministic. */
export function draftTargets(draft: {
  readonly current: Targets;
  readonly content: ReleaseContent;
  readonly envelope: Uint8Array;
  readonly expiresUnixS: number;
}): Targets {
  const { current, content, envelope } = draft;
  const { vendor, hardwareClass, channel, version, sequence, floorSequence, buildUnixS } = content;
  const images = content.images.map(({ component, sizeBytes, sha256, targetPath, blockMap }) => ({
    component,
    sizeBytes,
    sha256,
    image: targetPath,
    blockMap: blockMap.targetPath,
  }));
  const entry = {
    kind: 'release',
    vendor,
    hardwareClass,
    channel,
    version,
    sequence,
    floorSequence,
    buildUnixS,
    images,
  } as const;
  const targets: Record<string, TargetFile> = { ...current.targets };
  targets[content.releasePath] = targetFile(envelope.length, sha256Hex(envelope), entry);
  for (const image of content.images) {
    targets[image.targetPath] = targetFile(image.sizeBytes, image.sha256, { kind: 'image' });
    targets[image.blockMap.targetPath] = targetFile(image.blockMap.sizeBytes, image.blockMap.sha256, {
      kind: 'block-map',
    });
  }
  return { ...current, version: current.version + 1, expires: encodeTufDate(draft.expiresUnixS), targets };
}

/**
 * Would a device of this class and channel take the release, once enough people signed the targets? Runs trust/'s own
 * verification over the real envelope and the drafted targets, with a throwaway key in place of the people's: all is
 * checked but their signatures. The throwaway root never leaves this function.
 */
export async function rehearseVerification(rehearsal: {
  readonly root: Root;
  readonly targets: Targets;
  readonly content: ReleaseContent;
  readonly envelope: Uint8Array;
}): Promise<Verdict<Release>> {
  const throwaway = ephemeralKey('tuf');
  const role = { keyids: [throwaway.keyId], threshold: 1 };
  const { root, content } = rehearsal;
  const stage: Root = {
    ...root,
    keys: { ...root.keys, [throwaway.keyId]: tufKeyOf(throwaway.publicKey) },
    roles: { ...root.roles, root: role, targets: role },
  };
  const stageRoot = verifyInitialRoot(await signMetadata(stage, [throwaway]));
  if (!stageRoot.ok) return stageRoot;
  const targets = verifySigned(stageRoot.value, 'targets', await signMetadata(rehearsal.targets, [throwaway]));
  if (!targets.ok) return targets;
  return verifyRelease({
    root: stageRoot.value,
    targets: targets.value,
    releasePath: content.releasePath,
    envelope: rehearsal.envelope,
    device: content,
    installedSequence: content.sequence - 1,
    floorSequence: content.floorSequence,
  });
}
