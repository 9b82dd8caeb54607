/**
 * A squashfs through its pseudo file (unsquashfs -pf, squashfs-tools 4.5): one line for each path, then the bytes of all
 * files. mksquashfs makes a file system of such a file again, with the owners, modes, times and devices that it names.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rm, stat, truncate } from 'node:fs/promises';
import { EXIT, Fault } from '../../platform/fault.ts';
import { copyRange } from '../device-image/disk.ts';
import { needProgram } from '../programs.ts';
import type { Replacements, RootTree, TreeEntries, TreeEntry } from './root-tree.ts';

const HEADER_CAP_BYTES = 64 * 1024 * 1024;
const START_OF_DATA = '#\n# START OF DATA - DO NOT MODIFY\n#\n';
const PAGE_BYTES = 4096;
/** The first version whose pseudo files hold extended attributes. */
const ATTRIBUTES_SINCE = 4.6;

interface Line {
  readonly path: string;
  /** As in mksquashfs's manual: D, R, S, C, B, I, L; x is an extended attribute. */
  readonly type: string;
  readonly words: readonly string[];
  readonly text: string;
}

interface Format {
  readonly compression: string;
  readonly level: string | undefined;
  readonly blockBytes: string;
}

export class SquashfsTree implements RootTree {
  readonly kind = 'squashfs';
  readonly entries: TreeEntries;
  readonly #pseudo: string;
  readonly #lines: readonly Line[];
  readonly #dataAt: number;
  readonly #format: Format;

  private constructor(pseudo: string, lines: readonly Line[], dataAt: number, format: Format, entries: TreeEntries) {
    this.#pseudo = pseudo;
    this.#lines = lines;
    this.#dataAt = dataAt;
    this.#format = format;
    this.entries = entries;
  }

  /** Unpacks the image beside it, into one file. */
  static async open(image: string): Promise<SquashfsTree> {
    const format = await formatOf(image);
    const pseudo = `${image}.pseudo`;
    await rm(pseudo, { force: true });
    await needProgram('unsquashfs', ['-no-progress', '-pf', pseudo, image]);
    const file = await open(pseudo, 'r');
    try {
      const header = await readHeader(file);
      const lines = header
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .map(lineOf);
      const dataAt = Buffer.byteLength(header, 'latin1') + START_OF_DATA.length;
      return new SquashfsTree(pseudo, lines, dataAt, format, await entriesOf(file, lines, dataAt));
    } finally {
      await file.close();
    }
  }

