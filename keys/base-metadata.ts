/**
 * The metadata that a release builds upon: a chain of roots and the current targets. Read from a folder (a ceremony's
 * `public/`, a server's `metadata/`, a release's own `metadata/`) and verified from the first root to the last.
 */
import { join } from 'node:path';
import { nodeDisk } from '../platform/disk.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { readInputFile } from '../platform/input-file.ts';
import { equalBytes, type Verified } from '../trust/bytes.ts';
import type { Refusal } from '../trust/refusal.ts';
import { METADATA_CAP_BYTES, type Root, type Targets } from '../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifyNextRoot, verifySigned } from '../trust/tuf/repository.ts';

export interface RootFile {
  readonly version: number;
  readonly bytes: Uint8Array;
}

export interface BaseMetadata {
  readonly root: Verified<Root>;
  /** Every root file of the chain, oldest first. */
  readonly roots: readonly RootFile[];
  readonly targets: Verified<Targets>;
  readonly targetsBytes: Uint8Array;
}

/** A refusal of trust/ as a person meets it. */
export function faultOfRefusal(refusal: Refusal, where: string, cure: string): Fault {
  return new Fault({ code: refusal.code, what: refusal.detail, where, cure, exitStatus: EXIT.refused });
}

const STRANGE_METADATA = 'Do not build on it. Get the metadata again from the ceremony or from your own server.';

function versionsIn(names: readonly string[], role: 'root' | 'targets'): number[] {
  const pattern = new RegExp(`^([1-9]\\d{0,9})\\.${role}\\.json$`);
  return names
    .map((name) => Number(pattern.exec(name)?.[1] ?? Number.NaN))
    .filter((version) => !Number.isNaN(version))
    .sort((a, b) => a - b);
}

/** Verifies root by root. Faults carry trust/'s refusal code. */
export function verifyRootChain(files: readonly RootFile[], where: string): Verified<Root> {
  let root: Verified<Root> | undefined;
  for (const { bytes } of files) {
    const verdict = root === undefined ? verifyInitialRoot(bytes) : verifyNextRoot(root, bytes);
    if (!verdict.ok) throw faultOfRefusal(verdict, where, STRANGE_METADATA);
    root = verdict.value;
  }
  if (root !== undefined) return root;
  throw new Fault({
    code: 'metadata-missing',
    what: 'there is no root metadata (N.root.json) in the folder',
    where,
    cure: 'Give the public folder of the ceremony, or use --server.',
    exitStatus: EXIT.input,
  });
}

/** Newest targets in the folder: `targets.json` in a release folder, else the highest `N.targets.json`. */
async function readTargets(directory: string, names: readonly string[]): Promise<{ path: string; bytes: Uint8Array }> {
  const newest = versionsIn(names, 'targets').at(-1);
  const path = join(directory, newest === undefined ? 'targets.json' : `${newest}.targets.json`);
  return { path, bytes: await readInputFile(path, METADATA_CAP_BYTES.targets, 'signed targets metadata') };
}

/** Every `N.root.json` of a folder, verified from the first to the last. */
export async function readRootChain(directory: string): Promise<Pick<BaseMetadata, 'root' | 'roots'>> {
  const roots: RootFile[] = [];
  for (const version of versionsIn(await nodeDisk.list(directory), 'root')) {
    const path = join(directory, `${version}.root.json`);
    roots.push({ version, bytes: await readInputFile(path, METADATA_CAP_BYTES.root, 'signed root metadata') });
  }
  return { root: verifyRootChain(roots, directory), roots };
}

export async function readBaseMetadata(directory: string): Promise<BaseMetadata> {
  const { root, roots } = await readRootChain(directory);
  const { path, bytes } = await readTargets(directory, await nodeDisk.list(directory));
  return verifiedBase(root, roots, bytes, path);
}

/** A base from its parts, wherever they came from. */
export function verifiedBase(
  root: Verified<Root>,
  roots: BaseMetadata['roots'],
  targetsBytes: Uint8Array,
  where: string,
): BaseMetadata {
  const targets = verifySigned(root, 'targets', targetsBytes);
  if (!targets.ok) throw faultOfRefusal(targets, where, STRANGE_METADATA);
  return { root, roots, targets: targets.value, targetsBytes };
}

/**
 * The chain must contain the root that the signer trusts: a release folder that brings its own root would otherwise
 * have its own ideas of what stands in the current targets. Fault `root-not-trusted`.
 */
export function demandAnchor(base: BaseMetadata, anchor: Uint8Array, anchorPath: string): void {
  if (base.roots.some(({ bytes }) => equalBytes(bytes, anchor))) return;
  throw new Fault({
    code: 'root-not-trusted',
    what: 'the release was built under another root than the one you trust',
    where: anchorPath,
    cure: 'Do not sign it. Build the release on the metadata of your own ceremony or server.',
    exitStatus: EXIT.refused,
  });
}
