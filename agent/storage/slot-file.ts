/**
 * One image of a slot, read and written past the page cache where the file system does that: writing is then as fast as
 * the medium, and what is read back comes from it.
 *
 * Invariants: what a direct transfer cannot move (the last bytes of an image that is no multiple of 4096) goes through
 * the cache, and after it `sync` is what makes it durable, as everything. A file system that refuses (EINVAL), at the
 * opening or at the first transfer, is asked no more: everything goes through the cache from there on.
 */
import { DIRECT_ALIGNMENT_BYTES } from '../../platform/aligned-memory.ts';
import type { Disk, DiskFile } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';

export class SlotFile {
  readonly #cached: DiskFile;
  #direct: DiskFile | undefined;

  private constructor(cached: DiskFile, direct: DiskFile | undefined) {
    this.#cached = cached;
    this.#direct = direct;
  }

  /** Must exist (ENOENT). */
  static async open(disk: Disk, path: string, mode: 'read' | 'update'): Promise<SlotFile> {
    const cached = await disk.open(path, mode);
    try {
      return new SlotFile(cached, await disk.open(path, `${mode}-direct`).catch(undefinedIfRefused));
    } catch (error) {
      await cached.close();
      throw error;
    }
  }

  /** Does it go past the page cache? May turn from yes to no at a transfer. */
  get isDirect(): boolean {
    return this.#direct !== undefined;
  }

  /**
   * Fills `into` from `position`; answers how many bytes came, fewer only at the end. `into` lies in aligned memory
   * (platform/aligned-memory.ts) that goes on to the next multiple of 4096, and what lies there may be overwritten.
   */
  async readInto(into: Uint8Array, position: number): Promise<number> {
    if (this.#direct === undefined) return this.#cached.readInto(into, position);
    const units = Math.ceil(into.length / DIRECT_ALIGNMENT_BYTES) * DIRECT_ALIGNMENT_BYTES;
    const whole = new Uint8Array(into.buffer, into.byteOffset, units);
    const found = await this.#direct.readInto(whole, position).catch(undefinedIfRefused);
    if (found !== undefined) return Math.min(found, into.length);
    await this.#giveUpDirect();
    return this.#cached.readInto(into, position);
  }

  /** Writes all of `bytes`, which lie in aligned memory, at a position that is a multiple of 4096. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    const units = this.#direct === undefined ? 0 : bytes.length - (bytes.length % DIRECT_ALIGNMENT_BYTES);
    if (units > 0 && this.#direct !== undefined) {
      try {
        await this.#direct.write(bytes.subarray(0, units), position);
      } catch (error) {
        undefinedIfRefused(error);
        await this.#giveUpDirect();
        await this.#cached.write(bytes.subarray(0, units), position);
      }
    }
    if (units < bytes.length) await this.#cached.write(bytes.subarray(units), position + units);
  }

  truncate(lengthBytes: number): Promise<void> {
    return this.#cached.truncate(lengthBytes);
  }

  sizeBytes(): Promise<number> {
    return this.#cached.sizeBytes();
  }

  /** Also for what was written directly: a disk has a cache of its own, and a file its size. */
  sync(): Promise<void> {
    return this.#cached.sync();
  }

  async close(): Promise<void> {
    await this.#giveUpDirect();
    await this.#cached.close();
  }

  async #giveUpDirect(): Promise<void> {
    const direct = this.#direct;
    this.#direct = undefined;
    await direct?.close();
  }
}

function undefinedIfRefused(error: unknown): undefined {
  if (systemErrorCode(error) !== 'EINVAL') throw error;
}
