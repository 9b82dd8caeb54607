/**
 * What lies in one file system of an image, whatever keeps it: the port that readers fill and rules ask. Links are followed
 * within the image only; nothing here knows a path of this machine.
 *
 * Invariants: paths have no slash in front, and no `.` or `..` in them; the root is the empty path. Each path stands once:
 * of two entries with one name the first counts, and the second is a trouble that is reported.
 */

export type EntryKind = 'file' | 'folder' | 'link' | 'other';

export interface ImageEntry {
  readonly path: string;
  readonly kind: EntryKind;
  /** Permission bits with set-id and sticky; undefined where the file system has none (FAT). */
  readonly mode: number | undefined;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Where a link leads, as it is written; else empty. */
  readonly target: string;
}

/** A file that is there and cannot be read: damaged, encrypted, or not ours to read. */
export class Unreadable extends Error {}

export interface ImageTree {
  /** `ext4`, `erofs`, `squashfs`, `vfat`, `directory`. */
  readonly format: string;
  /** In an order in which folders come before what is in them. */
  readonly entries: ReadonlyMap<string, ImageEntry>;
  /** Sentences about what is not as a file system has it: names, loops, damage. */
  readonly troubles: readonly string[];
  /** The first `capBytes` bytes of a file. Throws Unreadable. */
  read(entry: ImageEntry, capBytes: number): Uint8Array;
  close(): void;
}

/** Collects entries for a reader; refuses names that would mean another place. */
export class EntryCollector {
  readonly entries = new Map<string, ImageEntry>();
  readonly troubles: string[] = [];

  /** The path of `name` in `folder`; undefined, with a trouble, for a name that no file system allows. */
  pathOf(folder: string, name: string): string | undefined {
    if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
      this.trouble(`a folder has an entry with the name ${JSON.stringify(name)}`, folder);
      return undefined;
    }
    return folder === '' ? name : `${folder}/${name}`;
  }

  /** False, with a trouble, when the path stands already, or there are too many. */
  add(entry: ImageEntry): boolean {
    if (this.entries.has(entry.path)) {
      this.trouble('two entries have the same name; only the first was looked at', entry.path);
      return false;
    }
    if (this.entries.size >= ENTRIES_AT_MOST) throw new Unreadable(`there are more than ${ENTRIES_AT_MOST} entries`);
    this.entries.set(entry.path, entry);
    return true;
  }

  trouble(what: string, path: string): void {
    if (this.troubles.length < TROUBLES_AT_MOST) this.troubles.push(`${what}: /${path}`);
  }
}

const ENTRIES_AT_MOST = 2_000_000;
const TROUBLES_AT_MOST = 100;
const LINKS_AT_MOST = 40;
/** Configuration that is longer is none. */
const TEXT_CAP_BYTES = 1024 * 1024;
const LINE_CAP_CHARACTERS = 8192;

/** A tree with the questions that rules ask. */
export class TreeView {
  readonly tree: ImageTree;
  readonly #names = new Map<string, string[]>();

  constructor(tree: ImageTree) {
    this.tree = tree;
    for (const path of tree.entries.keys()) {
      if (path === '') continue;
      const cut = path.lastIndexOf('/');
      const folder = cut < 0 ? '' : path.slice(0, cut);
      const names = this.#names.get(folder);
      if (names === undefined) this.#names.set(folder, [path.slice(cut + 1)]);
      else names.push(path.slice(cut + 1));
    }
  }

  /** The entry itself, no link followed in its last part. */
  entry(path: string): ImageEntry | undefined {
    const plain = path.replace(/^\/+/, '');
    const cut = plain.lastIndexOf('/');
    const folder = this.resolve(plain.slice(0, Math.max(0, cut)));
    if (folder === undefined) return undefined;
    const name = plain.slice(cut + 1);
    return this.tree.entries.get(folder.path === '' ? name : `${folder.path}/${name}`);
  }

  /** What a path leads to in this image, links followed as the device would; undefined: nowhere, or round in a circle. */
  resolve(path: string): ImageEntry | undefined {
    let links = 0;
    let at = '';
    const rest = partsOf(path).reverse();
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      if (part === '..') {
        at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
        continue;
      }
      const next = at === '' ? part : `${at}/${part}`;
      const entry = this.tree.entries.get(next);
      if (entry === undefined) return undefined;
      if (entry.kind !== 'link') {
        at = next;
        continue;
      }
      links += 1;
      if (links > LINKS_AT_MOST) return undefined;
      if (entry.target.startsWith('/')) at = '';
      rest.push(...partsOf(entry.target).reverse());
    }
    return this.tree.entries.get(at) ?? (at === '' ? ROOT : undefined);
  }

  /** Names in a folder, sorted; none where there is no folder. */
  names(path: string): readonly string[] {
    const folder = this.resolve(path);
    return folder === undefined ? [] : [...(this.#names.get(folder.path) ?? [])].sort();
  }

  /** Entries right below a folder, links not followed. */
  children(path: string): readonly ImageEntry[] {
    const folder = this.resolve(path)?.path;
    return this.names(path).flatMap((name) => {
      const entry = this.tree.entries.get(folder === '' ? name : `${folder}/${name}`);
      return entry === undefined ? [] : [entry];
    });
  }

  /** A configuration file's text, links followed; undefined where there is no such file, or none that can be read. */
  text(path: string): string | undefined {
    const entry = this.resolve(path);
    if (entry?.kind !== 'file') return undefined;
    try {
      return Buffer.from(this.tree.read(entry, TEXT_CAP_BYTES)).toString('utf8');
    } catch (error) {
      // The pass over all files reports it, once.
      if (error instanceof Unreadable) return undefined;
      throw error;
    }
  }

  lines(path: string): readonly string[] {
    return linesOf(this.text(path) ?? '');
  }

  files(): readonly ImageEntry[] {
    return [...this.tree.entries.values()].filter(({ kind }) => kind === 'file');
  }
}

/** Lines, each cut to what a line of a configuration may have: rules match them, and a hostile one must not take hours. */
export function linesOf(text: string): string[] {
  return text.split(/\r?\n/).map((line) => line.slice(0, LINE_CAP_CHARACTERS));
}

const ROOT: ImageEntry = { path: '', kind: 'folder', mode: undefined, uid: 0, gid: 0, sizeBytes: 0, target: '' };

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}
