/**
 * Read-only view of an ext4 file system inside an image: which file owns which blocks. For finding what to compare with
 * what, and for nothing else: a wrong answer makes a delta larger, never wrong.
 *
 * Layouts: Linux kernel, Documentation/filesystems/ext4. Known: extents, 64bit, flex_bg, metadata_csum, inline data
 * (such files own no blocks). Not known: block maps of ext2, encryption, bigalloc; their files are left out.
 *
 * Invariants: every number from the image is checked against the image's size or a cap before it is used.
 */
import type { ImageFile, ImageRange } from './image-file.ts';

export interface Ext4File {
  readonly path: string;
  readonly inode: number;
  readonly kind: 'file' | 'directory' | 'other';
  readonly sizeBytes: number;
  /** Physical blocks in logical order; holes are left out. */
  readonly extents: readonly Extent[];
  /** Blocks that hold extent trees and extended attributes. */
  readonly metadataBlocks: readonly number[];
}

export interface Extent {
  readonly logicalBlock: number;
  readonly block: number;
  readonly count: number;
}

/** A structure of the file system that every image of its kind has. */
export interface Ext4Structure {
  readonly name: string;
  readonly ranges: readonly ImageRange[];
}

export interface Ext4 {
  readonly blockBytes: number;
  readonly files: readonly Ext4File[];
  readonly structures: readonly Ext4Structure[];
  readonly inodeBytes: number;
  /** Where an inode stands in the image; undefined for a number that there is not. */
  inodeOffset(inode: number): number | undefined;
}

const MAGIC = 0xef53;
const EXTENT_MAGIC = 0xf30a;
const ROOT_INODE = 2;
const FIELDS = { incompat64Bit: 0x80, flagExtents: 0x80000, flagInlineData: 0x10000000, flagIndex: 0x1000 } as const;
const FILES_AT_MOST = 4_000_000;
const DEPTH_AT_MOST = 5;
const DIRECTORY_CAP_BYTES = 64 * 1024 * 1024;

