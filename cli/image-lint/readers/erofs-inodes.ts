/**
 * Superblock, inodes and bytes of an erofs. Layout: Linux kernel, fs/erofs/erofs_fs.h.
 *
 * Known: both sizes of inodes; files in a row, with their end in the inode, in chunks, and compressed with LZ4. Not known,
 * and refused as a whole: other compressors, fragments and deduplication, several devices, 48-bit addresses.
 */
import type { ByteSource } from '../byte-source.ts';
import { Unreadable } from '../tree.ts';
import { ErofsClusters } from './erofs-clusters.ts';
import type { InodeFacts, NamedInode } from './inode-tree.ts';

const SUPERBLOCK_AT = 1024;
const MAGIC = 0xe0f5e1e2;
const INODE_UNIT_BYTES = 32;
const LAYOUT = { plain: 0, compressedFull: 1, inline: 2, compressedCompact: 3, chunks: 4 } as const;
/** 0x8: several devices, or a second compressor; which of them only the table of devices tells. */
const NEEDS = { leadingZeros: 0x1, configuredCompressors: 0x2, tailInInode: 0x10 } as const;
const KNOWN_NEEDS = NEEDS.leadingZeros | NEEDS.configuredCompressors | 0x4 | 0x8 | NEEDS.tailInInode;
const ONLY_LZ4 = 1;
const HOLE = 0xffffffff;
const CHUNK_BITS = 0x1f;
const CHUNK_INDEXES = 0x20;
const CHUNKS_AT_MOST = 65_536;
const DIRENT_BYTES = 12;

export interface ErofsInode extends InodeFacts {
  readonly layout: number;
  /** First block, or what else the layout keeps there. */
  readonly place: number;
  /** Behind the inode and its attributes. */
  readonly endBytes: number;
}

export class ErofsInodes {
  readonly #source: ByteSource;
  readonly #blockBits: number;
  readonly #metaAt: number;
  readonly #clusters: ErofsClusters;
  readonly root: number;

  static is(source: ByteSource): boolean {
    return source.sizeBytes >= SUPERBLOCK_AT + 128 && source.read(SUPERBLOCK_AT, 4).readUInt32LE(0) === MAGIC;
  }

