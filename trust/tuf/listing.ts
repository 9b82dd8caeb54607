/**
 * Looking files up in signed targets, and the files that a release entry leans on.
 *
 * Invariants: names are looked up as own members only. A release's image and block map must be listed themselves, as
 * what they are, with the size and digest that the release gives.
 */
import { blockMapSizeBytes } from '../blocks.ts';
import type { Verified } from '../bytes.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import {
  consistentPath,
  type ReleaseEntry,
  type ReleaseImageEntry,
  type TargetFile,
  type Targets,
} from './metadata.ts';

export interface TargetDescription {
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Under which path the repository serves it. */
  readonly consistentPath: string;
}

/** What a listed target must be, and where it is served; `target-unknown` when the targets do not list it. */
export function findTarget(targets: Verified<Targets>, targetPath: string): Verdict<TargetDescription> {
  const file = targetFile(targets, targetPath);
  if (file === undefined) return refuse('target-unknown', `the signed targets do not list ${targetPath}`);
  const { sha256 } = file.hashes;
  return accept({ sizeBytes: file.length, sha256, consistentPath: consistentPath(targetPath, sha256) });
}

export interface ReleaseListing {
  readonly releasePath: string;
  readonly entry: ReleaseEntry;
  /** Of the envelope, hex. */
  readonly sha256: string;
}

/** Every release in the targets, lowest sequence first. */
export function releasesOf(targets: Targets): readonly ReleaseListing[] {
  const listed = Object.entries(targets.targets).flatMap(([releasePath, file]) => {
    const entry = file.custom?.holdfast;
    return entry?.kind === 'release' ? [{ releasePath, entry, sha256: file.hashes.sha256 }] : [];
  });
  return listed.sort((a, b) => a.entry.sequence - b.entry.sequence);
}

/** The newest of a class and channel, or undefined; `releases` with the lowest sequence first. */
export function newestRelease(
  releases: readonly ReleaseListing[],
  hardwareClass: string,
  channel: string,
): ReleaseListing | undefined {
  return releases.findLast(({ entry }) => entry.hardwareClass === hardwareClass && entry.channel === channel);
}

export interface ListedRelease {
  readonly file: TargetFile;
  readonly entry: ReleaseEntry;
}

export function findRelease(targets: Verified<Targets>, releasePath: string): Verdict<ListedRelease> {
  const file = targetFile(targets, releasePath);
  if (file === undefined) return refuse('target-unknown', `the signed targets do not list ${releasePath}`);
  const entry = file.custom?.holdfast;
  if (entry?.kind !== 'release') return refuse('target-unknown', `${releasePath} is listed, but not as a release`);
  return accept({ file, entry });
}

function targetFile(targets: Targets, path: string): TargetFile | undefined {
  return Object.hasOwn(targets.targets, path) ? targets.targets[path] : undefined;
}

/**
 * The block map of one image of a release. `target-unknown` when image or map is not listed as such,
 * `targets-suit-disagree` when the image is listed with another size or digest than its release gives,
 * `block-map-malformed` when the map cannot be this image's.
 */
export function findImageFiles(targets: Verified<Targets>, image: ReleaseImageEntry): Verdict<TargetDescription> {
  const file = targetFile(targets, image.image);
  if (file?.custom?.holdfast?.kind !== 'image')
    return refuse('target-unknown', `${image.image} is not listed as image`);
  if (file.length !== image.sizeBytes || file.hashes.sha256 !== image.sha256) {
    return refuse(
      'targets-suit-disagree',
      `${image.image} is listed with another size or digest than its release gives`,
    );
  }
  const map = targetFile(targets, image.blockMap);
  if (map?.custom?.holdfast?.kind !== 'block-map') {
    return refuse('target-unknown', `${image.blockMap} is not listed as block map`);
  }
  if (map.length !== blockMapSizeBytes(image.sizeBytes)) {
    return refuse('block-map-malformed', `${image.blockMap} has ${map.length} bytes, which its image does not demand`);
  }
  return findTarget(targets, image.blockMap);
}
