/**
 * Images into the inactive slot, block by block. Fetching, hashing and writing overlap: a few lanes, each with one block
 * in its hands, take the next block when theirs is done. Which way a block comes is nothing to this file (blocks/).
 *
 * Invariants: a block is verified against the signed block map before it is written (the type says so); the journal's position moves only
 * past blocks that are all synced; memory is that of the lanes (block-memory.ts), whatever the image's size.
 * May not: open the booted slot for writing (storage/slot-image.ts guards it).
 */
import { systemErrorCode } from '../platform/fault.ts';
import { type BlockMap, blockSizeBytes, verifyBlock } from '../trust/blocks.ts';
import { equalBytes, type Verified } from '../trust/bytes.ts';
import { SHA256_BYTES, sha256 } from '../trust/crypto.ts';
import { accept, type Refusal, type Verdict } from '../trust/refusal.ts';
import type { ReleaseImage } from '../trust/release.ts';
import { type BlockMemory, InstallMemory } from './block-memory.ts';
import type { ReleaseFetch } from './blocks/release-fetch.ts';
import type { WantedBlock } from './blocks/way.ts';
import { type EnginePorts, type Slot, SourceUnreachable } from './core/ports.ts';
import { blockMapOf, imageSourcePath } from './obtain-release.ts';
import type { FilledImage } from './storage/journal.ts';
import type { SlotFile } from './storage/slot-file.ts';
import { openForWriting } from './storage/slot-image.ts';

/** Data is synced, and the position journaled, once in so many blocks: a cut costs at most that much re-reading. */
const BLOCKS_PER_SYNC = 16;
/** After so many blocks that the slot did not hold, only every eighth is looked at: a rebuilt image shares none. */
const MISSES_BEFORE_SPARSE = 16;
const SPARSE_STEP = 8;

export interface FillFacts {
  readonly ports: Pick<EnginePorts, 'disk' | 'board'>;
  /** Of the release that is written: where its blocks come from. */
  readonly fetch: ReleaseFetch;
  readonly target: Slot;
  /** From the journal: blocks that are right and synced. */
  readonly filled: readonly FilledImage[];
  /** Blocks so far are synced: journal them. Bytes count over all images. */
  readonly onSynced: (filled: FilledImage[], doneBytes: number, totalBytes: number) => Promise<void>;
  /** Asked between blocks: stop, the server wants something else. */
  readonly interrupted: () => boolean;
}

/** Writes what is not right yet. `false`: interrupted. Throws SourceUnreachable and disk errors. */
export function fillSlot(facts: FillFacts): Promise<Verdict<boolean>> {
  return InstallMemory.use((memory) => fillImages(facts, memory));
}

async function fillImages(facts: FillFacts, memory: InstallMemory): Promise<Verdict<boolean>> {
  const { obtained } = facts.fetch;
  const { images } = obtained.release;
  const totalBytes = images.reduce((sum, image) => sum + image.sizeBytes, 0);
  let before = 0;
  const done: FilledImage[] = [];
  for (const image of images) {
    const map = blockMapOf(obtained, image);
    const report = (blocks: number) => {
      const filled = [...done, { component: image.component, sha256: image.sha256, blocks }];
      return facts.onSynced(filled, before + Math.min(blocks * map.blockBytes, image.sizeBytes), totalBytes);
    };
    const verdict = await fillImage(facts, memory, image, report);
    if (!verdict.ok || !verdict.value) return verdict;
    done.push({ component: image.component, sha256: image.sha256, blocks: map.count });
    before += image.sizeBytes;
  }
  return accept(true);
}

async function fillImage(
  facts: FillFacts,
  memory: InstallMemory,
  image: ReleaseImage,
  onSynced: (blocks: number) => Promise<void>,
): Promise<Verdict<boolean>> {
  const path = imageSourcePath(facts.fetch.obtained, image);
  if (!path.ok) return path;
  const chain = await facts.fetch.chainOf(image);
  if (!chain.ok) return chain;
  const map = blockMapOf(facts.fetch.obtained, image);
  const obtain = (wanted: WantedBlock) => chain.value.obtain(wanted);
  const known = facts.filled.find((one) => one.component === image.component && one.sha256 === image.sha256);
  const file = await openForWriting(facts.ports, facts.target, image.component);
  try {
    const run = new ImageRun(facts, memory, { file, map, path: path.value, obtain, onSynced }, known?.blocks ?? 0);
    const verdict = await run.fill();
    if (!verdict.ok || !verdict.value) return verdict;
    if ((await file.sizeBytes()) > image.sizeBytes) await file.truncate(image.sizeBytes);
    await file.sync();
    await onSynced(map.count);
    return verdict;
  } finally {
    await file.close();
  }
}

interface ImageFacts {
  readonly file: SlotFile;
  readonly map: BlockMap;
  /** Where the source keeps the image: the name of what lies of it in memory. */
  readonly path: string;
  /** By whatever way; what it gives is verified. */
  readonly obtain: (wanted: WantedBlock) => Promise<Verdict<Verified<Uint8Array>>>;
  readonly onSynced: (blocks: number) => Promise<void>;
}

class ImageRun {
  readonly #facts: FillFacts;
  readonly #memory: InstallMemory;
  readonly #image: ImageFacts;
  /** The next block that nobody has taken. */
  #next: number;
  /** Every block before this one is in the slot. */
  #done: number;
  readonly #doneAhead = new Set<number>();
  /** Blocks that lie in memory in part: whoever holds that memory takes them. */
  readonly #begun: ReadonlySet<number>;
  #journaled: number;
  #journaling: Promise<void> | undefined;
  #misses = 0;
  #refusal: Refusal | undefined;
  #failure: { readonly error: unknown } | undefined;
  #interrupted = false;

