/**
 * The install journal: where the machine stands, what it still owes, and what it needs to know after a restart.
 *
 * Invariants: written before an effect runs (the intent) and after the state's outcome is known; two copies, so that a
 * cut write leaves the entry before it, and every effect may run twice. A trial writes only this format, which its
 * predecessor reads; a later format begins in Sealing.
 * May not: carry anything secret, or anything that has to be trusted more than this disk.
 */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { Action, InstallState, Name, Sha256Hex, Slot } from '../../protocol/device-api.ts';
import { EFFECTS } from '../core/install-machine.ts';
import { StateRecord } from './state-record.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Text = (max: number) => v.pipe(v.string(), v.maxLength(max));

/** What was signed of the release under way, as far as it is needed once its metadata is out of memory. */
export const ReleasePlan = v.strictObject({
  sequence: Count,
  version: Text(64),
  floorSequence: Count,
  buildUnixS: Count,
  /** Version and expiry of the root that it was verified with. */
  rootVersion: Count,
  rootExpiresUnixS: Count,
});
export type ReleasePlan = v.InferOutput<typeof ReleasePlan>;

export const FilledImage = v.strictObject({
  component: Text(64),
  /** Digest of the image that these blocks belong to. */
  sha256: Sha256Hex,
  /** So many blocks from the start are in the slot, right and synced. */
  blocks: Count,
});
export type FilledImage = v.InferOutput<typeof FilledImage>;

export const InstallJournal = v.strictObject({
  format: v.literal('holdfast-journal-1'),
  state: InstallState,
  /** Unix milliseconds, null while no clock was synchronised. */
  sinceUnixMs: v.nullable(Count),
  /** Effects of the present state whose outcome is not known yet. */
  owed: v.pipe(v.array(v.picklist(EFFECTS)), v.maxLength(8)),
  action: v.nullable(Action),
  /** The slot that the update writes to. */
  target: v.nullable(Slot),
  plan: v.nullable(ReleasePlan),
  filled: v.pipe(v.array(FilledImage), v.maxLength(64)),
  /** Could the server be reached before the trial? */
  serverBefore: v.boolean(),
  /** Why the update ended, or the device is held; null in the ordinary course. */
  trouble: v.nullable(v.strictObject({ code: Text(128), detail: Text(512), quarantine: v.boolean(), bootId: Name })),
  /** The action that ended last. `final`: its offer is ignored, the server has not heard yet. */
  settled: v.nullable(v.strictObject({ actionId: Name, final: v.boolean() })),
  /** The boot that was reported as `booted`. */
  reportedBootId: v.nullable(Name),
});
export type InstallJournal = v.InferOutput<typeof InstallJournal>;

export const FIRST_JOURNAL: InstallJournal = {
  format: 'holdfast-journal-1',
  state: 'idle',
  sinceUnixMs: null,
  owed: [],
  action: null,
  target: null,
  plan: null,
  filled: [],
  serverBefore: false,
  trouble: null,
  settled: null,
  reportedBootId: null,
};

export function journalRecord(disk: Disk, stateDirectory: string): StateRecord<InstallJournal> {
  return new StateRecord(disk, `${stateDirectory}/journal`, InstallJournal);
}
