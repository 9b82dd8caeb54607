/** Skeleton; see exports. */
import type { Verified } from '../bytes.ts';
import type { Verdict } from '../refusal.ts';
import type { TrustTime } from '../time.ts';
import type { RoleName, RoleTypes, Root, Snapshot, Targets, Timestamp } from './metadata.ts';

/** Decodes and verifies one file of `role` under `root`: shape, canonical form, threshold. Not version, not expiry. */
export function verifySigned<R extends RoleName>(
  _root: Verified<Root>,
  _role: R,
  _bytes: Uint8Array,
): Verdict<Verified<RoleTypes[R]>> {
  throw new Error('not written yet');
}
/** The first root, trusted by its place: signed by its own threshold. */
export function verifyInitialRoot(_bytes: Uint8Array): Verdict<Verified<Root>> {
  throw new Error('not written yet');
}
/** The next root: exactly one version on, signed by both thresholds. */
export function verifyNextRoot(_current: Verified<Root>, _candidate: Uint8Array): Verdict<Verified<Root>> {
  throw new Error('not written yet');
}
export interface TargetsPublication {
  readonly root: Verified<Root>;
  readonly currentTargets?: Verified<Targets>;
  readonly candidate: Uint8Array;
  readonly time: TrustTime;
}
/** Everything a device would demand of new targets metadata, before it is published. */
export function verifyTargetsForPublication(_publication: TargetsPublication): Verdict<Verified<Targets>> {
  throw new Error('not written yet');
}
export function makeTimestamp(_facts: { version: number; expires: string; snapshotVersion: number }): Timestamp {
  throw new Error('not written yet');
}
export function makeSnapshot(_facts: { version: number; expires: string; targetsVersion: number }): Snapshot {
  throw new Error('not written yet');
}
