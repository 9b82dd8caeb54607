/**
 * The disk as a port. Everything that must survive a power cut goes through it, so that the same code runs on a real
 * disk and on the simulated one in test/sim, which drops what was not synced.
 *
 * Durability contract, the one POSIX gives: written bytes survive once `DiskFile.sync` returned; a name (created,
 * renamed or removed) survives once `syncDirectory` of its folder returned. Nothing else is promised.
 */
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { systemErrorCode } from './fault.ts';

export interface DiskFile {
  /** Reads up to `length` bytes at `position`; fewer only at the end of the file. */
  read(length: number, position: number): Promise<Uint8Array>;
  /** Writes all of `bytes` at `position`, or throws. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  truncate(lengthBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  /** fsync: data and size are on the medium once this returns. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export type OpenMode =
  /** Must exist; reading only. */
  | 'read'
  /** Must exist; reading and writing in place. */
  | 'update'
  /** Created or emptied; reading and writing. */
  | 'create';

export interface Disk {
  /** `permissions` apply when the file is created (default 0o600). Throws ENOENT where the mode wants a file. */
  open(path: string, mode: OpenMode, permissions?: number): Promise<DiskFile>;
  /** The whole file, or undefined when there is none. `capBytes` is checked before anything is allocated. */
  readFile(path: string, capBytes: number): Promise<Uint8Array | undefined>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; no error when there is none. */
  remove(path: string): Promise<void>;
  /** Makes a folder and those above it (default 0o700); no error when it is there. */
  makeDirectory(path: string, permissions?: number): Promise<void>;
  /** Names in a folder, sorted; empty when there is none. */
  list(path: string): Promise<string[]>;
  /** fsync of the folder: names made, renamed or removed in it are on the medium once this returns. */
  syncDirectory(path: string): Promise<void>;
}

class NodeDiskFile implements DiskFile {
  readonly #handle: fs.FileHandle;

  constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  async read(length: number, position: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled === length ? buffer : buffer.subarray(0, filled);
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    let written = 0;
    while (written < bytes.length) {
      const { bytesWritten } = await this.#handle.write(bytes, written, bytes.length - written, position + written);
      written += bytesWritten;
    }
  }

  truncate(lengthBytes: number): Promise<void> {
    return this.#handle.truncate(lengthBytes);
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  sync(): Promise<void> {
    return this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

const OPEN_FLAGS: Record<OpenMode, number> = {
  read: constants.O_RDONLY,
  update: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};

/** The machine's own disk. */
export const nodeDisk: Disk = {
  async open(path, mode, permissions = 0o600) {
    return new NodeDiskFile(await fs.open(path, OPEN_FLAGS[mode], permissions));
  },

  async readFile(path, capBytes) {
    let handle: fs.FileHandle;
    try {
      handle = await fs.open(path, constants.O_RDONLY);
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
    const file = new NodeDiskFile(handle);
    try {
      const sizeBytes = await file.sizeBytes();
      if (sizeBytes > capBytes) throw new FileTooLarge(path, sizeBytes, capBytes);
      return await file.read(sizeBytes, 0);
    } finally {
      await file.close();
    }
  },

  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.rm(path, { force: true }),

  async makeDirectory(path, permissions = 0o700) {
    await fs.mkdir(path, { recursive: true, mode: permissions });
  },

  async list(path) {
    try {
      return (await fs.readdir(path)).sort();
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return [];
      throw error;
    }
  },

  async syncDirectory(path) {
    const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/** A file is larger than its reader allows; nothing was read of it. */
export class FileTooLarge extends Error {
  override readonly name = 'FileTooLarge';
  readonly path: string;
  readonly sizeBytes: number;
  readonly capBytes: number;

  constructor(path: string, sizeBytes: number, capBytes: number) {
    super(`${path} has ${sizeBytes} bytes; at most ${capBytes} are read`);
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.capBytes = capBytes;
  }
}