/** undefined for anything that is not an ext4 file system of 4 KiB blocks from the image's start. */
export function readExt4(image: ImageFile): Ext4 | undefined {
  if (image.sizeBytes < 4096) return undefined;
  const superblock = viewOf(image.read(1024, 1024));
  if (superblock.getUint16(0x38, true) !== MAGIC || superblock.getUint32(0x18, true) !== 2) return undefined;
  try {
    return new Reader(image, superblock).read();
  } catch (error) {
    // A damaged file system is compared as plain bytes.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface Group {
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
}

class Reader {
  readonly #image: ImageFile;
  readonly #blockBytes = 4096;
  readonly #inodeBytes: number;
  readonly #inodesPerGroup: number;
  readonly #inodeCount: number;
  readonly #groups: Group[] = [];
  readonly #descriptorBytes: number;
  readonly #files: Ext4File[] = [];

  constructor(image: ImageFile, superblock: DataView) {
    this.#image = image;
    this.#inodeBytes = superblock.getUint16(0x58, true);
    this.#inodesPerGroup = superblock.getUint32(0x28, true);
    this.#inodeCount = superblock.getUint32(0, true);
    const wide = (superblock.getUint32(0x60, true) & FIELDS.incompat64Bit) !== 0;
    this.#descriptorBytes = wide ? superblock.getUint16(0xfe, true) : 32;
    if (this.#inodeBytes < 128 || this.#inodeBytes > 4096 || this.#descriptorBytes < 32) throw new RangeError('sizes');
    if (this.#inodesPerGroup < 1 || this.#inodesPerGroup > 8 * this.#blockBytes) throw new RangeError('inodes');
    this.#readGroups(superblock, wide);
  }

  #readGroups(superblock: DataView, wide: boolean): void {
    const blocks = Math.floor(this.#image.sizeBytes / this.#blockBytes);
    const perGroup = superblock.getUint32(0x20, true);
    const count = Math.ceil(Math.min(blocks, superblock.getUint32(4, true)) / Math.max(1, perGroup));
    const table = viewOf(this.#image.read(this.#blockBytes, count * this.#descriptorBytes));
    for (let group = 0; group < count; group += 1) {
      const at = group * this.#descriptorBytes;
      const high = (field: number): number => (wide ? table.getUint32(at + field, true) * 2 ** 32 : 0);
      this.#groups.push({
        blockBitmap: table.getUint32(at, true) + high(0x20),
        inodeBitmap: table.getUint32(at + 4, true) + high(0x24),
        inodeTable: table.getUint32(at + 8, true) + high(0x28),
      });
    }
  }

  read(): Ext4 {
    this.#walk();
    return {
      blockBytes: this.#blockBytes,
      files: this.#files,
      structures: this.#structures(),
      inodeBytes: this.#inodeBytes,
      inodeOffset: (inode) => this.#inodeOffset(inode),
    };
  }

  #structures(): Ext4Structure[] {
    const block = (number: number): ImageRange => ({ offset: number * this.#blockBytes, length: this.#blockBytes });
    const tableBytes = Math.ceil((this.#inodesPerGroup * this.#inodeBytes) / this.#blockBytes) * this.#blockBytes;
    const descriptors = Math.ceil((this.#groups.length * this.#descriptorBytes) / this.#blockBytes);
    return [
      { name: 'superblock', ranges: [{ offset: 0, length: (1 + descriptors) * this.#blockBytes }] },
      { name: 'block bitmaps', ranges: this.#groups.map((group) => block(group.blockBitmap)) },
      { name: 'inode bitmaps', ranges: this.#groups.map((group) => block(group.inodeBitmap)) },
      {
        name: 'inode tables',
        ranges: this.#groups.map((group) => ({ offset: group.inodeTable * this.#blockBytes, length: tableBytes })),
      },
    ];
  }

  #inodeOffset(inode: number): number | undefined {
    if (inode < 1 || inode > this.#inodeCount) return undefined;
    const group = this.#groups[Math.floor((inode - 1) / this.#inodesPerGroup)];
    if (group === undefined) return undefined;
    return group.inodeTable * this.#blockBytes + ((inode - 1) % this.#inodesPerGroup) * this.#inodeBytes;
  }

  #walk(): void {
    const seen = new Set<number>([ROOT_INODE]);
    const waiting: { inode: number; path: string }[] = [{ inode: ROOT_INODE, path: '/' }];
    // The resize inode and the journal have no name.
    for (const [inode, path] of [
      [7, '<resize>'],
      [8, '<journal>'],
    ] as const) {
      this.#add(inode, path);
    }
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const file = this.#add(next.inode, next.path);
      if (file?.kind !== 'directory') continue;
      for (const { inode, name } of this.#entries(file)) {
        if (seen.has(inode) || seen.size > FILES_AT_MOST) continue;
        seen.add(inode);
        waiting.push({ inode, path: next.path === '/' ? `/${name}` : `${next.path}/${name}` });
      }
    }
  }

  #add(inode: number, path: string): Ext4File | undefined {
    const offset = this.#inodeOffset(inode);
    if (offset === undefined) return undefined;
    const view = viewOf(this.#image.read(offset, this.#inodeBytes));
    const type = view.getUint16(0, true) >> 12;
    const flags = view.getUint32(0x20, true);
    const kind = type === 8 ? 'file' : type === 4 ? 'directory' : 'other';
    const sizeBytes = view.getUint32(4, true) + view.getUint32(0x6c, true) * 2 ** 32;
    const extents: Extent[] = [];
    const metadataBlocks: number[] = [];
    if ((flags & FIELDS.flagExtents) !== 0) this.#extents(view, 0x28, DEPTH_AT_MOST, extents, metadataBlocks);
    const attributes = view.getUint32(0x68, true);
    if (attributes !== 0) metadataBlocks.push(attributes);
    const file: Ext4File = { path, inode, kind, sizeBytes, extents, metadataBlocks };
    this.#files.push(file);
    return file;
  }

  /** One node of an extent tree at `at` of `view`. */
  #extents(view: DataView, at: number, depthLeft: number, extents: Extent[], metadataBlocks: number[]): void {
    if (view.getUint16(at, true) !== EXTENT_MAGIC || depthLeft < 0) return;
    const entries = view.getUint16(at + 2, true);
    const depth = view.getUint16(at + 6, true);
    const blocks = Math.floor(this.#image.sizeBytes / this.#blockBytes);
    for (let number = 0; number < entries; number += 1) {
      const entry = at + 12 + number * 12;
      if (entry + 12 > view.byteLength) return;
      const logicalBlock = view.getUint32(entry, true);
      if (depth > 0) {
        const block = view.getUint32(entry + 4, true) + view.getUint16(entry + 8, true) * 2 ** 32;
        if (block >= blocks) return;
        metadataBlocks.push(block);
        const node = viewOf(this.#image.read(block * this.#blockBytes, this.#blockBytes));
        this.#extents(node, 0, depthLeft - 1, extents, metadataBlocks);
        continue;
      }
      const length = view.getUint16(entry + 4, true);
      const block = view.getUint16(entry + 6, true) * 2 ** 32 + view.getUint32(entry + 8, true);
      // Longer than 32768 means: reserved and not written, which reads as zeros.
      if (length > 32768) continue;
      if (block + length <= blocks) extents.push({ logicalBlock, block, count: length });
    }
  }

  #entries(directory: Ext4File): { inode: number; name: string }[] {
    const found: { inode: number; name: string }[] = [];
    if (directory.sizeBytes > DIRECTORY_CAP_BYTES) return found;
    for (const extent of directory.extents) {
      const bytes = this.#image.read(extent.block * this.#blockBytes, extent.count * this.#blockBytes);
      const view = viewOf(bytes);
      for (let at = 0; at + 8 <= bytes.length; ) {
        const inode = view.getUint32(at, true);
        const length = view.getUint16(at + 4, true);
        const nameLength = view.getUint8(at + 6);
        if (length < 8 || at + length > bytes.length) break;
        const name = Buffer.from(bytes.subarray(at + 8, at + 8 + nameLength)).toString('latin1');
        if (inode !== 0 && nameLength > 0 && name !== '.' && name !== '..') found.push({ inode, name });
        at += length;
      }
    }
    return found;
  }
}
