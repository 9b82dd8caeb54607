/**
 * What a repository and its signers check before they publish: everything that a device would demand, so that nobody
 * learns of a refusal from a fleet. Also the two files that online keys sign.
 *
 * Invariants: the same decoders and thresholds as on the device, in `required` mode.
 * May not: sign, or store.
 */
import type { Verified } from '../bytes.ts';
import { accept, refuse, type Verdict } from '../refusal.ts';
import { ENVELOPE_CAP_BYTES } from '../suit/envelope.ts';
import { decodeTufDate, hasExpired, judgeTime, type TrustTime } from '../time.ts';
import { findImageFiles } from './listing.ts';
import {
  decodeMetadata,
  type RoleName,
  type RoleTypes,
  type Root,
  type Snapshot,
  SPEC_VERSION,
  type Targets,
  type Timestamp,
  verifyThreshold,
} from './metadata.ts';
import { verifyOwnRoot, verifyRootStep } from './root-step.ts';

const STRICT = { canonicalForm: 'required' } as const;

/** Shape, canonical form and threshold of one file of `role` under `root`. Not its version, not its expiry. */
export function verifySigned<R extends RoleName>(
  root: Verified<Root>,
  role: R,
  bytes: Uint8Array,
): Verdict<Verified<RoleTypes[R]>> {
  const file = decodeMetadata(role, bytes, STRICT);
  return file.ok ? verifyThreshold(root, role, file.value) : file;
}

/** The first root, trusted by its place: signed by a threshold of its own keys. */
export function verifyInitialRoot(bytes: Uint8Array): Verdict<Verified<Root>> {
  return verifyOwnRoot(bytes, STRICT);
}

/** The next root: one version on, signed by both thresholds, of the same environment. Not its expiry. */
export function verifyNextRoot(current: Verified<Root>, candidate: Uint8Array): Verdict<Verified<Root>> {
  // A root that changed its environment would be refused by every device of the old one.
  return verifyRootStep(current, candidate, { ...STRICT, environment: current.holdfast.environment });
}

export interface TargetsPublication {
  readonly root: Verified<Root>;
  /** What is published now; absent for the first. */
  readonly currentTargets?: Verified<Targets>;
  readonly candidate: Uint8Array;
  readonly time: TrustTime;
}

/**
 * New targets metadata as a whole: signatures, a version beyond the current one (`metadata-version-rollback`), expiry
 * (`metadata-expired`), and every release entry against the files it leans on. The envelopes themselves are
 * `verifyRelease`'s, with a device made of the entry's own vendor, class and channel.
 */
export function verifyTargetsForPublication(publication: TargetsPublication): Verdict<Verified<Targets>> {
  const targets = verifySigned(publication.root, 'targets', publication.candidate);
  if (!targets.ok) return targets;
  const { version, expires } = targets.value;
  const current = publication.currentTargets?.version ?? 0;
  if (version <= current) {
    return refuse('metadata-version-rollback', `targets ${version}, published are ${current}`);
  }
  if (hasExpired(decodeTufDate(expires) ?? 0, judgeTime(publication.time))) {
    return refuse('metadata-expired', `targets ${version} expired at ${expires}`);
  }
  const listing = verifyListing(targets.value);
  return listing.ok ? targets : listing;
}

function verifyListing(targets: Verified<Targets>): Verdict<null> {
  for (const [path, file] of Object.entries(targets.targets)) {
    const entry = file.custom?.holdfast;
    if (entry?.kind !== 'release') continue;
    if (file.length > ENVELOPE_CAP_BYTES) {
      return refuse('input-too-large', `${path} has ${file.length} bytes, at most ${ENVELOPE_CAP_BYTES}`);
    }
    for (const image of entry.images) {
      const files = findImageFiles(targets, image);
      if (!files.ok) return files;
    }
  }
  return accept(null);
}

export function makeTimestamp(facts: {
  readonly version: number;
  readonly expires: string;
  readonly snapshotVersion: number;
}): Timestamp {
  const { version, expires, snapshotVersion } = facts;
  const meta = { 'snapshot.json': { version: snapshotVersion } };
  return { _type: 'timestamp', spec_version: SPEC_VERSION, version, expires, meta };
}

export function makeSnapshot(facts: {
  readonly version: number;
  readonly expires: string;
  readonly targetsVersion: number;
}): Snapshot {
  const { version, expires, targetsVersion } = facts;
  const meta = { 'targets.json': { version: targetsVersion } };
  return { _type: 'snapshot', spec_version: SPEC_VERSION, version, expires, meta };
}
