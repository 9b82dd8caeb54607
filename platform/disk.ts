/**
 * The disk as a port. Everything that must survive a power cut goes through it, so that the same code runs on a real
 * disk and on the simulated one in test/sim, which drops what was not synced.
 *
 * Durability contract, the one POSIX gives: written bytes survive once `DiskFile.sync` returned; a name (created,
 * renamed or removed) survives once `syncDirectory` of its folder returned. Nothing else is promised.
 */
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { DIRECT_ALIGNMENT_BYTES } from './aligned-memory.ts';
import { systemErrorCode } from './fault.ts';

export interface DiskFile {
  /** Reads up to `length` bytes at `position`; fewer only at the end of the file. */
  read(length: number, position: number): Promise<Uint8Array>;
  /** Fills `into` from `position` and answers how many bytes came; fewer than its length only at the end of the file. */
  readInto(into: Uint8Array, position: number): Promise<number>;
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
  | 'create'
  /**
   * As `read` and `update`, past the page cache (O_DIRECT): reads come from the medium, writes leave nothing in memory.
   * Position and length of each transfer and the address of its memory (platform/aligned-memory.ts) are multiples of
   * 4096 bytes; only the end of a file may cut a read short. EINVAL, at the opening or at the first transfer, where
   * the file system does not do this. A write is durable after `sync`, as every other.
   */
  | 'read-direct'
  | 'update-direct';

export interface Disk {
  /** `permissions` apply when the file is created (default 0o600). Throws ENOENT where the mode wants a file. */
  open(path: string, mode: OpenMode, permissions?: number): Promise<DiskFile>;
  /** The whole file, or undefined when there is none. `capBytes` is checked before anything is allocated. */
  readFile(path: string, capBytes: number): Promise<Uint8Array | undefined>;
  rename(from: string, to: string): Promise<void>;
  /** How many bytes may still be written where `path` lies. Without it, only ENOSPC tells. */
  freeBytes?(path: string): Promise<number>;
  /** Removes a file; no error when there is none. */
  remove(path: string): Promise<void>;
  /** Makes a folder and those above it (default 0o700); no error when it is there. */
  makeDirectory(path: string, permissions?: number): Promise<void>;
  /** Removes an empty folder. ENOTEMPTY when it holds something, ENOENT when there is none. */
  removeDirectory(path: string): Promise<void>;
  /** Names in a folder, sorted; empty when there is none. */
  list(path: string): Promise<string[]>;
  /** fsync of the folder: names made, renamed or removed in it are on the medium once this returns. */
  syncDirectory(path: string): Promise<void>;
}

class NodeDiskFile implements DiskFile {
  readonly #handle: fs.FileHandle;
  readonly #direct: boolean;

  constructor(handle: fs.FileHandle, direct = false) {
    this.#handle = handle;
    this.#direct = direct;
  }

  async read(length: number, position: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    const filled = await this.readInto(buffer, position);
    return filled === length ? buffer : buffer.subarray(0, filled);
  }

  async readInto(into: Uint8Array, position: number): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const { bytesRead } = await this.#handle.read(into, filled, into.length - filled, position + filled);
      filled += bytesRead;
      // A direct read that ends between two units came to the end of the file, and may not be asked to go on.
      if (bytesRead === 0 || (this.#direct && filled % DIRECT_ALIGNMENT_BYTES !== 0)) break;
    }
    return filled;
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
  'read-direct': constants.O_RDONLY | constants.O_DIRECT,
  'update-direct': constants.O_RDWR | constants.O_DIRECT,
};

/** The machine's own disk. */
export const nodeDisk: Disk = {
  async open(path, mode, permissions = 0o600) {
    const direct = mode === 'read-direct' || mode === 'update-direct';
    return new NodeDiskFile(await fs.open(path, OPEN_FLAGS[mode], permissions), direct);
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

  async freeBytes(path) {
    const { bavail, bsize } = await fs.statfs(path);
    return bavail * bsize;
  },

  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.rm(path, { force: true }),

  async makeDirectory(path, permissions = 0o700) {
    await fs.mkdir(path, { recursive: true, mode: permissions });
  },

  removeDirectory: (path) => fs.rmdir(path),

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
