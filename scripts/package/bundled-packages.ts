/**
 * What is really in a bundle: esbuild's metafile, read as packages. A package counts when bytes of it are in the file;
 * one that tree shaking left out does not. Names, versions and licences are those of the files that were bundled.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { EXIT, Fault } from '../../platform/fault.ts';

export const Metafile = v.object({
  outputs: v.record(
    v.string(),
    v.object({ bytes: v.number(), inputs: v.record(v.string(), v.object({ bytesInOutput: v.number() })) }),
  ),
});
export type Metafile = v.InferOutput<typeof Metafile>;

const Manifest = v.object({
  name: v.string(),
  version: v.string(),
  license: v.string(),
  dependencies: v.optional(v.record(v.string(), v.string()), {}),
});
const LockFile = v.object({
  packages: v.record(
    v.string(),
    v.object({ version: v.optional(v.string()), integrity: v.optional(v.string()), dev: v.optional(v.boolean()) }),
  ),
});
export type LockFile = v.InferOutput<typeof LockFile>;

export interface BundledPackage {
  /** Folder below the project: `node_modules/mqtt`. */
  readonly folder: string;
  readonly name: string;
  readonly version: string;
  /** SPDX expression, as its package.json says it. */
  readonly license: string;
  readonly licenseText: string;
  /** Of the registry's archive, from the lock file: `sha512-…` in base64. */
  readonly integrity: string;
  readonly bytesInBundle: number;
  /** Names of what it asks for itself. */
  readonly dependencies: readonly string[];
}

/**
 * `node_modules/mqtt/build/lib/client.js` → `node_modules/mqtt`, the innermost one; undefined for our own files. A linked
 * node_modules has its real place before it.
 */
function packageFolder(input: string): string | undefined {
  return /(?:^|\/)(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)/.exec(input)?.[1];
}

/** Bytes by package folder, and of our own files under ''. Node's own modules are names, and count as ours. */
export function bytesByPackage(metafile: Metafile, output: string): ReadonlyMap<string, number> {
  const bytes = new Map<string, number>();
  for (const [input, { bytesInOutput }] of Object.entries(metafile.outputs[output]?.inputs ?? {})) {
    if (bytesInOutput === 0) continue;
    const folder = packageFolder(input) ?? '';
    bytes.set(folder, (bytes.get(folder) ?? 0) + bytesInOutput);
  }
  return bytes;
}

/** Sorted by folder. Throws a Fault for a package that says no licence, or that the lock file does not pin. */
export async function bundledPackages(root: string, metafile: Metafile, output: string): Promise<BundledPackage[]> {
  const lock = await readLockFile(root);
  const found: BundledPackage[] = [];
  for (const [folder, bytesInBundle] of bytesByPackage(metafile, output)) {
    if (folder === '') continue;
    const manifest = v.safeParse(Manifest, JSON.parse(await readFile(join(root, folder, 'package.json'), 'utf8')));
    if (!manifest.success) throw unfit(folder, 'its package.json names no version or no licence');
    const { name, version, license, dependencies } = manifest.output;
    const pinned = lock.packages[folder];
    if (pinned?.integrity === undefined || pinned.version !== version)
      throw unfit(folder, `version ${version} is not what package-lock.json pins`);
    const licenseText = await readLicense(join(root, folder));
    if (licenseText === undefined) throw unfit(folder, 'it brings no text of its licence');
    const { integrity } = pinned;
    found.push({
      folder,
      name,
      version,
      license,
      licenseText,
      integrity,
      bytesInBundle,
      dependencies: Object.keys(dependencies),
    });
  }
  return found.sort((a, b) => (a.folder < b.folder ? -1 : 1));
}

export async function readLockFile(root: string): Promise<LockFile> {
  return v.parse(LockFile, JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
}

async function readLicense(folder: string): Promise<string | undefined> {
  if (!existsSync(folder)) return undefined;
  const name = (await readdir(folder)).sort().find((file) => /^licen[cs]e/i.test(file));
  return name && (await readFile(join(folder, name), 'utf8'));
}

function unfit(folder: string, why: string): Fault {
  return new Fault({
    code: 'package-unfit',
    what: `a package in the bundle cannot be shipped: ${why}`,
    where: folder,
    cure: 'Run npm ci; a package without a licence is not shipped at all.',
    exitStatus: EXIT.input,
  });
}
