/**
 * Images into the inactive slot, block by block, and the read-back.
 *
 * Invariants: a block is verified against the signed block map before it is written; the journal's position moves only
 * past blocks that are synced; the read-back reads every byte of every image, whatever the journal says.
 * May not: open the booted slot for writing (storage/slot-image.ts guards it).
 */

import type { DiskFile } from '../platform/disk.ts';
import { type BlockMap, blockSizeBytes, verifyBlock } from '../trust/blocks.ts';
import { equalBytes, hex } from '../trust/bytes.ts';
import { SHA256_BYTES, Sha256, sha256 } from '../trust/crypto.ts';
import { accept, type Refusal, refuse, type Verdict } from '../trust/refusal.ts';
import type { ReleaseImage } from '../trust/release.ts';
import type { EnginePorts, Slot } from './core/ports.ts';
import { blockMapOf, imageSourcePath, type ObtainedRelease } from './obtain-release.ts';
import type { FilledImage } from './storage/journal.ts';
import { openForReading, openForWriting } from './storage/slot-image.ts';

/** Data is synced, and the position journaled, once in so many blocks: a cut costs at most that much re-reading. */
const BLOCKS_PER_SYNC = 16;

export interface FillFacts {
  readonly ports: Pick<EnginePorts, 'disk' | 'board' | 'source'>;
  readonly obtained: ObtainedRelease;
  readonly target: Slot;
  /** From the journal: blocks that are right and synced. */
  readonly filled: readonly FilledImage[];
  /** Blocks so far are synced: journal them. Bytes count over all images. */
  readonly onSynced: (filled: FilledImage[], doneBytes: number, totalBytes: number) => Promise<void>;
  /** Asked between blocks: stop, the server wants something else. */
  readonly interrupted: () => boolean;
}

/** Writes what is not right yet. `false`: interrupted. Throws SourceUnreachable and disk errors. */
export async function fillSlot(facts: FillFacts): Promise<Verdict<boolean>> {
  const images = facts.obtained.release.images;
  const totalBytes = images.reduce((sum, image) => sum + image.sizeBytes, 0);
  let before = 0;
  const done: FilledImage[] = [];
  for (const image of images) {
    const map = blockMapOf(facts.obtained, image);
    const report = (blocks: number) => {
      const filled = [...done, { component: image.component, sha256: image.sha256, blocks }];
      return facts.onSynced(filled, before + Math.min(blocks * map.blockBytes, image.sizeBytes), totalBytes);
    };
    const verdict = await fillImage(facts, image, map, report);
    if (!verdict.ok || !verdict.value) return verdict;
    done.push({ component: image.component, sha256: image.sha256, blocks: map.count });
    before += image.sizeBytes;
  }
  return accept(true);
}

async function fillImage(
  facts: FillFacts,
  image: ReleaseImage,
  map: BlockMap,
  onSynced: (blocks: number) => Promise<void>,
): Promise<Verdict<boolean>> {
  const path = imageSourcePath(facts.obtained, image);
  if (!path.ok) return path;
  const known = facts.filled.find((one) => one.component === image.component && one.sha256 === image.sha256);
  const file = await openForWriting(facts.ports, facts.target, image.component);
  try {
    const first = Math.min(known?.blocks ?? 0, map.count);
    const verdict = await fillBlocks(facts, { file, map, path: path.value, first, onSynced });
    if (!verdict.ok || !verdict.value) return verdict;
    if ((await file.sizeBytes()) > image.sizeBytes) await file.truncate(image.sizeBytes);
    await file.sync();
    await onSynced(map.count);
    return verdict;
  } finally {
    await file.close();
  }
}

interface BlockRun {
  readonly file: DiskFile;
  readonly map: BlockMap;
  readonly path: string;
  readonly first: number;
  readonly onSynced: (blocks: number) => Promise<void>;
}

