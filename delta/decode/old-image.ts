/**
 * The old slot, read in aligned chunks, the last of which are kept: recipes jump, but rarely far. What is long is read
 * long, and not kept.
 *
 * Invariants: reads only; every read is of whole chunks at a multiple of their size, so that a reader with O_DIRECT
 * serves; the memory is taken once.
 */

export const OLD_CHUNK_BYTES = 64 * 1024;
/** 2 MiB: more than the sources of a 1 MiB block mostly are. */
const CHUNKS_KEPT = 32;

/** A medium may take seconds for each. */
export const UNREADABLE_AT_MOST = 4;

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

  /** Copies `into.length` bytes from `position`. Rejects as `copyTo`. */
  async copy(into: Uint8Array, position: number): Promise<void> {
    await this.copyTo(into, 0, into.length, position);
  }

  /**
   * Copies `length` bytes from `position` to `to` of `into`. Undefined when that is done, which is mostly so: only what
   * is not kept waits. Rejects with OldSlotUnreadable when some could not be read; those around them are copied all the
   * same, unless more and more cannot.
   */
  copyTo(into: Uint8Array, to: number, length: number, position: number): Promise<void> | undefined {
    const done = this.#copyKept(into, to, length, position);
    return done === length ? undefined : this.#copyRest(into, to + done, length - done, position + done);
  }

  /** How many of the bytes are kept, from the first on; they are copied. */
  #copyKept(into: Uint8Array, to: number, length: number, position: number): number {
    let done = 0;
    while (done < length) {
      const number = Math.floor((position + done) / OLD_CHUNK_BYTES);
      const place = number % CHUNKS_KEPT;
      const within = position + done - number * OLD_CHUNK_BYTES;
      const taken = Math.min(length - done, OLD_CHUNK_BYTES - within);
      if (this.#numbers[place] !== number || within + taken > (this.#lengths[place] ?? 0)) break;
      const start = place * OLD_CHUNK_BYTES + within;
      this.#memory.copy(into, to + done, start, start + taken);
      done += taken;
    }
    return done;
  }

  async #copyRest(into: Uint8Array, to: number, length: number, position: number): Promise<void> {
    const unreadable: OldSlotUnreadable[] = [];
    for (let done = 0; done < length && unreadable.length < UNREADABLE_AT_MOST; ) {
      done += this.#copyKept(into, to + done, length - done, position + done);
      const from = position + done;
      const start = from - (from % OLD_CHUNK_BYTES);
      const end = Math.min(position + length, start + OLD_CHUNK_BYTES);
      const long = unreadable.length > 0 ? 0 : this.#longRead(length - done);
      if (done === length) break;
      try {
        if (long > OLD_CHUNK_BYTES)
          done += await this.#copyLong(into.subarray(to + done, to + length), from, start, long);
        else await this.#keep(start, end);
      } catch (error) {
        if (!(error instanceof OldSlotUnreadable)) throw error;
        unreadable.push(error);
        // What was read at once is tried chunk by chunk.
        if (long <= OLD_CHUNK_BYTES) done = end - position;
      }
    }
    if (unreadable[0] !== undefined) throw unreadable[0];
  }

  #longRead(length: number): number {
    const atMost = Math.min(length, this.#reader.atMostBytes ?? OLD_CHUNK_BYTES);
    return atMost - (atMost % OLD_CHUNK_BYTES);
  }

  async #copyLong(into: Uint8Array, from: number, start: number, length: number): Promise<number> {
    const bytes = (await this.#read(length, start)).subarray(from - start, from - start + into.length);
    if (bytes.length === 0) throw new OldSlotUnreadable(`the old image ends before ${from}`);
    into.set(bytes);
    return bytes.length;
  }

  /** Reads the chunk at `start`, which must reach to `end`. */
  async #keep(start: number, end: number): Promise<void> {
    const number = start / OLD_CHUNK_BYTES;
    const place = number % CHUNKS_KEPT;
    const bytes = await this.#read(OLD_CHUNK_BYTES, start);
    this.#memory.set(bytes, place * OLD_CHUNK_BYTES);
    this.#numbers[place] = number;
    this.#lengths[place] = bytes.length;
    if (start + bytes.length < end) throw new OldSlotUnreadable(`the old image ends before ${end}`);
  }

  async #read(length: number, position: number): Promise<Uint8Array> {
    try {
      return (await this.#reader.read(length, position)).subarray(0, length);
    } catch (cause) {
      throw new OldSlotUnreadable(`the old image cannot be read at ${position}`, { cause });
    }
  }
}
