/**
 * The forms of images on disk, beside the artifacts: flat, named by what they are made from (core/transport-plan.ts), so
 * that any web server can serve them. A name stands only for bytes that are whole and synced; what a worker writes lies in
 * `parts/` until then, and the next start empties that.
 *
 * Nothing here is trusted or irreplaceable: every file can be made again from the artifacts.
 */
import { randomBytes } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { open as openFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import { formName, formOfName, type TransportForm } from '../core/transport-plan.ts';

const READ_PIECE_BYTES = 256 * 1024;

export interface StoredForm {
  readonly form: TransportForm;
  readonly sizeBytes: number;
  /** Higher: opened later. 0: not since the start. */
  readonly lastUse: number;
}

/** An open file: what happens to its name meanwhile does not matter to who reads it. */
export interface OpenForm {
  readonly sizeBytes: number;
  /** Tells one making of the form from the next. */
  readonly etag: string;
  /** Bytes `first` to `last`, both inclusive; closes the file at its end. To be called once, or `close`. */
  read(first: number, last: number): Readable;
  close(): Promise<void>;
}

export class TransportFolder {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #stored = new Map<string, StoredForm>();
  #uses = 0;

  private constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Opens the folder, makes it when it is not there, and removes what cut work left. Other files are left alone. */
  static async open(disk: Disk, directory: string): Promise<TransportFolder> {
    const folder = new TransportFolder(disk, directory);
    await makeDirectoryDurably(disk, directory);
    await makeDirectoryDurably(disk, join(directory, 'parts'));
    await folder.clearParts();
    for (const name of await disk.list(directory)) {
      const form = formOfName(name);
      if (form === undefined) continue;
      const { size } = await stat(join(directory, name));
      folder.#stored.set(name, { form, sizeBytes: size, lastUse: 0 });
    }
    return folder;
  }

  find(form: TransportForm): StoredForm | undefined {
    return this.#stored.get(formName(form));
  }

  list(): readonly StoredForm[] {
    return [...this.#stored.values()];
  }

  get totalBytes(): number {
    return this.list().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** Undefined when it is not there. */
  async open(form: TransportForm): Promise<OpenForm | undefined> {
    const name = formName(form);
    const stored = this.#stored.get(name);
    if (stored === undefined) return undefined;
    let handle: FileHandle;
    try {
      handle = await openFile(join(this.#directory, name), 'r');
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
      // Somebody removed it by hand: it is made again.
      this.#stored.delete(name);
      return undefined;
    }
    const { size, mtimeMs } = await handle.stat();
    this.#uses += 1;
    this.#stored.set(name, { ...stored, lastUse: this.#uses });
    return {
      sizeBytes: size,
      etag: `"${name}-${size.toString(36)}-${Math.floor(mtimeMs).toString(36)}"`,
      read: (first, last) => handle.createReadStream({ start: first, end: last, highWaterMark: READ_PIECE_BYTES }),
      close: () => handle.close(),
    };
  }

  /** Where the next work may write: this path, and names that begin with it. */
  newPart(): string {
    // Never used twice: a worker that outlived a killed server may still write to its own.
    return join(this.#directory, 'parts', randomBytes(8).toString('hex'));
  }

  /** A finished part becomes the form; durable once it returns. Returns its size. */
  async take(part: string, form: TransportForm): Promise<number> {
    const name = formName(form);
    const file = await this.#disk.open(part, 'update');
    let sizeBytes: number;
    try {
      sizeBytes = await file.sizeBytes();
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(part, join(this.#directory, name));
    await this.#disk.syncDirectory(this.#directory);
    this.#stored.set(name, { form, sizeBytes, lastUse: 0 });
    return sizeBytes;
  }

  /** Of all work that has ended, in whatever way. */
  async clearParts(): Promise<void> {
    const parts = join(this.#directory, 'parts');
    for (const name of await this.#disk.list(parts)) await this.#disk.remove(join(parts, name));
  }

  /** Not durable, and need not be: what comes back after a power cut is removed again. */
  async remove(form: TransportForm): Promise<void> {
    const name = formName(form);
    this.#stored.delete(name);
    await this.#disk.remove(join(this.#directory, name));
  }
}
