/**
 * A root file system for each release: the files that all releases of a userspace have, and those of this one.
 *
 * Invariant: the same files and version give the same bytes, whenever and by whomever they are made.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { IMAGE_TIME_UNIX_S } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';
import { AGENT_BUNDLE, type DeviceBase } from './device-base.ts';
import { quoted } from './owners.ts';

/** What a slot is written in, and read past the page cache. */
const PAGE_BYTES = 4096;

export interface RootRequest {
  readonly base: DeviceBase;
  readonly version: string;
  /** For the lab: what this release does instead of working, '' for nothing (small/rcS, debian/lab/, product/10-app). */
  readonly fault?: string;
  /** agent.json, root.json, server-ca.pem: into /etc/holdfast. */
  readonly factory: readonly string[];
  /** Other files of this release, by their path in the image; none that the tree has. Programs stay programs, and secrets secret. */
  readonly files?: Readonly<Record<string, string>>;
  /** Paths of the tree that this release has not, or has in `files`. */
  readonly without?: readonly string[];
  readonly outFile: string;
}

/** A root file system; its length is a multiple of 4096. */
export async function makeRootImage(request: RootRequest): Promise<void> {
  const { base, outFile, version, fault, factory, files = {}, without = [] } = request;
  const work = `${outFile}.work`;
  await rm(work, { recursive: true, force: true });
  await rm(outFile, { force: true });
  await mkdir(work, { recursive: true });
  await mkdir(dirname(outFile), { recursive: true });
  await writeFile(join(work, 'version'), `${version}\n`);
  await writeFile(join(work, 'fault'), `${fault}\n`);
  const lab = fault === undefined ? {} : { 'etc/fault': join(work, 'fault'), ...(await base.userspace.labFiles()) };
  const placed: Record<string, string> = {
    'etc/version': join(work, 'version'),
    [AGENT_BUNDLE]: base.agentBundle,
    ...Object.fromEntries(factory.map((path) => [`etc/holdfast/${path.slice(path.lastIndexOf('/') + 1)}`, path])),
    ...lab,
    ...files,
  };
  const hasOwners = existsSync(base.ownersFile);
  // Of a pseudo file mksquashfs takes the text that a command prints.
  const lines: string[] = newFolders(base.tree, Object.keys(placed)).map((path) => `${quoted(path)} d 755 0 0`);
  for (const [path, source] of Object.entries(placed)) {
    lines.push(`${quoted(path)} f ${modeOf((await stat(source)).mode)} 0 0 cat '${source}'`);
  }
  if (hasOwners) lines.push(ownersBut(await readFile(base.ownersFile, 'utf8'), without));
  await writeFile(join(work, 'pseudo'), `${lines.join('\n')}\n`);
  const owners = hasOwners ? ['-root-uid', '0', '-root-gid', '0', '-root-mode', '755'] : ['-all-root'];
  const same = [
    ...owners,
    '-no-xattrs',
    '-all-time',
    String(IMAGE_TIME_UNIX_S),
    '-mkfs-time',
    String(IMAGE_TIME_UNIX_S),
  ];
  const how = ['-comp', 'zstd', '-Xcompression-level', '5', '-noappend', '-no-progress', '-quiet', '-reproducible'];
  // mksquashfs refuses a time that is given in two ways.
  const words = ['-u', 'SOURCE_DATE_EPOCH', 'mksquashfs', base.tree, outFile, ...how, ...same];
  const left = without.length === 0 ? [] : ['-e', ...without];
  await needProgram('env', [...words, '-pf', join(work, 'pseudo'), ...left]);
  const { size } = await stat(outFile);
  await truncate(outFile, Math.ceil(size / PAGE_BYTES) * PAGE_BYTES);
  await rm(work, { recursive: true });
}

function modeOf(mode: number): string {
  if ((mode & 0o077) === 0) return '600';
  return (mode & 0o100) === 0 ? '644' : '755';
}

function ownersBut(owners: string, without: readonly string[]): string {
  const gone = new Set(without.map((path) => `${quoted(path)} m`));
  const isThere = (line: string): boolean => !gone.has(line.slice(0, line.indexOf(' m ') + 2));
  return owners.split('\n').filter(isThere).join('\n');
}

/** Folders that the tree lacks for these paths, each before what lies in it. */
function newFolders(tree: string, paths: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    const names = path.split('/').slice(0, -1);
    for (let length = 1; length <= names.length; length += 1) folders.add(names.slice(0, length).join('/'));
  }
  return [...folders].filter((path) => !existsSync(join(tree, path))).sort();
}
