/** Inodes of an ext2, ext3 or ext4 file system, and their bytes. The caps of readers/ext4.ts are kept here. */
import type { ByteSource } from '../byte-source.ts';
import { Unreadable } from '../tree.ts';

export const INODE = { root: 2 } as const;

export interface Inode {
  /** As in the kernel: 4 folder, 8 file, 10 link. */
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly flags: number;
  /** The whole inode as it is stored. */
  readonly bytes: Buffer;
}

const FLAG = { encrypted: 0x800, compressed: 0x4, extents: 0x80000, inlineData: 0x10000000 } as const;
const NEEDS = { compression: 0x1, journalDevice: 0x8, metaGroups: 0x10, wide: 0x80 } as const;
/** filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data, encrypt, casefold. */
const KNOWN_NEEDS =
  0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;
const EXTENT_MAGIC = 0xf30a;
const DEPTH_AT_MOST = 5;
/** Blocks of extent trees and block maps that one file may have: 8 GiB in pieces of one block. */
const MAP_BLOCKS_AT_MOST = 8192;
const BLOCK_POINTERS_AT = 0x28;
const INLINE_BYTES = 60;
const ATTRIBUTE_MAGIC = 0xea020000;
const SYSTEM_ATTRIBUTE = 7;

/** `count` blocks of the file from `logical` on stand from `block` on. */
interface Run {
  readonly logical: number;
  readonly block: number;
  readonly count: number;
}

export class Ext4Inodes {
  readonly #source: ByteSource;
  readonly #blockBytes: number;
  readonly #blocks: number;
  readonly #inodeBytes: number;
  readonly #inodesPerGroup: number;
  readonly #inodeCount: number;
  readonly #tables: readonly number[];

  private constructor(source: ByteSource, superblock: Buffer) {
    this.#source = source;
    this.#blockBytes = 1024 << Math.min(superblock.readUInt32LE(0x18), 10);
    this.#blocks = Math.floor(source.sizeBytes / this.#blockBytes);
    this.#inodeBytes = superblock.readUInt32LE(0x4c) === 0 ? 128 : superblock.readUInt16LE(0x58);
    this.#inodesPerGroup = superblock.readUInt32LE(0x28);
    this.#inodeCount = superblock.readUInt32LE(0);
    const odd = this.#blockBytes > 65536 || this.#inodeBytes < 128 || this.#inodeBytes > this.#blockBytes;
    if (odd || this.#inodesPerGroup < 1 || this.#inodesPerGroup > 8 * this.#blockBytes) {
      throw new Unreadable('its superblock has impossible sizes');
    }
    this.#tables = this.#readTables(superblock);
  }

  static open(source: ByteSource): Ext4Inodes {
    const superblock = source.read(1024, 1024);
    const needs = superblock.readUInt32LE(0x60);
    if ((needs & NEEDS.compression) !== 0) throw new Unreadable('it is compressed');
    if ((needs & NEEDS.journalDevice) !== 0) throw new Unreadable('it is only a journal');
    if ((needs & ~KNOWN_NEEDS) !== 0)
      throw new Unreadable(`it has features that are not known (0x${needs.toString(16)})`);
    try {
      return new Ext4Inodes(source, superblock);
    } catch (error) {
      if (error instanceof RangeError) throw new Unreadable('its group descriptors are damaged', { cause: error });
      throw error;
    }
  }

