/**
 * What stands in the metadata folder at start, verified again: a damaged or foreign file is found here, once, and not by
 * a whole fleet. Roots are followed from 1 on; the targets are the newest that verify under the newest root.
 */
import { EXIT, Fault } from '../../platform/fault.ts';
import type { Verified } from '../../trust/bytes.ts';
import type { Root, Snapshot, Targets, Timestamp } from '../../trust/tuf/metadata.ts';
import { verifyInitialRoot, verifyNextRoot, verifySigned } from '../../trust/tuf/repository.ts';
import type { MetadataFolder } from './metadata-folder.ts';

/** What people signed: the root that rules, and the targets that are published. */
export interface SignedParts {
  readonly root: Verified<Root>;
  readonly targets: Verified<Targets>;
  /** Exactly as signed. */
  readonly targetsBytes: Uint8Array;
}

export interface LoadedRepository {
  readonly parts: SignedParts;
  /** Of the timestamp that is served; undefined before the first, and after a cut in the middle of a publication. */
  readonly snapshot: Verified<Snapshot> | undefined;
  readonly timestamp: Verified<Timestamp> | undefined;
  /** 0 when there is none: also one that no timestamp names was perhaps seen. */
  readonly newestSnapshotVersion: number;
}

export function repositoryCorrupt(what: string, where: string): Fault {
  return new Fault({
    code: 'repository-corrupt',
    what,
    where,
    cure: 'Put the metadata folder back from a backup; every file in it is public and signed, so any copy will do.',
    exitStatus: EXIT.corrupt,
  });
}

/** Fault `repository-corrupt` when there is no chain of roots or no targets that verify. */
export async function loadRepository(folder: MetadataFolder): Promise<LoadedRepository> {
  const root = await loadRoot(folder);
  const parts = await loadTargets(folder, root);
  const timestampBytes = await folder.read('timestamp.json');
  const timestamp = timestampBytes === undefined ? undefined : verifySigned(root, 'timestamp', timestampBytes);
  const named = timestamp?.ok === true ? timestamp.value : undefined;
  const snapshotBytes =
    named === undefined ? undefined : await folder.read(`${named.meta['snapshot.json'].version}.snapshot.json`);
  const snapshot = snapshotBytes === undefined ? undefined : verifySigned(root, 'snapshot', snapshotBytes);
  return {
    parts,
    snapshot: snapshot?.ok === true ? snapshot.value : undefined,
    timestamp: named,
    newestSnapshotVersion: (await folder.versions('snapshot')).at(-1) ?? 0,
  };
}

async function loadRoot(folder: MetadataFolder): Promise<Verified<Root>> {
  let root: Verified<Root> | undefined;
  for (let version = 1; ; version += 1) {
    const name = `${version}.root.json`;
    const bytes = await folder.read(name);
    if (bytes === undefined) break;
    const verdict = root === undefined ? verifyInitialRoot(bytes) : verifyNextRoot(root, bytes);
    if (!verdict.ok) throw repositoryCorrupt(`a root does not verify: ${verdict.detail}`, folder.path(name));
    root = verdict.value;
  }
  if (root === undefined) throw repositoryCorrupt('there is no first root', folder.path('1.root.json'));
  return root;
}

async function loadTargets(folder: MetadataFolder, root: Verified<Root>): Promise<SignedParts> {
  const versions = await folder.versions('targets');
  let why = 'there are none';
  for (const version of versions.toReversed()) {
    const bytes = await folder.read(`${version}.targets.json`);
    if (bytes === undefined) continue;
    const verdict = verifySigned(root, 'targets', bytes);
    if (verdict.ok && verdict.value.version === version) return { root, targets: verdict.value, targetsBytes: bytes };
    why = verdict.ok ? `the version inside is ${verdict.value.version}` : verdict.detail;
  }
  throw repositoryCorrupt(`no targets metadata verifies under root ${root.version}: ${why}`, folder.path(''));
}
