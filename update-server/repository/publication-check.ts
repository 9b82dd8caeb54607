/**
 * Everything that stands between a publication and the fleet, in order. Nothing is written before all of it passed.
 *
 *   1. each new root: exactly one version on, signed by the old threshold and the new, same environment
 *   2. the online keys still sign for the newest root
 *   3. targets: signed by the threshold of the newest root, not expired, a higher version
 *   4. every listed target is stored, with the listed length
 *   5. every new release: what a device of its class would check (release-check.ts)
 */
import type { PublishRequest } from '../../protocol/operator-api.ts';
import { equalBytes, utf8, type Verified } from '../../trust/bytes.ts';
import type { Refusal } from '../../trust/refusal.ts';
import { releasesOf } from '../../trust/tuf/listing.ts';
import type { Root, Targets } from '../../trust/tuf/metadata.ts';
import { verifyNextRoot, verifyTargetsForPublication } from '../../trust/tuf/repository.ts';
import type { ArtifactFolder } from './artifacts.ts';
import type { MetadataFolder } from './metadata-folder.ts';
import type { OnlineKeys } from './online-keys.ts';
import { checkRelease } from './release-check.ts';
import type { SignedParts } from './repository-load.ts';

export interface Candidate {
  readonly roots: readonly { readonly version: number; readonly bytes: Uint8Array }[];
  readonly root: Verified<Root>;
  readonly targets: Verified<Targets>;
  readonly targetsBytes: Uint8Array;
}

export type PublicationVerdict =
  | { readonly ok: true; readonly candidate: Candidate | 'published-already' }
  | { readonly ok: false; readonly code: string; readonly what: string; readonly cure: string };

type No = Extract<PublicationVerdict, { ok: false }>;
const no = (code: string, what: string, cure: string): No => ({ ok: false, code, what, cure });
const refusedBy = (refusal: Refusal, subject: string, cure: string): No =>
  no(refusal.code, `${subject}: ${refusal.detail}`, cure);

export interface CheckPorts {
  readonly metadata: MetadataFolder;
  readonly artifacts: ArtifactFolder;
  readonly onlineKeys: OnlineKeys;
}

export async function checkPublication(
  ports: CheckPorts,
  current: SignedParts,
  request: PublishRequest,
  nowUnixS: number,
): Promise<PublicationVerdict> {
  const chain = await followRoots(ports.metadata, current.root, request.roots.map(utf8));
  if (!chain.ok) return chain;
  const { root, roots } = chain;
  const missing = ports.onlineKeys.missingIn(root);
  if (missing !== undefined) {
    return no('online-keys-not-in-root', missing, "Give the server the new root's online keys before publishing it.");
  }
  const targetsBytes = utf8(request.targets);
  if (roots.length === 0 && equalBytes(targetsBytes, current.targetsBytes)) {
    return { ok: true, candidate: 'published-already' };
  }
  const targets = verifyTargetsForPublication({
    root,
    // The same targets again are fine under a new root: only what they list must not go back.
    ...(equalBytes(targetsBytes, current.targetsBytes) ? {} : { currentTargets: current.targets }),
    candidate: targetsBytes,
    time: { floorUnixS: 0, synchronisedUnixS: nowUnixS },
  });
  if (!targets.ok) {
    return refusedBy(
      targets,
      'the targets metadata was refused',
      'Sign the next targets version with `holdfast release sign`.',
    );
  }
  const listed =
    (await checkArtifacts(ports.artifacts, targets.value)) ??
    (await checkReleases(ports, current, root, targets.value));
  return listed ?? { ok: true, candidate: { roots, root, targets: targets.value, targetsBytes } };
}

type Chain = { readonly ok: true; readonly root: Verified<Root>; readonly roots: Candidate['roots'] } | No;

async function followRoots(
  folder: MetadataFolder,
  current: Verified<Root>,
  files: readonly Uint8Array[],
): Promise<Chain> {
  const roots: { version: number; bytes: Uint8Array }[] = [];
  let root = current;
  for (const bytes of files) {
    const verdict = verifyNextRoot(root, bytes);
    if (!verdict.ok) {
      if (await isPublished(folder, current.version, bytes)) continue;
      return refusedBy(verdict, 'a root was refused', 'Send the next root, signed by the old threshold and the new.');
    }
    if (verdict.value.holdfast.environment !== current.holdfast.environment) {
      const detail = `root ${verdict.value.version} says ${verdict.value.holdfast.environment}`;
      return no('environment-mismatch', detail, 'Keep the environment: devices refuse a root of another one.');
    }
    root = verdict.value;
    roots.push({ version: root.version, bytes });
  }
  return { ok: true, root, roots };
}

async function isPublished(folder: MetadataFolder, newest: number, bytes: Uint8Array): Promise<boolean> {
  for (let version = newest; version > 0; version -= 1) {
    const stored = await folder.read(`${version}.root.json`);
    if (stored !== undefined && equalBytes(stored, bytes)) return true;
  }
  return false;
}

async function checkArtifacts(artifacts: ArtifactFolder, targets: Targets): Promise<No | undefined> {
  for (const [path, file] of Object.entries(targets.targets)) {
    const sizeBytes = await artifacts.sizeOf(file.hashes.sha256);
    if (sizeBytes === undefined) {
      return no(
        'artifact-missing',
        `${path} (${file.hashes.sha256}) was not uploaded`,
        'Upload it, then publish again.',
      );
    }
    if (sizeBytes !== file.length) {
      const what = `${path} has ${sizeBytes} bytes, the signed targets say ${file.length}`;
      return no('artifact-size-mismatch', what, 'Build and sign the release again from the files as they are.');
    }
  }
  return undefined;
}

async function checkReleases(
  ports: CheckPorts,
  current: SignedParts,
  root: Verified<Root>,
  targets: Verified<Targets>,
): Promise<No | undefined> {
  const before = releasesOf(current.targets);
  const standing = new Set(before.map((release) => `${release.releasePath} ${release.sha256}`));
  for (const release of releasesOf(targets)) {
    if (standing.has(`${release.releasePath} ${release.sha256}`)) continue;
    const verdict = await checkRelease({ root, targets, before, artifacts: ports.artifacts }, release);
    if (!verdict.ok) {
      const cure = 'A device would refuse it for the same reason: build and sign the release again.';
      return refusedBy(verdict, release.releasePath, cure);
    }
  }
  return undefined;
}
