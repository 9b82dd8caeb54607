/**
 * A root file system for each release: the files that all releases of a userspace have, and those of this one.
 *
 * Invariant: the same files and version give the same bytes, whenever and by whomever they are made.
 */
import { mkdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { IMAGE_TIME_UNIX_S } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';
import { AGENT_BUNDLE, type DeviceBase } from './device-base.ts';

/** What a slot is written in, and read past the page cache. */
const PAGE_BYTES = 4096;

export interface RootRequest {
  readonly base: DeviceBase;
  readonly version: string;
  /** What this release does instead of working: see small/rcS and small/10-app. */
  readonly fault: string;
  /** agent.json, root.json, server-ca.pem: into /etc/holdfast. */
  readonly factory: readonly string[];
  /** Other files of this release, by their path in the image; none that the tree has. */
  readonly files?: Readonly<Record<string, string>>;
  readonly outFile: string;
}

/** A root file system; its length is a multiple of 4096. */
export async function makeRootImage(request: RootRequest): Promise<void> {
  const { base, outFile, version, fault, factory, files = {} } = request;
  const work = `${outFile}.work`;
  await rm(work, { recursive: true, force: true });
  await rm(outFile, { force: true });
  await mkdir(work, { recursive: true });
  await mkdir(dirname(outFile), { recursive: true });
  await writeFile(join(work, 'version'), `${version}\n`);
  await writeFile(join(work, 'fault'), `${fault}\n`);
  const placed: Record<string, string> = {
    'etc/version': join(work, 'version'),
    'etc/fault': join(work, 'fault'),
    [AGENT_BUNDLE]: base.agentBundle,
    ...Object.fromEntries(factory.map((path) => [`etc/holdfast/${path.slice(path.lastIndexOf('/') + 1)}`, path])),
    ...files,
  };
  // Of a pseudo file mksquashfs takes the text that a command prints.
  const lines = Object.entries(placed).map(([path, source]) => `${path} f 644 0 0 cat '${source}'`);
  await writeFile(join(work, 'pseudo'), `${lines.join('\n')}\n`);
  const same = ['-all-root', '-all-time', String(IMAGE_TIME_UNIX_S), '-mkfs-time', String(IMAGE_TIME_UNIX_S)];
  const how = ['-comp', 'zstd', '-Xcompression-level', '5', '-noappend', '-no-progress', '-quiet', '-reproducible'];
  // mksquashfs refuses a time that is given in two ways.
  const words = ['-u', 'SOURCE_DATE_EPOCH', 'mksquashfs', base.tree, outFile, ...how, ...same];
  await needProgram('env', [...words, '-pf', join(work, 'pseudo')]);
  const { size } = await stat(outFile);
  await truncate(outFile, Math.ceil(size / PAGE_BYTES) * PAGE_BYTES);
  await rm(work, { recursive: true });
}
