/**
 * A squashfs of any compressor, through `unsquashfs -pf` (squashfs-tools 4.5): one line for each path, then the bytes of
 * all files, in one file of a folder of its own. No path of the image ever becomes a path of this machine, and owners,
 * modes and devices are read as text. The program has a time limit, and what it may write is capped.
 *
 * A name with a line break can forge lines. It can only point into the same image; of two lines for one path the first
 * counts, and both are reported.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT, Fault, systemErrorCode } from '../../../platform/fault.ts';
import type { ByteSource } from '../byte-source.ts';
import { EntryCollector, type EntryKind, type ImageEntry, type ImageTree, Unreadable } from '../tree.ts';

const MAGIC = 0x73717368;
const TIME_LIMIT_MS = 30 * 60_000;
/** Of everything unpacked. In blocks of 512 bytes for `ulimit -f`. */
const UNPACKED_CAP_BYTES = 32 * 1024 ** 3;
const HEADER_CAP_BYTES = 256 * 1024 * 1024;
const START_OF_DATA = '#\n# START OF DATA - DO NOT MODIFY\n#\n';
const KINDS: Readonly<Record<string, EntryKind>> = { D: 'folder', R: 'file', S: 'link' };

export function isSquashfs(source: ByteSource): boolean {
  return source.sizeBytes > 96 && source.read(0, 4).readUInt32LE(0) === MAGIC;
}

/** Throws Unreadable, and a Fault when the program is missing. */
export function readSquashfs(source: ByteSource): ImageTree {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-lint-'));
  try {
    const pseudo = join(folder, 'pseudo');
    unpack(source, pseudo);
    const file = openSync(pseudo, 'r');
    return treeOf(file, () => {
      closeSync(file);
      rmSync(folder, { recursive: true, force: true });
    });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function unpack(source: ByteSource, pseudo: string): void {
  const limits = `ulimit -c 0; ulimit -f ${UNPACKED_CAP_BYTES / 512}; umask 077; exec "$@"`;
  const words = ['unsquashfs', '-no-progress', '-o', String(source.startBytes), '-pf', pseudo, source.path];
  const ended = spawnSync('sh', ['-c', limits, 'sh', ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: TIME_LIMIT_MS,
    killSignal: 'SIGKILL',
    maxBuffer: 1024 * 1024,
  });
  if (ended.status === 127 || systemErrorCode(ended.error) === 'ENOENT') throw programMissing();
  if (ended.status === 0) return;
  const said = (ended.stderr ?? '').toString().trim().split('\n').at(-1) ?? '';
  throw new Unreadable(`unsquashfs ended with ${ended.status ?? ended.signal}: ${said.slice(0, 200)}`);
}

function programMissing(): Fault {
  return new Fault({
    code: 'program-missing',
    what: 'the program unsquashfs is not installed, and the image has a squashfs',
    cure: 'Install squashfs-tools 4.5 or newer (Debian: apt-get install squashfs-tools).',
    exitStatus: EXIT.environment,
  });
}

interface Place {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

function treeOf(file: number, close: () => void): ImageTree {
  const header = readHeader(file);
  const dataAt = header.length + START_OF_DATA.length;
  const endBytes = fstatSync(file).size;
  const found = new EntryCollector();
  const places = new Map<string, Place>();
  for (const line of header.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (!takeLine(line, found, places)) found.trouble('a name has a line break', printableLine(line));
  }
  return {
    format: 'squashfs',
    entries: found.entries,
    troubles: found.troubles,
    read(entry, capBytes) {
      const place = places.get(entry.path);
      if (place === undefined) throw new Unreadable('it has no bytes');
      const from = dataAt + place.offsetBytes;
      if (from + place.sizeBytes > endBytes) throw new Unreadable('it ends in the middle');
      const bytes = Buffer.alloc(Math.min(place.sizeBytes, capBytes));
      const got = readSync(file, bytes, 0, bytes.length, from);
      if (got < bytes.length) throw new Unreadable('it ends in the middle');
      return bytes;
    },
    close,
  };
}

/** Everything before the bytes; latin1, so that a character is a byte. */
function readHeader(file: number): string {
  const piece = Buffer.alloc(1024 * 1024);
  let text = '';
  while (text.length < HEADER_CAP_BYTES) {
    const got = readSync(file, piece, 0, piece.length, text.length);
    if (got === 0) break;
    const searchFrom = Math.max(0, text.length - START_OF_DATA.length);
    text += piece.toString('latin1', 0, got);
    const end = text.indexOf(START_OF_DATA, searchFrom);
    if (end >= 0) return text.slice(0, end);
  }
  throw new Unreadable('unsquashfs wrote no pseudo file as squashfs-tools 4.5 do');
}

/** False for a line that is none. */
function takeLine(line: string, found: EntryCollector, places: Map<string, Place>): boolean {
  const [, name = '', type = '', rest = ''] = /^((?:\\.|[^\\\s])+) ([DRSCBIFLx]) ?(.*)$/.exec(line) ?? [];
  if (type === '') return false;
  if (type === 'x') return true;
  const path = pathOf(name, found);
  if (path === undefined) return true;
  if (type === 'L') {
    takeHardLink(path, pathOf(rest, found) ?? '', found, places);
    return true;
  }
  const [, mode = '', uid = '', gid = '', ...words] = rest.split(' ');
  const kind = KINDS[type] ?? 'other';
  const entry: ImageEntry = {
    path,
    kind,
    mode: Number.parseInt(mode, 8) & 0o7777,
    uid: Number(uid),
    gid: Number(gid),
    sizeBytes: kind === 'file' ? Number(words[0]) : 0,
    target: kind === 'link' ? utf8(words.join(' ')) : '',
  };
  const numbers = [entry.mode, entry.uid, entry.gid, entry.sizeBytes, kind === 'file' ? Number(words[1]) : 0];
  if (!numbers.every((number) => Number.isSafeInteger(number) && (number ?? 0) >= 0)) return false;
  if (!found.add(entry)) return true;
  if (kind === 'file') places.set(path, { sizeBytes: entry.sizeBytes, offsetBytes: Number(words[1]) });
  return true;
}

function takeHardLink(path: string, to: string, found: EntryCollector, places: Map<string, Place>): void {
  const entry = found.entries.get(to);
  const place = places.get(to);
  if (entry === undefined) found.trouble('a hard link leads nowhere', path);
  else if (found.add({ ...entry, path }) && place !== undefined) places.set(path, place);
}

/** Part by part, as names; `/` is the root. */
function pathOf(escaped: string, found: EntryCollector): string | undefined {
  const plain = utf8(escaped.replaceAll(/\\(.)/g, '$1'));
  if (plain === '/') return '';
  let path = '';
  for (const part of plain.split('/')) {
    const next = found.pathOf(path, part);
    if (next === undefined) return undefined;
    path = next;
  }
  return path;
}

const utf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8');
const printableLine = (line: string): string => utf8(line).slice(0, 120);