  /** Throws Unreadable for what is not known. */
  constructor(source: ByteSource) {
    const superblock = source.read(SUPERBLOCK_AT, 128);
    const needs = superblock.readUInt32LE(80);
    if ((needs & ~KNOWN_NEEDS) !== 0) {
      throw new Unreadable(`it has features that are not known (0x${needs.toString(16)}): fragments, or newer ones`);
    }
    const configured = (needs & NEEDS.configuredCompressors) !== 0;
    if (configured && (superblock.readUInt16LE(84) & ~ONLY_LZ4) !== 0) {
      throw new Unreadable('it is compressed otherwise than with LZ4');
    }
    if (superblock.readUInt16LE(86) !== 0) throw new Unreadable('parts of it lie on other devices');
    this.#blockBits = superblock[12] ?? 0;
    if (this.#blockBits < 9 || this.#blockBits > 16 || superblock[90] !== 0) {
      throw new Unreadable('its superblock has impossible sizes');
    }
    this.#source = source;
    this.root = superblock.readUInt16LE(14);
    this.#metaAt = superblock.readUInt32LE(40) * this.#blockBytes;
    this.#clusters = new ErofsClusters(source, {
      blockBits: this.#blockBits,
      leadingZeros: (needs & NEEDS.leadingZeros) !== 0,
      hasHeaders: configured || (needs & NEEDS.tailInInode) !== 0,
    });
  }

  get #blockBytes(): number {
    return 2 ** this.#blockBits;
  }

  /** Throws RangeError for a number that there is not. */
  inode(number: number): ErofsInode {
    const at = this.#metaAt + number * INODE_UNIT_BYTES;
    const format = this.#source.read(at, 2).readUInt16LE(0);
    const isLong = (format & 1) === 1;
    const sizeOfInode = isLong ? 64 : 32;
    const bytes = this.#source.read(at, sizeOfInode);
    const attributes = bytes.readUInt16LE(2);
    const mode = bytes.readUInt16LE(4);
    return {
      type: mode >> 12,
      mode: mode & 0o7777,
      uid: isLong ? bytes.readUInt32LE(24) : bytes.readUInt16LE(24),
      gid: isLong ? bytes.readUInt32LE(28) : bytes.readUInt16LE(26),
      sizeBytes: bytes.readUInt32LE(8) + (isLong ? bytes.readUInt32LE(12) * 2 ** 32 : 0),
      layout: (format >> 1) & 7,
      place: bytes.readUInt32LE(16),
      endBytes: at + sizeOfInode + (attributes === 0 ? 0 : 12 + 4 * (attributes - 1)),
    };
  }

  /** The first bytes of a file, folder or link; holes are zeros. Throws Unreadable. */
  content(inode: ErofsInode, capBytes: number): Buffer {
    const wanted = Math.min(inode.sizeBytes, capBytes);
    if (wanted === 0) return Buffer.alloc(0);
    try {
      if (inode.layout === LAYOUT.plain) return this.#source.read(inode.place * this.#blockBytes, wanted);
      if (inode.layout === LAYOUT.inline) return this.#withTail(inode, wanted);
      if (inode.layout === LAYOUT.chunks) return this.#inChunks(inode, wanted);
      if (inode.layout === LAYOUT.compressedFull) return this.#clusters.content(inode, wanted, 'full');
      if (inode.layout === LAYOUT.compressedCompact) return this.#clusters.content(inode, wanted, 'compact');
    } catch (error) {
      if (error instanceof RangeError) throw new Unreadable('its blocks are damaged', { cause: error });
      throw error;
    }
    throw new Unreadable(`it is laid out in a way that is not known (${inode.layout})`);
  }

  /** All but the last block stand in a row; the rest behind the inode. */
  #withTail({ sizeBytes, place, endBytes }: ErofsInode, wanted: number): Buffer {
    const tailFrom = Math.max(0, Math.ceil(sizeBytes / this.#blockBytes) - 1) * this.#blockBytes;
    // Where all is in the inode, the place is no place.
    const inRow = tailFrom === 0 ? [] : [this.#source.read(place * this.#blockBytes, Math.min(wanted, tailFrom))];
    const tail = this.#source.read(endBytes, Math.max(0, wanted - tailFrom));
    return Buffer.concat([...inRow, tail]);
  }

  #inChunks({ place, endBytes }: ErofsInode, wanted: number): Buffer {
    const chunkBytes = 2 ** (this.#blockBits + (place & CHUNK_BITS));
    const entryBytes = (place & CHUNK_INDEXES) === 0 ? 4 : 8;
    const table = Math.ceil(endBytes / entryBytes) * entryBytes;
    const chunks = Math.ceil(wanted / chunkBytes);
    if (chunks > CHUNKS_AT_MOST) throw new RangeError('too many chunks');
    const made = Buffer.alloc(wanted);
    for (let index = 0; index < chunks; index += 1) {
      const entry = this.#source.read(table + index * entryBytes, entryBytes);
      const block = entry.readUInt32LE(entryBytes - 4);
      if (block === HOLE) continue;
      const from = index * chunkBytes;
      this.#source.read(block * this.#blockBytes, Math.min(chunkBytes, wanted - from)).copy(made, from);
    }
    return made;
  }

  /** Blocks of entries, each followed by its names. */
  names(inode: ErofsInode): NamedInode[] {
    const bytes = this.content(inode, inode.sizeBytes);
    const found: NamedInode[] = [];
    for (let at = 0; at < bytes.length; at += this.#blockBytes) {
      found.push(...namesOfBlock(bytes.subarray(at, at + this.#blockBytes)));
    }
    return found;
  }
}

/** A name ends where the next begins; the last one at a zero or the end. */
function namesOfBlock(block: Buffer): NamedInode[] {
  const namesAt = block.readUInt16LE(8);
  if (namesAt === 0 || namesAt % DIRENT_BYTES !== 0 || namesAt > block.length) throw new RangeError('a folder');
  const found: NamedInode[] = [];
  for (let at = 0; at < namesAt; at += DIRENT_BYTES) {
    const number = Number(block.readBigUInt64LE(at));
    const from = block.readUInt16LE(at + 8);
    const isLast = at + DIRENT_BYTES === namesAt;
    const to = isLast ? block.length : block.readUInt16LE(at + DIRENT_BYTES + 8);
    if (from < namesAt || to < from || to > block.length) throw new RangeError('a name');
    const name = block.subarray(from, to);
    const zero = isLast ? name.indexOf(0) : -1;
    found.push({ name: (zero < 0 ? name : name.subarray(0, zero)).toString('utf8'), number });
  }
  return found;
}