  async read(path: string, capBytes: number): Promise<Uint8Array> {
    const found = this.#lines.find((line) => line.path === path);
    const line = found?.type === 'L' ? this.#lines.find((other) => other.path === unescaped(found.words[0])) : found;
    if (line?.type !== 'R') throw new Error(`/${path} is not a file`);
    const { sizeBytes, offsetBytes } = dataOf(line);
    if (sizeBytes > capBytes) throw new Error(`/${path} has ${sizeBytes} bytes, ${capBytes} at most are read`);
    const file = await open(this.#pseudo, 'r');
    try {
      const bytes = Buffer.alloc(sizeBytes);
      await file.read(bytes, 0, sizeBytes, this.#dataAt + offsetBytes);
      return bytes;
    } finally {
      await file.close();
    }
  }

  async replace(outFile: string, files: Replacements): Promise<void> {
    const changed = `${outFile}.pseudo`;
    await this.#writePseudo(changed, files);
    try {
      await rm(outFile, { force: true });
      const { compression, level, blockBytes } = this.#format;
      const how = [
        '-comp',
        compression,
        ...(level === undefined ? [] : ['-Xcompression-level', level]),
        '-b',
        blockBytes,
      ];
      const quiet = ['-noappend', '-no-progress', '-quiet', '-reproducible'];
      // mksquashfs refuses a time that is given in two ways.
      const words = ['-u', 'SOURCE_DATE_EPOCH', 'mksquashfs', '-', outFile, '-pf', changed, ...how, ...quiet];
      await needProgram('env', words);
      const { size } = await stat(outFile);
      await truncate(outFile, Math.ceil(size / PAGE_BYTES) * PAGE_BYTES);
    } finally {
      await rm(changed, { force: true });
    }
  }

  async close(): Promise<void> {
    await rm(this.#pseudo, { force: true });
  }

  /** The lines with those of `files` in place of theirs, the bytes as they were, and those of `files` behind them. */
  async #writePseudo(outFile: string, files: Replacements): Promise<void> {
    const from = await open(this.#pseudo, 'r');
    const to = await open(outFile, 'w', 0o600);
    try {
      const dataBytes = (await from.stat()).size - this.#dataAt;
      let offsetBytes = dataBytes;
      let lines = [...this.#lines];
      const placed: Uint8Array[] = [];
      for (const [path, { bytes, mode }] of files) {
        const old = lines.find((line) => line.path === path);
        lines = withoutPath(lines, path);
        const [time = '0', oldMode = '644', uid = '0', gid = '0'] =
          old?.type === 'R' ? old.words : ['0', '644', '0', '0'];
        const words = [time, mode ?? oldMode, uid, gid, String(bytes.length), String(offsetBytes)];
        lines.push(lineOf(`${escaped(path)} R ${[...words, ...this.#sparseWord()].join(' ')}`));
        placed.push(bytes);
        offsetBytes += bytes.length;
      }
      const header = Buffer.from(`${lines.map(({ text }) => text).join('\n')}\n${START_OF_DATA}`, 'latin1');
      await to.write(header, 0, header.length, 0);
      await copyRange(from, this.#dataAt, to, header.length, dataBytes);
      let at = header.length + dataBytes;
      for (const bytes of placed) {
        await to.write(bytes, 0, bytes.length, at);
        at += bytes.length;
      }
    } finally {
      await from.close();
      await to.close();
    }
  }

  /** Newer versions say of each file whether it is sparse. */
  #sparseWord(): string[] {
    const file = this.#lines.find(({ type }) => type === 'R');
    return (file?.words.length ?? 0) > 6 ? ['0'] : [];
  }
}

/** Throws a Fault for what these tools would lose. */
async function formatOf(image: string): Promise<Format> {
  const { stdout } = await needProgram('unsquashfs', ['-s', image]);
  const attributes = Number(/^Number of xattr ids (\d+)$/m.exec(stdout)?.[1] ?? 0);
  if (attributes > 0 && (await toolVersion()) < ATTRIBUTES_SINCE) {
    throw new Fault({
      code: 'squashfs-attributes',
      what: 'the root file system has extended attributes, which these squashfs-tools would lose',
      where: image,
      cure: `Install squashfs-tools ${ATTRIBUTES_SINCE} or newer (Debian 13 has them), or build the image with -no-xattrs.`,
      exitStatus: EXIT.environment,
    });
  }
  return {
    compression: /^Compression (\S+)$/m.exec(stdout)?.[1] ?? 'gzip',
    level: /^\s+compression-level (\d+)$/m.exec(stdout)?.[1],
    blockBytes: /^Block size (\d+)$/m.exec(stdout)?.[1] ?? '131072',
  };
}

async function toolVersion(): Promise<number> {
  const { stdout } = await needProgram('mksquashfs', ['-version']);
  return Number(/^mksquashfs version (\d+\.\d+)/m.exec(stdout)?.[1] ?? 0);
}

/** Everything before the data; latin1, because a path may hold any byte. */
async function readHeader(file: FileHandle): Promise<string> {
  const piece = Buffer.alloc(1024 * 1024);
  let text = '';
  while (text.length < HEADER_CAP_BYTES) {
    const { bytesRead } = await file.read(piece, 0, piece.length, text.length);
    if (bytesRead === 0) break;
    const searchFrom = Math.max(0, text.length - START_OF_DATA.length);
    text += piece.toString('latin1', 0, bytesRead);
    const end = text.indexOf(START_OF_DATA, searchFrom);
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error('unsquashfs wrote no pseudo file as squashfs-tools 4.5 do');
}

function lineOf(text: string): Line {
  const [, name = '', type = '', rest = ''] = /^((?:\\.|[^\\\s])+) (\w) ?(.*)$/.exec(text) ?? [];
  if (type === '') throw new Error(`unsquashfs wrote a line that is not understood: ${text.slice(0, 200)}`);
  return { path: unescaped(name), type, words: rest.split(' '), text };
}

const unescaped = (text = ''): string => text.replaceAll(/\\(.)/g, '$1');
const escaped = (text: string): string => text.replaceAll(/[\\\s"]/g, '\\$&');

function dataOf({ words }: Line): { sizeBytes: number; offsetBytes: number } {
  return { sizeBytes: Number(words[4]), offsetBytes: Number(words[5]) };
}

async function entriesOf(file: FileHandle, lines: readonly Line[], dataAt: number): Promise<TreeEntries> {
  const entries = new Map<string, TreeEntry>();
  for (const line of lines) {
    if (line.path === '/' || line.type === 'L' || line.type === 'x') continue;
    const [, mode = '', uid, gid, ...rest] = line.words;
    const owner = { mode, uid: Number(uid), gid: Number(gid) };
    if (line.type === 'R') {
      const { sizeBytes, offsetBytes } = dataOf(line);
      entries.set(line.path, { kind: 'file', ...owner, what: await hashOf(file, dataAt + offsetBytes, sizeBytes) });
    } else if (line.type === 'D') entries.set(line.path, { kind: 'folder', ...owner, what: '' });
    else if (line.type === 'S') entries.set(line.path, { kind: 'link', ...owner, what: rest.join(' ') });
    else entries.set(line.path, { kind: 'other', ...owner, what: `${line.type} ${rest.join(' ')}` });
  }
  for (const { path, type, words } of lines) {
    const entry = entries.get(unescaped(words.join(' ')));
    if (type === 'L' && entry !== undefined) entries.set(path, entry);
    if (type === 'x') addAttribute(entries, path, words.join(' '));
  }
  return entries;
}

function addAttribute(entries: Map<string, TreeEntry>, path: string, attribute: string): void {
  const entry = entries.get(path);
  if (entry !== undefined) entries.set(path, { ...entry, what: `${entry.what} ${attribute}` });
}

async function hashOf(file: FileHandle, startBytes: number, sizeBytes: number): Promise<string> {
  const hash = createHash('sha256');
  const piece = Buffer.alloc(Math.min(sizeBytes, 1024 * 1024));
  for (let at = 0; at < sizeBytes; ) {
    const { bytesRead } = await file.read(piece, 0, Math.min(piece.length, sizeBytes - at), startBytes + at);
    if (bytesRead === 0) throw new Error('the pseudo file ends in the middle of a file');
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}

/** The other names of a file that goes keep its bytes. */
function withoutPath(lines: readonly Line[], path: string): Line[] {
  const gone = lines.find((line) => line.path === path);
  const kept = lines.filter((line) => line.path !== path);
  if (gone?.type !== 'R') return kept;
  const isName = ({ type, words }: Line): boolean => type === 'L' && unescaped(words.join(' ')) === path;
  const [heir, ...others] = kept.filter(isName);
  if (heir === undefined) return kept;
  const nameOf = ({ text }: Line): string => /^(?:\\.|[^\\\s])+/.exec(text)?.[0] ?? '';
  const promoted = lineOf(`${nameOf(heir)} R ${gone.words.join(' ')}`);
  const linked = others.map((other) => lineOf(`${nameOf(other)} L ${nameOf(heir)}`));
  return [...kept.filter((line) => !isName(line)), promoted, ...linked];
}
