/**
 * A tree from a file system whose folders name inodes by number: the walk that ext4 and erofs have in common.
 *
 * Invariants: each folder is read once, however often it is named; what is damaged is a trouble and ends nothing.
 */
import { EntryCollector, type EntryKind, type ImageEntry, type ImageTree, Unreadable } from '../tree.ts';

/** As every Unix file system tells it. */
export interface InodeFacts {
  /** As in the kernel: 4 folder, 8 file, 10 link. */
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
}

export interface NamedInode {
  readonly name: string;
  readonly number: number;
}

/** Each throws RangeError or Unreadable for what is damaged. */
export interface Inodes<I extends InodeFacts> {
  inode(number: number): I;
  /** The first bytes of a file or link. */
  content(inode: I, capBytes: number): Buffer;
  /** Of a folder, `.` and `..` too, where they are kept. */
  names(inode: I): readonly NamedInode[];
}

const KINDS: Readonly<Record<number, EntryKind>> = { 4: 'folder', 8: 'file', 10: 'link' };
const FOLDER_CAP_BYTES = 64 * 1024 * 1024;
const LINK_CAP_BYTES = 4096;

export function treeOfInodes<I extends InodeFacts>(format: string, root: number, inodes: Inodes<I>): ImageTree {
  const walk = new Walk(inodes);
  walk.from(root);
  const { entries, troubles } = walk.found;
  return {
    format,
    entries,
    troubles,
    read(entry, capBytes) {
      const number = walk.numbers.get(entry.path);
      if (number === undefined) throw new Unreadable('it has no inode');
      return inodes.content(inodes.inode(number), capBytes);
    },
    close: () => undefined,
  };
}

class Walk<I extends InodeFacts> {
  readonly #inodes: Inodes<I>;
  readonly found = new EntryCollector();
  /** By path. */
  readonly numbers = new Map<string, number>();
  readonly #folders = new Set<number>();

  constructor(inodes: Inodes<I>) {
    this.#inodes = inodes;
  }

  from(root: number): void {
    const waiting = [{ path: '', number: root }];
    this.#folders.add(root);
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      for (const { path, number } of this.#folder(next.path, next.number)) {
        if (this.#folders.has(number)) this.found.trouble('a folder stands in two places', path);
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
      const path = this.found.pathOf(folder, child.name);
      if (path === undefined) continue;
      try {
        const entry = this.#entry(path, child.number);
        if (!this.found.add(entry)) continue;
        this.numbers.set(path, child.number);
        if (entry.kind === 'folder') folders.push({ path, number: child.number });
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.found.trouble('an inode is damaged', path);
      }
    }
    return folders;
  }

  #entry(path: string, number: number): ImageEntry {
    const inode = this.#inodes.inode(number);
    const kind = KINDS[inode.type] ?? 'other';
    const { mode, uid, gid, sizeBytes } = inode;
    const target = kind === 'link' ? Buffer.from(this.#inodes.content(inode, LINK_CAP_BYTES)).toString('utf8') : '';
    return { path, kind, mode, uid, gid, sizeBytes: kind === 'file' ? sizeBytes : 0, target };
  }

  #names(folder: string, number: number): readonly NamedInode[] {
    try {
      const inode = this.#inodes.inode(number);
      if (inode.sizeBytes > FOLDER_CAP_BYTES) throw new Unreadable('it is too large');
      return this.#inodes.names(inode);
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.found.trouble('a folder is damaged', folder);
      return [];
    }
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof RangeError || error instanceof Unreadable;
}
