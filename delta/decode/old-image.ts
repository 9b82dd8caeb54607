/**
 * The old slot, read in aligned chunks, a few of which are kept: recipes jump, but rarely far.
 *
 * Invariants: reads only; every read is of one chunk at a multiple of its size, so that a reader with O_DIRECT serves.
 */

export const OLD_CHUNK_BYTES = 64 * 1024;
/** 4 MiB: more than the sources of a 1 MiB block mostly are. */
const CHUNKS_KEPT = 64;

/** Fits platform/disk.ts's DiskFile. The bytes returned must stay as they are until the next read at least. */
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

  /** Copies `into.length` bytes from `position`. Throws OldSlotUnreadable. */
  async copy(into: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const from = position + done;
      const number = Math.floor(from / OLD_CHUNK_BYTES);
      // Only a miss waits: most operations are served without a turn of the event loop.
      const chunk = this.#kept(number) ?? (await this.#load(number));
      const start = from - number * OLD_CHUNK_BYTES;
      const piece = chunk.subarray(start, start + into.length - done);
      if (piece.length === 0) throw new OldSlotUnreadable(`the old image ends before ${from}`);
      into.set(piece, done);
      done += piece.length;
    }
  }

  #kept(number: number): Uint8Array | undefined {
    const chunk = this.#chunks.get(number);
    if (chunk === undefined) return undefined;
    this.#chunks.delete(number);
    this.#chunks.set(number, chunk);
    return chunk;
  }

  async #load(number: number): Promise<Uint8Array> {
    let chunk: Uint8Array;
    try {
      chunk = (await this.#reader.read(OLD_CHUNK_BYTES, number * OLD_CHUNK_BYTES)).slice();
    } catch (cause) {
      throw new OldSlotUnreadable(`the old image cannot be read at ${number * OLD_CHUNK_BYTES}`, { cause });
    }
    if (this.#chunks.size >= CHUNKS_KEPT) {
      const [oldest] = this.#chunks.keys();
      if (oldest !== undefined) this.#chunks.delete(oldest);
    }
    this.#chunks.set(number, chunk);
    return chunk;
  }
}
