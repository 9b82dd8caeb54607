/**
 * `release build`: from image files and the current signed metadata to a release folder that people can sign. Needs no
 * key. What it writes is exactly what each signer derives again and compares; images are read once, and not copied.
 */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { faultOfSystemError } from '../platform/command-line.ts';
import { nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';
import { sha256Hex } from '../trust/crypto.ts';
import { REASON_TEXT } from '../trust/suit/manifest.ts';
import type { ReleaseEntry, Targets } from '../trust/tuf/metadata.ts';
import type { BaseMetadata } from './base-metadata.ts';
import { type ImageProgress, imageSizeBytes, mapImage } from './image-map.ts';
import { refused } from './refused.ts';
import { describeImage, manifestOf, releasePathOf } from './release-content.ts';
import { contentOf, keptPath, type PlannedImage, type ReleasePlan, writePlan } from './release-plan.ts';
import { TARGETS_LIFETIME_S } from './root-draft.ts';

export interface BuildRequest {
  /** Made by the build; must not exist, or be empty. */
  readonly folder: string;
  readonly base: BaseMetadata;
  readonly vendor: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  /** Absent: the highest floor that this class and channel already has. */
  readonly floorSequence?: number;
  readonly images: readonly { readonly component: string; readonly path: string }[];
  /** The exception: why none of the images brings an agent. Left out: one does, which is the caller's to have seen. */
  readonly withoutAgent?: string;
  readonly nowUnixS: number;
  /** A progress for each image, made when its size is known. */
  readonly onImage?: (
    component: string,
    sizeBytes: number,
  ) => { readonly update: ImageProgress; readonly finish: () => void };
}

/** The releases of one class and channel that targets metadata lists. */
export function releasesIn(targets: Targets, hardwareClass: string, channel: string): ReleaseEntry[] {
  return Object.values(targets.targets)
    .map((target) => target.custom?.holdfast)
    .filter((entry): entry is ReleaseEntry => entry?.kind === 'release')
    .filter((entry) => entry.hardwareClass === hardwareClass && entry.channel === channel);
}

/** Refuses at once what devices or the server would refuse in the end. Returns the floor. */
function demandSensible(request: BuildRequest): number {
  const { base, hardwareClass, channel, sequence } = request;
  const name = /^[a-z0-9][a-z0-9._-]{0,63}$/;
  for (const [option, text] of [
    ['--vendor', request.vendor],
    ['--class', hardwareClass],
    ['--channel', channel],
  ] as const) {
    if (!name.test(text)) {
      throw new Fault({
        code: 'name-malformed',
        what: `'${text}' is not a name`,
        where: option,
        cure: 'Use 1 to 64 of a-z 0-9 . _ - beginning with a letter or digit.',
        exitStatus: EXIT.usage,
      });
    }
  }
  const authors = base.root.holdfast.authors;
  if (!authors.some((author) => author.hardwareClasses.includes(hardwareClass) || author.hardwareClasses[0] === '*')) {
    const known = [...new Set(authors.flatMap((author) => author.hardwareClasses))].join(', ');
    throw refused(
      'author-missing',
      `the root names no author for class ${hardwareClass} (it knows ${known || 'none'})`,
      '--class',
      'Correct the class, or add an author for it to the root.',
    );
  }
  const earlier = releasesIn(base.targets, hardwareClass, channel);
  const newest = Math.max(0, ...earlier.map((entry) => entry.sequence));
  if (sequence <= newest) {
    throw refused(
      'sequence-not-newer',
      `sequence ${sequence} is not above ${newest}, the newest of ${hardwareClass} on ${channel}`,
      '--sequence',
      `Use --sequence ${newest + 1} or higher; devices refuse anything else.`,
    );
  }
  const floor = request.floorSequence ?? Math.max(0, ...earlier.map((entry) => entry.floorSequence));
  if (floor > sequence) {
    throw refused(
      'sequence-below-floor',
      `floor ${floor} is above the release's own sequence ${sequence}`,
      '--floor',
      'A release must be at or above its own floor.',
    );
  }
  const components = request.images.map((image) => image.component);
  if (
    components.length === 0 ||
    new Set(components).size !== components.length ||
    !components.every((text) => name.test(text))
  ) {
    throw new Fault({
      code: 'images-malformed',
      what: 'images must be given, each component once, with names in a-z 0-9 . _ -',
      where: '--image',
      cure: 'Write for instance --image boot=boot.img --image rootfs=rootfs.img.',
      exitStatus: EXIT.usage,
    });
  }
  if (request.withoutAgent !== undefined && !REASON_TEXT.test(request.withoutAgent)) {
    throw new Fault({
      code: 'reason-malformed',
      what: 'the reason is empty, or is not plain text of at most 200 characters',
      where: '--without-agent',
      cure: 'Say in a sentence, in ASCII, why these images bring no agent: signers and devices are shown it.',
      exitStatus: EXIT.usage,
    });
  }
  return floor;
}

async function refuseExisting(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw faultOfSystemError(error, folder) ?? error;
  });
  if (names.length > 0) {
    throw refused(
      'release-folder-exists',
      'the folder is not empty',
      folder,
      'Choose another folder with --out, or remove this one; signatures in it would be lost.',
    );
  }
}

