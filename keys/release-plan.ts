/**
 * release.json in a release folder: the plan that people are shown and sign. Everything in it is data to check, whoever
 * wrote the file: each step derives manifest and targets from it anew and compares.
 *
 *   REL/release.json          this plan
 *   REL/metadata/             the root chain (N.root.json) and the current targets.json that the release builds upon
 *   REL/manifest.cbor         SUIT manifest
 *   REL/<component>.blocks    block maps
 *   REL/release.suit          the author's signature (release sign)
 *   REL/targets.json          the next targets, gathering signatures (release sign)
 */
import { isAbsolute, join, relative, resolve } from 'node:path';
import * as v from 'valibot';
import { nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';
import { Name, Sha256Hex, TargetPath } from '../protocol/device-api.ts';
import { utf8 } from '../trust/bytes.ts';
import { decodeJson } from '../trust/json.ts';
import { REASON_TEXT } from '../trust/suit/manifest.ts';
import { type ReleaseContent, releasePathOf } from './release-content.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const PLAN_CAP_BYTES = 256 * 1024;
export const PLAN_FILE = 'release.json';

const PlannedImage = v.strictObject({
  component: Name,
  /** Relative to the release folder, or absolute. */
  file: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)),
  sizeBytes: Count,
  sha256: Sha256Hex,
  targetPath: TargetPath,
  blockMap: v.strictObject({ targetPath: TargetPath, sizeBytes: Count, sha256: Sha256Hex }),
});

const ReleasePlan = v.strictObject({
  format: v.literal('holdfast-release-1'),
  environment: v.picklist(['production', 'lab', 'rehearsal']),
  vendor: Name,
  hardwareClass: Name,
  channel: Name,
  version: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  sequence: v.pipe(Count, v.minValue(1)),
  floorSequence: Count,
  buildUnixS: Count,
  releasePath: TargetPath,
  /** What the next targets metadata will be. */
  targets: v.strictObject({ version: Count, expiresUnixS: Count, baseSha256: Sha256Hex }),
  images: v.pipe(v.array(PlannedImage), v.minLength(1), v.maxLength(16)),
  /** The exception: why none of the images brings an agent. */
  withoutAgent: v.exactOptional(v.pipe(v.string(), v.regex(REASON_TEXT))),
});
export type ReleasePlan = v.InferOutput<typeof ReleasePlan>;
export type PlannedImage = v.InferOutput<typeof PlannedImage>;

/** The part of the plan that devices will see. */
export function contentOf(plan: ReleasePlan): ReleaseContent {
  const { format: _format, environment: _environment, targets: _targets, images, ...content } = plan;
  return { ...content, images: images.map(({ file: _file, ...image }) => image) };
}

export function imagePathOf(folder: string, image: PlannedImage): string {
  return resolve(folder, image.file);
}

/** How an image's path is kept: relative when it lies in the folder, so that the folder can be moved. */
export function keptPath(folder: string, imagePath: string): string {
  const inside = relative(resolve(folder), resolve(imagePath));
  return inside.startsWith('..') || isAbsolute(inside) ? resolve(imagePath) : inside;
}

export async function writePlan(folder: string, plan: ReleasePlan): Promise<void> {
  await writeDurably(nodeDisk, join(folder, PLAN_FILE), utf8(`${JSON.stringify(plan, null, 2)}\n`), 0o644);
}

/** Faults: `path-not-found` with the command to run first, `release-plan-malformed`. */
export async function readPlan(folder: string): Promise<ReleasePlan> {
  const path = join(folder, PLAN_FILE);
  const bytes = await readInputFile(
    path,
    PLAN_CAP_BYTES,
    'the plan of a release folder, made by `holdfast release build`',
  );
  const json = decodeJson(bytes, { capBytes: PLAN_CAP_BYTES, maxDepth: 6 });
  const parsed = json.ok ? v.safeParse(ReleasePlan, json.value) : undefined;
  if (parsed?.success && parsed.output.releasePath === releasePathOf(parsed.output)) return parsed.output;
  const detail = json.ok ? (parsed?.issues?.[0].message ?? 'releasePath does not fit the rest') : json.detail;
  throw new Fault({
    code: 'release-plan-malformed',
    what: `this is not a release plan (${detail})`,
    where: path,
    cure: 'Build the release again with `holdfast release build`.',
    exitStatus: EXIT.input,
  });
}
