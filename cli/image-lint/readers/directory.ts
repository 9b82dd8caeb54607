/**
 * A root file system unpacked in a folder of this machine. Links are read and never followed, and a file is opened only
 * where it is one: nothing outside of the folder is read.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../../platform/fault.ts';
import { EntryCollector, type EntryKind, type ImageEntry, type ImageTree, Unreadable } from '../tree.ts';

export function readDirectory(root: string): ImageTree {
  const found = new EntryCollector();
  const waiting = [''];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for (const name of namesIn(join(root, folder), folder, found)) {
      const path = found.pathOf(folder, name);
      if (path === undefined) continue;
      const entry = entryAt(root, path, found);
      if (entry === undefined) continue;
      if (found.add(entry) && entry.kind === 'folder') waiting.push(path);
    }
  }
  return {
    format: 'directory',
    entries: found.entries,
    troubles: found.troubles,
    read: (entry, capBytes) => readOf(join(root, entry.path), capBytes),
    close: () => undefined,
  };
}

function namesIn(place: string, folder: string, found: EntryCollector): string[] {
  try {
    return readdirSync(place).sort();
  } catch (error) {
    found.trouble(`a folder cannot be read (${errorText(error)})`, folder);
    return [];
  }
}

/** undefined, with a trouble: it went away, or its name is no UTF-8 and names nothing. */
function entryAt(root: string, path: string, found: EntryCollector): ImageEntry | undefined {
  const place = join(root, path);
  const facts = lstatSync(place, { throwIfNoEntry: false });
  if (facts === undefined) {
    found.trouble('an entry cannot be read (its name is no UTF-8, or it went away)', path);
    return undefined;
  }
  const kind: EntryKind = facts.isFile()
    ? 'file'
    : facts.isDirectory()
      ? 'folder'
      : facts.isSymbolicLink()
        ? 'link'
        : 'other';
  const target = kind === 'link' ? readlinkSync(place) : '';
  const { uid, gid, size } = facts;
  return { path, kind, mode: facts.mode & 0o7777, uid, gid, sizeBytes: kind === 'file' ? size : 0, target };
}

function readOf(place: string, capBytes: number): Uint8Array {
  let file: number;
  try {
    file = openSync(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw new Unreadable(errorText(error), { cause: error });
  }
  try {
    const bytes = Buffer.alloc(Math.min(fstatSync(file).size, capBytes));
    let at = 0;
    while (at < bytes.length) {
      const got = readSync(file, bytes, at, bytes.length - at, at);
      if (got === 0) break;
      at += got;
    }
    return bytes.subarray(0, at);
  } catch (error) {
    throw new Unreadable(errorText(error), { cause: error });
  } finally {
    closeSync(file);
  }
}
