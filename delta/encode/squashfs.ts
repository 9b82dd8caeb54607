/**
 * Read-only view of a squashfs 4.0 file system inside an image: where its compressed blocks are, and which files each
 * belongs to. For finding what to compare with what, and for nothing else: a wrong answer makes a delta larger, never
 * wrong. Layout: Linux kernel, Documentation/filesystems/squashfs, and fs/squashfs/squashfs_fs.h.
 *
 * Blocks of any compressor are found only where their metadata can be read: zlib ("gzip"), zstd, or uncompressed.
 * An image of another compressor is compared as plain bytes.
 *
 * Invariants: every number from the image is checked against the image's size or a cap before it is used.
 */
import { inflateSync, zstdDecompressSync } from 'node:zlib';
import type { ImageFile } from './image-file.ts';

/** What the image stores as one: a block of a file, a fragment (the ends of files), or a block of a table. */
export interface SquashfsBlock {
  readonly offset: number;
  readonly length: number;
  readonly compressed: boolean;
  /** Before the stored data: a table's blocks begin with their length. */
  readonly headBytes: number;
}

export interface SquashfsFile {
  readonly path: string;
  readonly kind: 'file';
  readonly sizeBytes: number;
  readonly blocks: readonly SquashfsBlock[];
  /** Number of the fragment that holds the file's end; undefined when none does. */
  readonly fragment: number | undefined;
}

export interface Squashfs {
  /** zlib: what is compressed may be taken apart. */
  readonly deflated: boolean;
  readonly files: readonly SquashfsFile[];
  readonly fragments: readonly SquashfsBlock[];
  /** Blocks of inodes, directories and the other tables, each list in order. */
  readonly tables: readonly (readonly SquashfsBlock[])[];
}

const MAGIC = 0x73717368;
const COMPRESSORS = { gzip: 1, zstd: 6 } as const;
const SUPERBLOCK_BYTES = 96;
const METADATA_BYTES = 8192;
/** Decompressed, of inodes and directories each. */
const TABLE_CAP_BYTES = 512 * 1024 * 1024;
const FILES_AT_MOST = 4_000_000;
const DEPTH_AT_MOST = 256;
const NONE = 0xffffffff;
/** In a block's length: it is stored as it is. */
const STORED_BLOCK = 0x1000000;
const STORED_METADATA = 0x8000;