  /** Block numbers of the inode tables, by group. */
  #readTables(superblock: Buffer): number[] {
    const needs = superblock.readUInt32LE(0x60);
    const wide = (needs & NEEDS.wide) !== 0;
    const descriptorBytes = wide ? superblock.readUInt16LE(0xfe) : 32;
    const perGroup = superblock.readUInt32LE(0x20);
    const firstBlock = superblock.readUInt32LE(0x14);
    const total = Math.min(
      this.#blocks,
      superblock.readUInt32LE(4) + (wide ? superblock.readUInt32LE(0x150) * 2 ** 32 : 0),
    );
    if (descriptorBytes < 32 || descriptorBytes > 1024 || perGroup < 1)
      throw new Unreadable('its groups have impossible sizes');
    const groups = Math.ceil((total - firstBlock) / perGroup);
    const perBlock = Math.floor(this.#blockBytes / descriptorBytes);
    const metaFrom = (needs & NEEDS.metaGroups) === 0 ? Number.POSITIVE_INFINITY : superblock.readUInt32LE(0x104);
    const tables: number[] = [];
    for (let group = 0; group < groups; group += 1) {
      const table = Math.floor(group / perBlock);
      // With meta_bg a block of descriptors stands in the first group that it describes, behind a superblock if there is one.
      const block =
        table < metaFrom
          ? firstBlock + 1 + table
          : firstBlock + table * perBlock * perGroup + (hasSuperblock(superblock, table * perBlock) ? 1 : 0);
      const at = block * this.#blockBytes + (group % perBlock) * descriptorBytes;
      const descriptor = this.#source.read(at, descriptorBytes);
      tables.push(descriptor.readUInt32LE(8) + (descriptorBytes >= 64 ? descriptor.readUInt32LE(0x28) * 2 ** 32 : 0));
    }
    return tables;
  }

  /** Throws RangeError for a number that there is not. */
  inode(number: number): Inode {
    if (number < 1 || number > this.#inodeCount) throw new RangeError('inode number');
    const table = this.#tables[Math.floor((number - 1) / this.#inodesPerGroup)];
    if (table === undefined) throw new RangeError('inode group');
    const at = table * this.#blockBytes + ((number - 1) % this.#inodesPerGroup) * this.#inodeBytes;
    const bytes = this.#source.read(at, this.#inodeBytes);
    const mode = bytes.readUInt16LE(0);
    return {
      type: mode >> 12,
      mode: mode & 0o7777,
      uid: bytes.readUInt16LE(2) + bytes.readUInt16LE(0x78) * 65536,
      gid: bytes.readUInt16LE(0x18) + bytes.readUInt16LE(0x7a) * 65536,
      sizeBytes: bytes.readUInt32LE(4) + bytes.readUInt32LE(0x6c) * 2 ** 32,
      flags: bytes.readUInt32LE(0x20),
      bytes,
    };
  }

  /** The first bytes of a file or link; holes are zeros. Throws Unreadable. */
  content(inode: Inode, capBytes: number): Buffer {
    if ((inode.flags & (FLAG.encrypted | FLAG.compressed)) !== 0) throw new Unreadable('it is encrypted or compressed');
    try {
      const wanted = Math.min(inode.sizeBytes, capBytes);
      if ((inode.flags & FLAG.inlineData) !== 0) return Buffer.concat(this.#inlineParts(inode)).subarray(0, wanted);
      const short = inode.type === 10 && inode.sizeBytes < INLINE_BYTES && (inode.flags & FLAG.extents) === 0;
      if (short) return inode.bytes.subarray(BLOCK_POINTERS_AT, BLOCK_POINTERS_AT + wanted);
      return this.#filled(this.#runs(inode, Math.ceil(wanted / this.#blockBytes)), wanted);
    } catch (error) {
      if (error instanceof RangeError) throw new Unreadable('its blocks are damaged', { cause: error });
      throw error;
    }
  }

  /** A folder's entries, in pieces that no entry crosses. */
  folderBytes(inode: Inode): Buffer[] {
    if ((inode.flags & FLAG.encrypted) !== 0) throw new Unreadable('it is encrypted');
    if ((inode.flags & FLAG.inlineData) !== 0) {
      const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = this.#inlineParts(inode);
      // The number of the folder above comes first.
      return [first.subarray(4), second];
    }
    const bytes = this.content(inode, inode.sizeBytes);
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += this.#blockBytes) pieces.push(bytes.subarray(at, at + this.#blockBytes));
    return pieces;
  }

  #filled(runs: readonly Run[], wanted: number): Buffer {
    const bytes = Buffer.alloc(wanted);
    for (const { logical, block, count } of runs) {
      const at = logical * this.#blockBytes;
      if (at >= wanted) continue;
      const length = Math.min(count * this.#blockBytes, wanted - at);
      this.#source.read(block * this.#blockBytes, length).copy(bytes, at);
    }
    return bytes;
  }

  #runs(inode: Inode, blocks: number): Run[] {
    const budget = { mapBlocks: MAP_BLOCKS_AT_MOST };
    const runs: Run[] = [];
    const pointers = inode.bytes.subarray(BLOCK_POINTERS_AT, BLOCK_POINTERS_AT + INLINE_BYTES);
    if ((inode.flags & FLAG.extents) !== 0) this.#extents(pointers, DEPTH_AT_MOST, blocks, budget, runs);
    else this.#blockMap(pointers, blocks, budget, runs);
    return runs;
  }

  #mapBlock(block: number, budget: { mapBlocks: number }): Buffer {
    budget.mapBlocks -= 1;
    if (budget.mapBlocks < 0) throw new RangeError('too many blocks of a map');
    return this.#source.read(block * this.#blockBytes, this.#blockBytes);
  }

