/**
 * The storage code on a real ext4 and a real FAT, under strace: its system calls are the operations that the simulated
 * disk counts for the same walk, in order, with lengths, offsets and what goes past the cache.
 *
 * Needs strace, root and a loop device; says so, loudly, where it cannot run.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { walk } from './crash-everywhere/storage-walk.ts';
import { SimulatedDisk } from './simulated-disk.ts';

const SYSTEM = { env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` } };
const IMAGE_BYTES = 64 * 1024 * 1024;
const WALK = join(import.meta.dirname, 'crash-everywhere/storage-walk.ts');
const TRACED =
  'openat,pwrite64,write,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,close';
const FILE_SYSTEMS = { ext4: ['mkfs.ext4', '-q', '-F'], vfat: ['mkfs.fat'] } as const;

function has(program: string, option: string): boolean {
  return spawnSync(program, [option], SYSTEM).error === undefined;
}

/** What is missing here; empty when the test can run. strace is installed where this is root on a Debian. */
function missing(): string {
  if (process.getuid?.() !== 0) return 'root, to mount an image';
  if (!has('strace', '-V')) {
    spawnSync('apt-get', ['install', '-y', '--no-install-recommends', 'strace'], { ...SYSTEM, stdio: 'ignore' });
  }
  if (!has('strace', '-V')) return 'strace';
  const probe = spawnSync('losetup', ['-f'], SYSTEM);
  return probe.status === 0 ? '' : 'a free loop device';
}

/** Why this kind cannot be looked at here; empty when it can. */
function whyNot(kind: keyof typeof FILE_SYSTEMS): string {
  const lacks = missing();
  if (lacks !== '') return lacks;
  spawnSync('modprobe', [kind], SYSTEM);
  return new RegExp(`\\b${kind}$`, 'm').test(readFileSync('/proc/filesystems', 'utf8')) ? '' : `${kind} in this kernel`;
}

/** The operations of the walk, as the simulated disk counts them. */
async function simulated(): Promise<string[]> {
  const disk = new SimulatedDisk();
  await disk.makeDirectory('/walk');
  const operations: string[] = [];
  disk.afterOperation = ({ text }) => operations.push(text);
  await walk(disk, '/walk');
  return operations.map((text) => text.replace(/ \/walk$/, ' /').replaceAll('/walk', ''));
}

interface OpenFile {
  readonly path: string;
  readonly direct: boolean;
}

/** The same words for what strace saw beneath `folder`. */
function operationsIn(trace: string, folder: string): string[] {
  const open = new Map<string, OpenFile>();
  const operations: string[] = [];
  const inside = (path: string | undefined): string | undefined =>
    path?.startsWith(folder) ? path.slice(folder.length) || '/' : undefined;
  for (const line of whole(trace)) {
    const call = /^(\w+)\((.*)\)\s+= (-?\d+)/.exec(line);
    if (call === null) continue;
    const [, name = '', words = '', result = ''] = call;
    if (result.startsWith('-')) continue;
    const [path, other] = [...words.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((found) => inside(found[1]));
    const descriptor = /^\d+/.exec(words)?.[0] ?? '';
    const file = open.get(descriptor);
    if (name === 'openat') {
      open.delete(result);
      if (path === undefined) continue;
      const direct = words.includes('O_DIRECT') && !words.includes('O_DIRECTORY');
      open.set(result, { path, direct });
      if (words.includes('O_CREAT')) operations.push(`create ${path}`);
      if (words.includes('O_DIRECTORY')) open.set(result, { path: `dir ${path}`, direct });
    } else if (name === 'close') open.delete(descriptor);
    else if (name.startsWith('rename') && path !== undefined) operations.push(`rename ${path} ${other}`);
    else if (name.startsWith('unlink') && path !== undefined) operations.push(`remove ${path}`);
    else if (name.startsWith('mkdir') && path !== undefined) operations.push(`mkdir ${path}`);
    else if (file === undefined) continue;
    else if (name === 'pwrite64') {
      const offset = /(\d+)$/.exec(words)?.[1];
      operations.push(`write ${file.path} ${result}@${offset}${file.direct ? ' direct' : ''}`);
    } else if (name === 'ftruncate') operations.push(`truncate ${file.path} ${/(\d+)$/.exec(words)?.[1]}`);
    else if (name === 'fsync' && file.path.startsWith('dir ')) operations.push(`syncdir ${file.path.slice(4)}`);
    else if (name === 'fsync') operations.push(`sync ${file.path}`);
    else operations.push(`unexpected: ${line}`);
  }
  return operations;
}

/** Calls of several threads: those that strace shows in two parts are joined where they end. */
function whole(trace: string): string[] {
  const begun = new Map<string, string>();
  return trace.split('\n').flatMap((line) => {
    const [, thread = '', rest = ''] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    const unfinished = /^(.*) <unfinished \.\.\.>$/.exec(rest)?.[1];
    if (unfinished !== undefined) {
      begun.set(thread, unfinished);
      return [];
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)?.[1];
    return [resumed === undefined ? rest : `${begun.get(thread) ?? ''}${resumed}`];
  });
}

function traceOn(kind: keyof typeof FILE_SYSTEMS): string[] {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-real-disk-'));
  const [image, mount, log] = [join(place, 'image'), join(place, 'mount'), join(place, 'trace')];
  const [program, ...options] = FILE_SYSTEMS[kind];
  writeFileSync(image, '');
  truncateSync(image, IMAGE_BYTES);
  execFileSync(program, [...options, image], { ...SYSTEM, stdio: 'ignore' });
  mkdirSync(mount);
  execFileSync('mount', ['-o', 'loop', '-t', kind, image, mount], SYSTEM);
  try {
    const folder = join(mount, 'walk');
    mkdirSync(folder);
    execFileSync(
      'strace',
      ['-f', '-s', '0', '-e', `trace=${TRACED}`, '-e', 'signal=none', '-o', log, '--', process.execPath, WALK, folder],
      SYSTEM,
    );
    return operationsIn(readFileSync(log, 'utf8'), folder);
  } finally {
    execFileSync('umount', [mount], SYSTEM);
    rmSync(place, { recursive: true });
  }
}

describe('the simulated disk against a real one', () => {
  for (const kind of ['ext4', 'vfat'] as const) {
    const lacks = whyNot(kind);
    if (lacks !== '')
      console.error(`NOT RUN: the trace of a real ${kind} against the simulated disk; there is no ${lacks}`);
    it.skipIf(lacks !== '')(`counts what the storage code asks of ${kind}, in order`, async () => {
      const expected = await simulated();
      expect(expected.length).toBeGreaterThan(60);
      expect(traceOn(kind)).toEqual(expected);
    });
  }
});
