/**
 * ext2, ext3 and ext4, read without mounting and without another program: an image from elsewhere may be hostile, and
 * this reader can at worst say that it is. Layout: Linux kernel, Documentation/filesystems/ext4.
 *
 * Known: extents and block maps, blocks of 1 to 64 KiB, 64bit, flex_bg, meta_bg, inline data, large folders. Not known:
 * encrypted and compressed files, external journals. A journal that waits is not replayed: the image is read as it lies.
 *
 * Invariants: every number is checked against the image's size or a cap before it is used, and each folder is read once.
 */
import type { ByteSource } from '../byte-source.ts';
import { EntryCollector, type EntryKind, type ImageEntry, type ImageTree, Unreadable } from '../tree.ts';
import { Ext4Inodes, INODE, type Inode } from './ext4-inodes.ts';

const KINDS: Readonly<Record<number, EntryKind>> = { 4: 'folder', 8: 'file', 10: 'link' };
const FOLDER_CAP_BYTES = 64 * 1024 * 1024;
const LINK_CAP_BYTES = 4096;

export function isExt4(source: ByteSource): boolean {
  return source.sizeBytes > 2048 && source.read(1024 + 0x38, 2).readUInt16LE(0) === 0xef53;
}

/** Throws Unreadable for a file system that is damaged as a whole, or of a kind that is not known. */
export function readExt4(source: ByteSource): ImageTree {
  const inodes = Ext4Inodes.open(source);
  const found = new EntryCollector();
  const numbers = new Map<string, number>();
  const walk = new Walk(inodes, found, numbers);
  walk.from(INODE.root);
  return {
    format: 'ext4',
    entries: found.entries,
    troubles: found.troubles,
    read(entry, capBytes) {
      const number = numbers.get(entry.path);
      if (number === undefined) throw new Unreadable('it has no inode');
      return inodes.content(inodes.inode(number), capBytes);
    },
    close: () => undefined,
  };
}

class Walk {
  readonly #inodes: Ext4Inodes;
  readonly #found: EntryCollector;
  readonly #numbers: Map<string, number>;
  readonly #folders = new Set<number>();

  constructor(inodes: Ext4Inodes, found: EntryCollector, numbers: Map<string, number>) {
    this.#inodes = inodes;
    this.#found = found;
    this.#numbers = numbers;
  }

  from(root: number): void {
    const waiting = [{ path: '', number: root }];
    this.#folders.add(root);
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      for (const { path, number } of this.#folder(next.path, next.number)) {
        if (this.#folders.has(number)) this.#found.trouble('a folder stands in two places', path);
        else waiting.push({ path, number });
        this.#folders.add(number);
      }
    }
  }

  /** Takes in what is in a folder, and answers its folders. */
  #folder(folder: string, number: number): { path: string; number: number }[] {
    const folders: { path: string; number: number }[] = [];
    for (const child of this.#names(folder, number)) {
      if (child.name === '.' || child.name === '..') continue;
      const path = this.#found.pathOf(folder, child.name);
      if (path === undefined) continue;
      try {
        const entry = this.#entry(path, child.number);
        if (!this.#found.add(entry)) continue;
        this.#numbers.set(path, child.number);
        if (entry.kind === 'folder') folders.push({ path, number: child.number });
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.#found.trouble('an inode is damaged', path);
      }
    }
    return folders;
  }

  #entry(path: string, number: number): ImageEntry {
    const inode = this.#inodes.inode(number);
    const kind = KINDS[inode.type] ?? 'other';
    const { mode, uid, gid, sizeBytes } = inode;
    const target = kind === 'link' ? this.#target(inode) : '';
    return { path, kind, mode, uid, gid, sizeBytes: kind === 'file' ? sizeBytes : 0, target };
  }

  #target(inode: Inode): string {
    return Buffer.from(this.#inodes.content(inode, LINK_CAP_BYTES)).toString('utf8');
  }

  #names(folder: string, number: number): { name: string; number: number }[] {
    try {
      const inode = this.#inodes.inode(number);
      if (inode.sizeBytes > FOLDER_CAP_BYTES) throw new Unreadable('it is too large');
      return namesOf(this.#inodes.folderBytes(inode));
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#found.trouble('a folder is damaged', folder);
      return [];
    }
  }
}

export function isDamage(error: unknown): boolean {
  return error instanceof RangeError || error instanceof Unreadable;
}

/** Blocks of folder entries; those of an index look like one unused entry. */
function namesOf(pieces: readonly Buffer[]): { name: string; number: number }[] {
  const found: { name: string; number: number }[] = [];
  for (const bytes of pieces) {
    for (let at = 0; at + 8 <= bytes.length; ) {
      const number = bytes.readUInt32LE(at);
      const stored = bytes.readUInt16LE(at + 4);
      // 64 KiB does not fit into 16 bits.
      const length = stored === 65535 || stored === 0 ? 65536 : stored;
      const nameBytes = bytes[at + 6] ?? 0;
      if (length < 8 || at + length > bytes.length || 8 + nameBytes > length) break;
      if (number !== 0 && nameBytes > 0)
        found.push({ name: bytes.toString('utf8', at + 8, at + 8 + nameBytes), number });
      at += length;
    }
  }
  return found;
}