  #extents(node: Buffer, depthLeft: number, blocks: number, budget: { mapBlocks: number }, runs: Run[]): void {
    if (node.readUInt16LE(0) !== EXTENT_MAGIC || depthLeft < 0) throw new RangeError('extent tree');
    const entries = node.readUInt16LE(2);
    const depth = node.readUInt16LE(6);
    for (let index = 0; index < entries; index += 1) {
      const at = 12 + 12 * index;
      const logical = node.readUInt32LE(at);
      if (logical >= blocks) continue;
      if (depth > 0) {
        const block = node.readUInt32LE(at + 4) + node.readUInt16LE(at + 8) * 2 ** 32;
        this.#extents(this.#mapBlock(block, budget), depthLeft - 1, blocks, budget, runs);
        continue;
      }
      const count = node.readUInt16LE(at + 4);
      // Longer than 32768 means: reserved and not written, which reads as zeros.
      if (count > 32768) continue;
      runs.push({ logical, block: node.readUInt16LE(at + 6) * 2 ** 32 + node.readUInt32LE(at + 8), count });
    }
  }

  #blockMap(pointers: Buffer, blocks: number, budget: { mapBlocks: number }, runs: Run[]): void {
    let logical = 0;
    const perBlock = this.#blockBytes / 4;
    const take = (block: number, level: number): void => {
      if (logical >= blocks) return;
      if (block === 0) {
        logical += perBlock ** level;
      } else if (level === 0) {
        runs.push({ logical, block, count: 1 });
        logical += 1;
      } else {
        const map = this.#mapBlock(block, budget);
        for (let at = 0; at < map.length && logical < blocks; at += 4) take(map.readUInt32LE(at), level - 1);
      }
    };
    for (let index = 0; index < 15; index += 1) take(pointers.readUInt32LE(4 * index), Math.max(0, index - 11));
  }

  /** What stands in the inode itself: 60 bytes, and the rest in the attribute `system.data`. */
  #inlineParts(inode: Inode): Buffer[] {
    const first = inode.bytes.subarray(BLOCK_POINTERS_AT, BLOCK_POINTERS_AT + INLINE_BYTES);
    if (inode.bytes.length <= 128) return [first];
    const start = 128 + inode.bytes.readUInt16LE(128);
    if (start + 4 > inode.bytes.length || inode.bytes.readUInt32LE(start) !== ATTRIBUTE_MAGIC) return [first];
    const base = start + 4;
    for (let at = base; at + 16 <= inode.bytes.length && inode.bytes.readUInt32LE(at) !== 0; ) {
      const nameBytes = inode.bytes[at] ?? 0;
      const name = inode.bytes.toString('latin1', at + 16, at + 16 + nameBytes);
      const valueAt = base + inode.bytes.readUInt16LE(at + 2);
      const valueBytes = inode.bytes.readUInt32LE(at + 8);
      if (inode.bytes[at + 1] === SYSTEM_ATTRIBUTE && name === 'data') {
        if (valueAt + valueBytes > inode.bytes.length) throw new RangeError('inline data');
        return [first, inode.bytes.subarray(valueAt, valueAt + valueBytes)];
      }
      at += (16 + nameBytes + 3) & ~3;
    }
    return [first];
  }
}

/** Groups 0 and 1 and powers of 3, 5 and 7 with sparse_super; all without. */
function hasSuperblock(superblock: Buffer, group: number): boolean {
  if ((superblock.readUInt32LE(0x64) & 1) === 0 || group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}