/** undefined for anything that is not a squashfs 4.0 from the image's start whose tables can be read. */
export function readSquashfs(image: ImageFile): Squashfs | undefined {
  if (image.sizeBytes < SUPERBLOCK_BYTES) return undefined;
  const superblock = viewOf(image.read(0, SUPERBLOCK_BYTES));
  if (superblock.getUint32(0, true) !== MAGIC || superblock.getUint16(28, true) !== 4) return undefined;
  const compressor = superblock.getUint16(20, true);
  if (compressor !== COMPRESSORS.gzip && compressor !== COMPRESSORS.zstd) return undefined;
  try {
    return new Reader(image, superblock, compressor).read();
  } catch (error) {
    // A damaged file system is compared as plain bytes; zlib's errors have a code.
    if (error instanceof RangeError || (error instanceof Error && 'code' in error)) return undefined;
    throw error;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A table decompressed, and where in it each of its blocks starts, by the block's offset in the stored table. */
interface Table {
  readonly blocks: readonly SquashfsBlock[];
  readonly view: DataView;
  readonly starts: ReadonlyMap<number, number>;
}

type Inode =
  | { readonly kind: 'directory'; readonly block: number; readonly offset: number; readonly sizeBytes: number }
  | (Omit<SquashfsFile, 'path'> & { readonly kind: 'file' });

class Reader {
  readonly #image: ImageFile;
  readonly #superblock: DataView;
  readonly #compressor: number;
  readonly #blockBytes: number;
  readonly #endBytes: number;

  constructor(image: ImageFile, superblock: DataView, compressor: number) {
    this.#image = image;
    this.#superblock = superblock;
    this.#compressor = compressor;
    this.#blockBytes = superblock.getUint32(12, true);
    this.#endBytes = Math.min(image.sizeBytes, this.#number(40));
    if (this.#blockBytes < 4096 || this.#blockBytes > 1024 * 1024) throw new RangeError('block size');
  }

  read(): Squashfs {
    const [inodeStart, directoryStart, fragmentStart, exportStart] = [64, 72, 80, 88].map((at) => this.#number(at)) as [
      number,
      number,
      number,
      number,
    ];
    const lists = [fragmentStart, exportStart, this.#number(48)]
      .filter((start) => start < this.#endBytes)
      .map((start) => ({ start: this.#numberAt(start), end: start }));
    const directoryEnd = Math.min(...lists.map(({ start }) => start), this.#number(56), this.#endBytes);
    const inodes = this.#table(inodeStart, directoryStart);
    const directories = this.#table(directoryStart, directoryEnd);
    const others = lists.map(({ start, end }) => this.#table(start, end));
    const fragmentCount = this.#superblock.getUint32(16, true);
    const fragments = fragmentCount === 0 ? [] : this.#fragments(others[0], fragmentCount);
    return {
      deflated: this.#compressor === COMPRESSORS.gzip,
      files: new Walk(inodes, directories, this.#blockBytes, this.#image.sizeBytes).from(this.#number(32)),
      fragments,
      tables: [inodes, directories, ...others].map(({ blocks }) => blocks),
    };
  }

  #number(at: number): number {
    return Number(this.#superblock.getBigUint64(at, true));
  }

  #numberAt(position: number): number {
    return Number(viewOf(this.#image.read(position, 8)).getBigUint64(0, true));
  }

  #table(start: number, end: number): Table {
    if (end > this.#endBytes || start > end) throw new RangeError('a table outside the image');
    const blocks: SquashfsBlock[] = [];
    const starts = new Map<number, number>();
    const plain: Uint8Array[] = [];
    let plainBytes = 0;
    for (let at = start; at < end; ) {
      const head = viewOf(this.#image.read(at, 2)).getUint16(0, true);
      const length = head & (STORED_METADATA - 1);
      const block = { offset: at, length: 2 + length, compressed: (head & STORED_METADATA) === 0, headBytes: 2 };
      const bytes = this.#unpack(block);
      blocks.push(block);
      starts.set(at - start, plainBytes);
      plain.push(bytes);
      plainBytes += bytes.length;
      if (plainBytes > TABLE_CAP_BYTES) throw new RangeError('a table beyond the cap');
      at += 2 + length;
    }
    return { blocks, starts, view: viewOf(Buffer.concat(plain)) };
  }

  #unpack(block: SquashfsBlock): Uint8Array {
    const bytes = this.#image.read(block.offset, block.length).subarray(block.headBytes);
    if (!block.compressed) return bytes;
    const options = { maxOutputLength: METADATA_BYTES };
    return this.#compressor === COMPRESSORS.gzip ? inflateSync(bytes, options) : zstdDecompressSync(bytes, options);
  }

  #fragments(table: Table | undefined, count: number): SquashfsBlock[] {
    const found: SquashfsBlock[] = [];
    for (let number = 0; number < count; number += 1) {
      const start = Number(table?.view.getBigUint64(number * 16, true));
      const size = table?.view.getUint32(number * 16 + 8, true) ?? 0;
      const length = size & (STORED_BLOCK - 1);
      if (start + length > this.#image.sizeBytes) throw new RangeError('a fragment outside the image');
      found.push({ offset: start, length, compressed: (size & STORED_BLOCK) === 0, headBytes: 0 });
    }
    return found;
  }
}

/** From the root through all directories. */
class Walk {
  readonly #inodes: Table;
  readonly #directories: Table;
  readonly #blockBytes: number;
  readonly #imageBytes: number;
  readonly #files: SquashfsFile[] = [];
  #seen = 0;

  constructor(inodes: Table, directories: Table, blockBytes: number, imageBytes: number) {
    this.#inodes = inodes;
    this.#directories = directories;
    this.#blockBytes = blockBytes;
    this.#imageBytes = imageBytes;
  }

  from(reference: number): readonly SquashfsFile[] {
    this.#visit(Math.floor(reference / 65_536), reference % 65_536, '', 0);
    return this.#files;
  }

  #visit(block: number, offset: number, path: string, depth: number): void {
    this.#seen += 1;
    if (this.#seen > FILES_AT_MOST || depth > DEPTH_AT_MOST) throw new RangeError('too many entries');
    const inode = this.#inode(block, offset);
    if (inode === undefined) return;
    if (inode.kind === 'file') this.#files.push({ ...inode, path });
    else this.#entries(inode, path, depth);
  }

  #entries(directory: Inode & { kind: 'directory' }, path: string, depth: number): void {
    const { view, starts } = this.#directories;
    const start = (starts.get(directory.block) ?? Number.NaN) + directory.offset;
    // The size counts three bytes for "." and "..".
    const end = start + directory.sizeBytes - 3;
    for (let at = start; at < end; ) {
      const count = view.getUint32(at, true) + 1;
      const block = view.getUint32(at + 4, true);
      at += 12;
      for (let entry = 0; entry < count && at < end; entry += 1) {
        const length = view.getUint16(at + 6, true) + 1;
        const name = Buffer.from(view.buffer, view.byteOffset + at + 8, length).toString('latin1');
        this.#visit(block, view.getUint16(at, true), `${path}/${name}`, depth + 1);
        at += 8 + length;
      }
    }
  }

  /** Links, devices and sockets own no blocks: undefined. */
  #inode(block: number, offset: number): Inode | undefined {
    const { view, starts } = this.#inodes;
    const at = (starts.get(block) ?? Number.NaN) + offset;
    const type = view.getUint16(at, true);
    const word = (field: number): number => view.getUint32(at + field, true);
    const half = (field: number): number => view.getUint16(at + field, true);
    if (type === 1) return { kind: 'directory', block: word(16), offset: half(26), sizeBytes: half(24) };
    if (type === 8) return { kind: 'directory', block: word(24), offset: half(34), sizeBytes: word(20) };
    if (type === 2) return this.#file(at + 32, word(16), word(28), word(20));
    if (type !== 9) return undefined;
    const long = (field: number): number => Number(view.getBigUint64(at + field, true));
    return this.#file(at + 56, long(16), long(24), word(44));
  }

  #file(sizesAt: number, start: number, sizeBytes: number, fragment: number): Inode {
    const { view } = this.#inodes;
    const whole = sizeBytes / this.#blockBytes;
    const count = fragment === NONE ? Math.ceil(whole) : Math.floor(whole);
    const blocks: SquashfsBlock[] = [];
    let offset = start;
    for (let number = 0; number < count; number += 1) {
      const size = view.getUint32(sizesAt + number * 4, true);
      const length = size & (STORED_BLOCK - 1);
      // A hole: a block of zeros that is not stored.
      if (length === 0) continue;
      if (offset + length > this.#imageBytes) throw new RangeError('a block outside the image');
      blocks.push({ offset, length, compressed: (size & STORED_BLOCK) === 0, headBytes: 0 });
      offset += length;
    }
    return { kind: 'file', sizeBytes, blocks, fragment: fragment === NONE ? undefined : fragment };
  }
}