async function fillBlocks(facts: FillFacts, run: BlockRun): Promise<Verdict<boolean>> {
  const { file, map } = run;
  // The next block is on its way while this one is written.
  let ahead = run.first < map.count ? blockToWrite(facts, run, run.first) : undefined;
  for (let index = run.first; ahead !== undefined; index += 1) {
    const block: Verdict<Uint8Array | 'right'> = await ahead;
    if (!block.ok) return block;
    ahead = index + 1 < map.count && !facts.interrupted() ? blockToWrite(facts, run, index + 1) : undefined;
    // Awaited in the next turn; a failure meanwhile must not count as unhandled.
    ahead?.catch(() => {});
    if (block.value !== 'right') await file.write(block.value, index * map.blockBytes);
    if (index + 1 < map.count && (index + 1 - run.first) % BLOCKS_PER_SYNC === 0) {
      await file.sync();
      await run.onSynced(index + 1);
    }
    if (ahead === undefined && index + 1 < map.count) return accept(false);
  }
  return accept(true);
}

/** The verified bytes of one block, or `right` when the slot holds them already. A block of zeros needs no source. */
async function blockToWrite(facts: FillFacts, run: BlockRun, index: number): Promise<Verdict<Uint8Array | 'right'>> {
  const { file, map } = run;
  const sizeBytes = blockSizeBytes(map, index);
  const there = await file.read(sizeBytes, index * map.blockBytes);
  if (there.length === sizeBytes && verifyBlock(map, index, there).ok) return accept('right');
  if (isZeroBlock(map, index, sizeBytes)) return verifyBlock(map, index, new Uint8Array(sizeBytes));
  const fetched = await facts.ports.source.fetchRange(run.path, index * map.blockBytes, sizeBytes);
  return fetched.ok ? verifyBlock(map, index, fetched.value) : fetched;
}

const zeroDigests = new Map<number, Uint8Array>();

/** Judged by the digest alone, so that a block that is not of zeros costs no hashing here. */
function isZeroBlock(map: BlockMap, index: number, sizeBytes: number): boolean {
  const known = zeroDigests.get(sizeBytes) ?? sha256(new Uint8Array(sizeBytes));
  if (zeroDigests.size < 16) zeroDigests.set(sizeBytes, known);
  return equalBytes(map.digests.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES), known);
}

/** What the read-back found. */
export type ReadBack =
  | { readonly found: 'equal' }
  /** The blocks are those of the block map, and the whole is not what the manifest signs. */
  | { readonly found: 'refused'; readonly refusal: Refusal }
  /** The slot gives back other bytes than were written. */
  | { readonly found: 'disk-altered'; readonly detail: string };

/** Reads every image of the slot, whole, and compares with the digest in the SUIT manifest. */
export async function readBack(
  ports: Pick<EnginePorts, 'disk' | 'board'>,
  obtained: ObtainedRelease,
  target: Slot,
): Promise<ReadBack> {
  for (const image of obtained.release.images) {
    const result = await readBackImage(ports, obtained, image, target);
    if (result.found !== 'equal') return result;
  }
  return { found: 'equal' };
}

async function readBackImage(
  ports: Pick<EnginePorts, 'disk' | 'board'>,
  obtained: ObtainedRelease,
  image: ReleaseImage,
  target: Slot,
): Promise<ReadBack> {
  const map = blockMapOf(obtained, image);
  const file = await openForReading(ports, target, image.component);
  if (file === undefined) return { found: 'disk-altered', detail: `${image.component}: the image is gone` };
  try {
    const whole = new Sha256();
    for (let index = 0; index < map.count; index += 1) whole.update(await readBlock(file, map, index));
    const found = hex(whole.digest());
    if (found === image.sha256) return { found: 'equal' };
    // Whose fault is it? Blocks that differ from the block map are the disk's; else map and manifest disagree.
    for (let index = 0; index < map.count; index += 1) {
      if (verifyBlock(map, index, await readBlock(file, map, index)).ok) continue;
      return { found: 'disk-altered', detail: `${image.component}: block ${index} reads back differently` };
    }
    const detail = `${image.component}: signed ${image.sha256}, read back ${found}`;
    return { found: 'refused', refusal: refuse('image-digest-mismatch', detail) };
  } finally {
    await file.close();
  }
}

function readBlock(file: DiskFile, map: BlockMap, index: number): Promise<Uint8Array> {
  return file.read(blockSizeBytes(map, index), index * map.blockBytes);
}
