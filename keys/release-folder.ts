/**
 * A release folder as the next step finds it: everything in it derived again from the plan and compared, so that a
 * person signs what was shown or nothing. Used before each signature and before publication.
 */
import { join } from 'node:path';
import { nodeDisk } from '../platform/disk.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';
import { BLOCK_MAP_CAP_BYTES } from '../trust/blocks.ts';
import { equalBytes } from '../trust/bytes.ts';
import { sha256Hex } from '../trust/crypto.ts';
import { METADATA_CAP_BYTES, type Targets } from '../trust/tuf/metadata.ts';
import { type BaseMetadata, faultOfRefusal, readBaseMetadata } from './base-metadata.ts';
import { type ImageProgress, imageSizeBytes, mapImage } from './image-map.ts';
import { draftTargets, manifestOf, type ReleaseContent, rehearseVerification } from './release-content.ts';
import { contentOf, imagePathOf, type PlannedImage, type ReleasePlan, readPlan } from './release-plan.ts';
import { signersOf } from './tuf-signing.ts';

const ENVELOPE_CAP_BYTES = 64 * 1024;
export type OnImage = (
  component: string,
  sizeBytes: number,
) => { readonly update: ImageProgress; readonly finish: () => void };

export interface ReleaseFolder {
  readonly folder: string;
  readonly plan: ReleasePlan;
  readonly content: ReleaseContent;
  readonly base: BaseMetadata;
  readonly manifest: Uint8Array;
  /** Undefined until an author signed. */
  readonly envelope: Uint8Array | undefined;
  /** What targets.json must say; undefined until an author signed. */
  readonly expectedTargets: Targets | undefined;
  /** targets.json as it stands; undefined until an author signed. */
  readonly targetsFile: Uint8Array | undefined;
  /** Key ids that signed targets.json, each checked against the root. */
  readonly targetsSigners: readonly string[];
}

function mismatch(what: string, where: string): Fault {
  return new Fault({
    code: 'plan-mismatch',
    what,
    where,
    cure: 'Do not sign it. Build the release again with `holdfast release build`, and find out who changed the file.',
    exitStatus: EXIT.refused,
  });
}

/** Opens a folder and checks everything in it but the images (`checkImages`). Faults: see release-plan.ts; `plan-mismatch`. */
export async function openReleaseFolder(folder: string): Promise<ReleaseFolder> {
  const plan = await readPlan(folder);
  const content = contentOf(plan);
  const base = await readBaseMetadata(join(folder, 'metadata'));
  if (sha256Hex(base.targetsBytes) !== plan.targets.baseSha256 || base.targets.version + 1 !== plan.targets.version) {
    throw mismatch(
      'the targets that the release builds upon are not those of its plan',
      join(folder, 'metadata', 'targets.json'),
    );
  }
  if (base.root.holdfast.environment !== plan.environment) {
    throw mismatch('the plan names another environment than the signed root', join(folder, 'release.json'));
  }
  const manifest = manifestOf(content);
  const manifestPath = join(folder, 'manifest.cbor');
  if (!equalBytes(manifest, await readInputFile(manifestPath, ENVELOPE_CAP_BYTES, 'a SUIT manifest'))) {
    throw mismatch('the manifest is not what the plan says', manifestPath);
  }
  const parts = { folder, plan, content, base, manifest };
  const envelope = await nodeDisk.readFile(join(folder, 'release.suit'), ENVELOPE_CAP_BYTES);
  if (envelope === undefined) {
    return { ...parts, envelope, expectedTargets: undefined, targetsFile: undefined, targetsSigners: [] };
  }
  const expectedTargets = expectedTargetsOf(plan, content, base, envelope);
  await demandAcceptable({ content, base, folder }, expectedTargets, envelope);
  return { ...parts, envelope, expectedTargets, ...(await readTargets(folder, expectedTargets, base)) };
}

export function expectedTargetsOf(
  plan: ReleasePlan,
  content: ReleaseContent,
  base: BaseMetadata,
  envelope: Uint8Array,
): Targets {
  return draftTargets({ current: base.targets, content, envelope, expiresUnixS: plan.targets.expiresUnixS });
}

/** Refuses what a device would refuse, with the device's own code. */
export async function demandAcceptable(
  release: Pick<ReleaseFolder, 'content' | 'base' | 'folder'>,
  targets: Targets,
  envelope: Uint8Array,
): Promise<void> {
  const { content, base, folder } = release;
  const verdict = await rehearseVerification({ root: base.root, targets, content, envelope });
  if (!verdict.ok) {
    throw faultOfRefusal(
      verdict,
      join(folder, 'release.suit'),
      'Devices would refuse this release. Remove release.suit and targets.json, and sign again with the right key.',
    );
  }
}

async function readTargets(
  folder: string,
  expected: Targets,
  base: BaseMetadata,
): Promise<{ targetsFile: Uint8Array | undefined; targetsSigners: readonly string[] }> {
  const path = join(folder, 'targets.json');
  const targetsFile = await nodeDisk.readFile(path, METADATA_CAP_BYTES.targets);
  if (targetsFile === undefined) return { targetsFile, targetsSigners: [] };
  const targetsSigners = signersOf(targetsFile, expected, path).map((signature) => signature.keyid);
  const stranger = targetsSigners.find((keyId) => !base.root.roles.targets.keyids.includes(keyId));
  if (stranger !== undefined)
    throw mismatch(`a key that the root does not name signed it (${stranger.slice(0, 16)}…)`, path);
  return { targetsFile, targetsSigners };
}

async function checkImage(release: ReleaseFolder, image: PlannedImage, onImage: OnImage | undefined): Promise<void> {
  const path = imagePathOf(release.folder, image);
  const changed = (what: string): Fault =>
    new Fault({
      code: 'image-changed',
      what,
      where: path,
      cure: 'Build the release again if the change was meant; if not, find out who changed the image.',
      exitStatus: EXIT.refused,
    });
  const sizeBytes = await imageSizeBytes(path);
  if (sizeBytes !== image.sizeBytes)
    throw changed(`the image has ${sizeBytes} bytes, and had ${image.sizeBytes} when the release was built`);
  const progress = onImage?.(image.component, sizeBytes);
  const mapped = await mapImage(path, progress?.update);
  progress?.finish();
  if (mapped.sha256 !== image.sha256) throw changed('the image was changed after the release was built');
  const mapPath = join(release.folder, `${image.component}.blocks`);
  if (sha256Hex(mapped.blockMap) !== image.blockMap.sha256 || mapped.blockMap.length !== image.blockMap.sizeBytes) {
    throw mismatch('the plan names another block map than the image gives', join(release.folder, 'release.json'));
  }
  if (!equalBytes(mapped.blockMap, await readInputFile(mapPath, BLOCK_MAP_CAP_BYTES, 'a block map'))) {
    throw mismatch('the block map is not that of the image', mapPath);
  }
}

/** Reads every image again and compares with the plan. Fault `image-changed`, or `plan-mismatch` for a block map. */
export async function checkImages(release: ReleaseFolder, onImage?: OnImage): Promise<void> {
  for (const image of release.plan.images) await checkImage(release, image, onImage);
}
