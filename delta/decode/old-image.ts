/**
 * The old slot, read in aligned chunks, the last of which are kept: recipes jump, but rarely far. What is long is read
 * long, and not kept.
 *
 * Invariants: reads only; every read is of whole chunks at a multiple of their size, so that a reader with O_DIRECT
 * serves; the memory is taken once.
 */

export const OLD_CHUNK_BYTES = 64 * 1024;
/** 4 MiB: more than the sources of a 1 MiB block mostly are. */
const CHUNKS_KEPT = 64;

/** Fits platform/disk.ts's DiskFile. The bytes are copied before the next read, so that one buffer serves for all. */
export interface OldReader {
  /** How much can be read at a time, in bytes: a multiple of 64 KiB, which it is unless told. */
  readonly atMostBytes?: number;
  /** Up to `length` bytes at `position`; fewer only at the end. Rejects when the slot cannot be read. */
  read(length: number, position: number): Promise<Uint8Array>;
}

export class OldSlotUnreadable extends Error {
  override readonly name = 'OldSlotUnreadable';
}

export class OldImage {
  readonly #reader: OldReader;
  readonly #memory = Buffer.allocUnsafeSlow(CHUNKS_KEPT * OLD_CHUNK_BYTES);
  /** By place in memory: which chunk it holds, and how many bytes of it there are. A chunk has one place where it may be. */
  readonly #numbers = new Array<number>(CHUNKS_KEPT).fill(-1);
  readonly #lengths = new Array<number>(CHUNKS_KEPT).fill(0);

  constructor(reader: OldReader) {
    this.#reader = reader;
  }

  /**
   * Copies `length` bytes from `position` to `to` of `into`. Undefined when that is done, which is mostly so: only a miss
   * waits. Rejects with OldSlotUnreadable.
   */
  copy(into: Uint8Array, to: number, length: number, position: number): Promise<void> | undefined {
    for (let done = 0; done < length; ) {
      const number = Math.floor((position + done) / OLD_CHUNK_BYTES);
      const place = number % CHUNKS_KEPT;
      if (this.#numbers[place] !== number) return this.#load(into, to + done, length - done, position + done);
      const within = position + done - number * OLD_CHUNK_BYTES;
      const taken = Math.min(length - done, (this.#lengths[place] ?? 0) - within);
      if (taken <= 0) return Promise.reject(new OldSlotUnreadable(`the old image ends before ${position + done}`));
      const start = place * OLD_CHUNK_BYTES + within;
      this.#memory.copy(into, to + done, start, start + taken);
      done += taken;
    }
    return undefined;
  }

  async #load(into: Uint8Array, to: number, length: number, position: number): Promise<void> {
    const number = Math.floor(position / OLD_CHUNK_BYTES);
    const start = number * OLD_CHUNK_BYTES;
    const long = Math.floor(Math.min(length, this.#reader.atMostBytes ?? 0) / OLD_CHUNK_BYTES) * OLD_CHUNK_BYTES;
    const bytes = await this.#read(Math.max(long, OLD_CHUNK_BYTES), start);
    if (long > OLD_CHUNK_BYTES) {
      const piece = bytes.subarray(position - start, position - start + length);
      if (piece.length === 0) throw new OldSlotUnreadable(`the old image ends before ${position}`);
      into.set(piece, to);
      return this.copy(into, to + piece.length, length - piece.length, position + piece.length);
    }
    const place = number % CHUNKS_KEPT;
    this.#memory.set(bytes, place * OLD_CHUNK_BYTES);
    this.#numbers[place] = number;
    this.#lengths[place] = bytes.length;
    return this.copy(into, to, length, position);
  }

  async #read(length: number, position: number): Promise<Uint8Array> {
    try {
      return (await this.#reader.read(length, position)).subarray(0, length);
    } catch (cause) {
      throw new OldSlotUnreadable(`the old image cannot be read at ${position}`, { cause });
    }
  }
}