  constructor(facts: FillFacts, memory: InstallMemory, image: ImageFacts, filledBlocks: number) {
    this.#facts = facts;
    this.#memory = memory;
    this.#image = image;
    this.#next = Math.min(filledBlocks, image.map.count);
    this.#done = this.#next;
    this.#journaled = this.#next;
    this.#begun = new Set(memory.blocks.flatMap((block) => this.#begunIn(block) ?? []));
  }

  async fill(): Promise<Verdict<boolean>> {
    // No lane throws: the first trouble is kept, and the others put down what they hold before it is told.
    await Promise.all(this.#memory.blocks.map((memory) => this.#lane(memory)));
    await this.#journaling;
    if (this.#failure !== undefined) {
      if (this.#failure.error instanceof SourceUnreachable) await this.#journal();
      throw this.#failure.error;
    }
    if (this.#refusal !== undefined) return this.#refusal;
    if (this.#interrupted) await this.#journal();
    return accept(!this.#interrupted);
  }

  async #lane(memory: BlockMemory): Promise<void> {
    let index = this.#begunIn(memory) ?? this.#takeNext();
    while (index !== undefined) {
      try {
        const verdict = await this.#fillBlock(index, memory);
        if (verdict.ok) await this.#settle(index);
        else this.#refusal ??= verdict;
      } catch (error) {
        this.#failure ??= { error };
      }
      index = this.#takeNext();
    }
  }

  /** The block of which a part lies there since a transfer was cut off. */
  #begunIn(memory: BlockMemory): number | undefined {
    const index = memory.partOf(this.#image.path);
    return index !== undefined && index >= this.#done && index < this.#image.map.count ? index : undefined;
  }

  #takeNext(): number | undefined {
    while (this.#begun.has(this.#next)) this.#next += 1;
    if (!this.#mayGoOn()) return undefined;
    this.#next += 1;
    return this.#next - 1;
  }

  #mayGoOn(): boolean {
    if (this.#next >= this.#image.map.count || this.#refusal !== undefined || this.#failure !== undefined) return false;
    // Not before the first block of this run: each time something is done.
    if (this.#next > this.#journaled && this.#facts.interrupted()) this.#interrupted = true;
    return !this.#interrupted;
  }

  async #fillBlock(index: number, memory: BlockMemory): Promise<Verdict<true>> {
    const { file, map } = this.#image;
    const sizeBytes = blockSizeBytes(map, index);
    const position = index * map.blockBytes;
    const begun = memory.partOf(this.#image.path) === index;
    if (!begun && (await this.#isThere(index, memory))) return accept(true);
    if (isZeroBlock(map, index, sizeBytes)) {
      memory.forget();
      await file.write(memory.bytes.subarray(0, sizeBytes).fill(0), position);
      return accept(true);
    }
    const block = await this.#image.obtain({ index, memory, wantedBefore: this.#nextLookAt(index) });
    if (!block.ok) return block;
    await file.write(block.value, position);
    return accept(true);
  }

  /** Blocks from `index` up to here are not looked for in the slot: they will all be wanted. */
  #nextLookAt(index: number): number {
    const next = this.#misses < MISSES_BEFORE_SPARSE ? index + 1 : (Math.floor(index / SPARSE_STEP) + 1) * SPARSE_STEP;
    return Math.min(next, this.#image.map.count);
  }

  /** What the slot holds already is not fetched. */
  async #isThere(index: number, memory: BlockMemory): Promise<boolean> {
    const { file, map } = this.#image;
    if (this.#misses >= MISSES_BEFORE_SPARSE && index % SPARSE_STEP !== 0) return false;
    memory.forget();
    const there = memory.bytes.subarray(0, blockSizeBytes(map, index));
    // A block that cannot be read is none: writing it is what cures it.
    const found = await file.readInto(there, index * map.blockBytes).catch(noneIfUnreadable);
    const right = found === there.length && verifyBlock(map, index, there).ok;
    this.#misses = right ? 0 : this.#misses + 1;
    return right;
  }

  async #settle(index: number): Promise<void> {
    this.#doneAhead.add(index);
    while (this.#doneAhead.delete(this.#done)) this.#done += 1;
    if (this.#done - this.#journaled < BLOCKS_PER_SYNC || this.#done >= this.#image.map.count) return;
    // The other lanes go on meanwhile; one at a time journals.
    this.#journaling ??= this.#journal().finally(() => {
      this.#journaling = undefined;
    });
    await this.#journaling;
  }

  async #journal(): Promise<void> {
    const blocks = this.#done;
    if (blocks <= this.#journaled) return;
    await this.#image.file.sync();
    await this.#image.onSynced(blocks);
    this.#journaled = blocks;
  }
}

function noneIfUnreadable(error: unknown): number {
  if (systemErrorCode(error) === 'EIO') return 0;
  throw error;
}

const zeroDigests = new Map<number, Uint8Array>();

/** Judged by the digest alone, so that a block that is not of zeros costs no hashing here. */
function isZeroBlock(map: BlockMap, index: number, sizeBytes: number): boolean {
  const known = zeroDigests.get(sizeBytes) ?? sha256(new Uint8Array(sizeBytes));
  if (zeroDigests.size < 16) zeroDigests.set(sizeBytes, known);
  return equalBytes(map.digests.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES), known);
}