async function buildImages(
  request: BuildRequest,
): Promise<{ planned: PlannedImage[]; blockMaps: Map<string, Uint8Array> }> {
  const planned: PlannedImage[] = [];
  const blockMaps = new Map<string, Uint8Array>();
  // Sizes first: a typing mistake in the last path should not show after minutes of hashing.
  const sizes = await Promise.all(request.images.map((image) => imageSizeBytes(image.path)));
  for (const [index, { component, path }] of request.images.entries()) {
    const progress = request.onImage?.(component, sizes[index] ?? 0);
    const mapped = await mapImage(path, progress?.update);
    progress?.finish();
    blockMaps.set(component, mapped.blockMap);
    const { blockMap, ...image } = describeImage(request, component, mapped);
    planned.push({ ...image, blockMap: { ...blockMap }, file: keptPath(request.folder, path) });
  }
  return { planned, blockMaps };
}

/** Builds the folder; release.json is written last, so that an interrupted build is not taken for a release. */
export async function buildRelease(request: BuildRequest): Promise<ReleasePlan> {
  const floorSequence = demandSensible(request);
  const folder = resolve(request.folder);
  await refuseExisting(folder);
  const { planned, blockMaps } = await buildImages(request);
  const { base, vendor, hardwareClass, channel, version, sequence, nowUnixS } = request;
  const plan: ReleasePlan = {
    format: 'holdfast-release-1',
    environment: base.root.holdfast.environment,
    vendor,
    hardwareClass,
    channel,
    version,
    sequence,
    floorSequence,
    buildUnixS: nowUnixS,
    releasePath: releasePathOf(request),
    targets: {
      version: base.targets.version + 1,
      expiresUnixS: nowUnixS + TARGETS_LIFETIME_S,
      baseSha256: sha256Hex(base.targetsBytes),
    },
    images: planned,
    ...(request.withoutAgent === undefined ? {} : { withoutAgent: request.withoutAgent }),
  };
  const manifest = manifestOf(contentOf(plan));
  const write = (name: string, bytes: Uint8Array) => writeDurably(nodeDisk, join(folder, name), bytes, 0o644);
  try {
    await nodeDisk.makeDirectory(join(folder, 'metadata'), 0o755);
    for (const { version: number, bytes } of base.roots) await write(`metadata/${number}.root.json`, bytes);
    await write('metadata/targets.json', base.targetsBytes);
    for (const [component, blockMap] of blockMaps) await write(`${component}.blocks`, blockMap);
    await write('manifest.cbor', manifest);
  } catch (error) {
    throw faultOfSystemError(error, folder) ?? error;
  }
  await writePlan(folder, plan);
  return plan;
}
