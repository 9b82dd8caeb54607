/**
 * What lies in a finished root file system, whatever it is kept in, and the same file system with some files replaced.
 * No mount and no root rights: owners, modes and devices never become files of this machine.
 */
import { dirname, join } from 'node:path';

export interface TreeEntry {
  readonly kind: 'file' | 'folder' | 'link' | 'other';
  /** Permission bits, octal, without the file's kind. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  /** Of a file its SHA-256, of a link where it leads, of anything else what tells it from others. */
  readonly what: string;
}

/** By path, without a slash in front; the root itself is not in it. */
export type TreeEntries = ReadonlyMap<string, TreeEntry>;

export interface NewFile {
  readonly bytes: Uint8Array;
  /** Octal; else as the file has it that is replaced, or 644. */
  readonly mode?: string;
}

/** By path. What stands there, a link too, is replaced; the folder must exist. */
export type Replacements = ReadonlyMap<string, NewFile>;

export interface RootTree {
  readonly kind: 'squashfs' | 'ext4';
  readonly entries: TreeEntries;
  /** A file's bytes. Throws when it is none, or longer than the cap. */
  read(path: string, capBytes: number): Promise<Uint8Array>;
  /** The same file system with these files; its length is a multiple of 4096. */
  replace(outFile: string, files: Replacements): Promise<void>;
  /** Removes what this machine keeps of it. */
  close(): Promise<void>;
}

const LINKS_AT_MOST = 40;

/** Where a path leads in this tree, links followed as the device would; undefined: nowhere. */
export function resolveIn(entries: TreeEntries, path: string): string | undefined {
  let links = 0;
  let done = '';
  let rest = path.split('/').filter((part) => part !== '');
  while (rest.length > 0) {
    const [part = '', ...after] = rest;
    rest = after;
    if (part === '.') continue;
    if (part === '..') {
      done = done.includes('/') ? dirname(done) : '';
      continue;
    }
    const next = done === '' ? part : join(done, part);
    const entry = entries.get(next);
    if (entry === undefined) return undefined;
    if (entry.kind === 'link') {
      links += 1;
      if (links > LINKS_AT_MOST) return undefined;
      if (entry.what.startsWith('/')) done = '';
      rest = [...entry.what.split('/').filter((one) => one !== ''), ...rest];
    } else done = next;
  }
  return done;
}

/** Like `resolveIn`, but a link at the end is not followed: what replacing the path replaces. */
export function placeIn(entries: TreeEntries, path: string): string | undefined {
  const plain = path.replace(/^\/+/, '');
  const folder = dirname(plain) === '.' ? '' : resolveIn(entries, dirname(plain));
  if (folder === undefined) return undefined;
  return join(folder, plain.slice(plain.lastIndexOf('/') + 1));
}

/** The paths at which two trees differ in anything, in order. */
export function differences(before: TreeEntries, after: TreeEntries): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].filter((path) => !same(before.get(path), after.get(path))).sort();
}

/** Throws when anything differs but the paths of `files`. */
export function demandOnly(before: TreeEntries, after: TreeEntries, files: Replacements): void {
  const stray = differences(before, after).filter((path) => !files.has(path));
  if (stray.length === 0) return;
  throw new Error(`these differ too: ${stray.slice(0, 5).join(', ')}`);
}

function same(left: TreeEntry | undefined, right: TreeEntry | undefined): boolean {
  if (left === undefined || right === undefined) return false;
  const facts = ({ kind, mode, uid, gid, what }: TreeEntry): string => JSON.stringify([kind, mode, uid, gid, what]);
  return facts(left) === facts(right);
}
