/**
 * The old slot, read in aligned chunks, a few of which are kept: recipes jump, but rarely far.
 *
 * Invariants: reads only; every read is of one chunk at a multiple of its size, so that a reader with O_DIRECT serves.
 */

export const OLD_CHUNK_BYTES = 64 * 1024;
/** 4 MiB: more than the sources of a 1 MiB block mostly are. */
const CHUNKS_KEPT = 64;

/** A medium may take seconds for each. */
export const UNREADABLE_AT_MOST = 4;

/** Fits platform/disk.ts's DiskFile. The bytes are copied before the next read, so that one buffer serves for all. */
export interface OldReader {
  /** Up to `length` bytes at `position`; fewer only at the end. Rejects when the slot cannot be read. */
  read(length: number, position: number): Promise<Uint8Array>;
}

export class OldSlotUnreadable extends Error {
  override readonly name = 'OldSlotUnreadable';
}

export class OldImage {
  readonly #reader: OldReader;
  /** By number, the one used longest ago first. */
  readonly #chunks = new Map<number, Uint8Array>();

  constructor(reader: OldReader) {
    this.#reader = reader;
  }

  /**
   * Copies `into.length` bytes from `position`. Throws OldSlotUnreadable when some could not be read; those around them
   * are copied all the same, unless more and more cannot.
   */
  async copy(into: Uint8Array, position: number): Promise<void> {
    const unreadable: OldSlotUnreadable[] = [];
    for (let done = 0; done < into.length; ) {
      const from = position + done;
      const number = Math.floor(from / OLD_CHUNK_BYTES);
      const start = from - number * OLD_CHUNK_BYTES;
      const sizeBytes = Math.min(OLD_CHUNK_BYTES - start, into.length - done);
      try {
        // Only a miss waits: most operations are served without a turn of the event loop.
        const chunk = this.#kept(number) ?? (await this.#load(number));
        const piece = chunk.subarray(start, start + sizeBytes);
        if (piece.length < sizeBytes) throw new OldSlotUnreadable(`the old image ends before ${from + sizeBytes}`);
        into.set(piece, done);
      } catch (error) {
        if (!(error instanceof OldSlotUnreadable)) throw error;
        unreadable.push(error);
        if (unreadable.length === UNREADABLE_AT_MOST) break;
      }
      done += sizeBytes;
    }
    if (unreadable[0] !== undefined) throw unreadable[0];
  }

  #kept(number: number): Uint8Array | undefined {
    const chunk = this.#chunks.get(number);
    if (chunk === undefined) return undefined;
    this.#chunks.delete(number);
    this.#chunks.set(number, chunk);
    return chunk;
  }

  async #load(number: number): Promise<Uint8Array> {
    // The buffer of the chunk that leaves is used again: no garbage to be collected while an image is written.
    const kept = this.#chunks.size < CHUNKS_KEPT ? new Uint8Array(OLD_CHUNK_BYTES) : this.#takeOldest();
    let read: Uint8Array;
    try {
      read = await this.#reader.read(OLD_CHUNK_BYTES, number * OLD_CHUNK_BYTES);
    } catch (cause) {
      throw new OldSlotUnreadable(`the old image cannot be read at ${number * OLD_CHUNK_BYTES}`, { cause });
    }
    kept.set(read.subarray(0, OLD_CHUNK_BYTES));
    const chunk = read.length < OLD_CHUNK_BYTES ? kept.slice(0, read.length) : kept;
    this.#chunks.set(number, chunk);
    return chunk;
  }

  #takeOldest(): Uint8Array {
    for (const [number, chunk] of this.#chunks) {
      this.#chunks.delete(number);
      return chunk.length === OLD_CHUNK_BYTES ? chunk : new Uint8Array(OLD_CHUNK_BYTES);
    }
    return new Uint8Array(OLD_CHUNK_BYTES);
  }
}
