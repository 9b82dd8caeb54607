/**
 * The memory that images pass through: one block for each that may be in flight, made once, used for every block of
 * every image, whatever their size.
 *
 * What arrived of a block whose transfer was cut off stays here, under the name of its source, so that the next try
 * goes on where this one broke. Nothing here is trusted: a block is verified whole before it is written.
 */
import { alignedMemory } from '../platform/aligned-memory.ts';
import { BLOCK_BYTES } from '../trust/blocks.ts';
import type { RangeMemory } from './core/ports.ts';

/** Fetching, hashing and writing overlap; more than these gain nothing (docs/BENCHMARKS.md). */
export const BLOCKS_IN_FLIGHT = 4;

export class BlockMemory {
  /** Room for one block, on a page boundary. */
  readonly bytes: Uint8Array;
  #part: { readonly path: string; readonly index: number; receivedBytes: number } | undefined;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Which block of the image at `path` lies here in part; undefined for none of it. */
  partOf(path: string): number | undefined {
    return this.#part?.path === path && this.#part.receivedBytes > 0 ? this.#part.index : undefined;
  }

  /** Of the block that lies here in part, or whole. */
  get receivedBytes(): number {
    return this.#part?.receivedBytes ?? 0;
  }

  /** Fetches what is missing of a block of `sizeBytes`, and keeps what came when `fetch` throws. */
  async receive<T>(
    path: string,
    index: number,
    sizeBytes: number,
    fetch: (fromByte: number, into: RangeMemory) => Promise<T>,
  ): Promise<T> {
    const fromByte = this.partOf(path) === index ? (this.#part?.receivedBytes ?? 0) : 0;
    const part = { path, index, receivedBytes: fromByte };
    this.#part = part;
    const into: RangeMemory = { bytes: this.bytes.subarray(fromByte, sizeBytes), received: 0 };
    try {
      return await fetch(fromByte, into);
    } finally {
      part.receivedBytes = Math.min(fromByte + into.received, sizeBytes);
    }
  }

  /** What lies here is no part of a block to come. */
  forget(): void {
    this.#part = undefined;
  }
}

/** All of one installation's. One installation has them at a time; a second one gets memory of its own. */
export class InstallMemory {
  static #unused: InstallMemory | undefined;
  readonly blocks: readonly BlockMemory[];

  private constructor() {
    const all = alignedMemory(BLOCKS_IN_FLIGHT * BLOCK_BYTES);
    const block = (index: number): Uint8Array => all.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
    this.blocks = Array.from({ length: BLOCKS_IN_FLIGHT }, (_, index) => new BlockMemory(block(index)));
  }

  /** Runs `work` with the memory of this process, parts of cut transfers in it. */
  static async use<T>(work: (memory: InstallMemory) => Promise<T>): Promise<T> {
    const memory = InstallMemory.#unused ?? new InstallMemory();
    InstallMemory.#unused = undefined;
    try {
      return await work(memory);
    } finally {
      InstallMemory.#unused = memory;
    }
  }

  /** Gives the memory back: the next installation begins with none, and with no part of a transfer. */
  static release(): void {
    InstallMemory.#unused = undefined;
  }
}
