/**
 * What was wrong with the machine before an update, written by the release that runs and read by the one on trial.
 *
 * Invariants: it is of one action, and says which; the trial writes nothing here, so that there is no format that the
 * predecessor could not read.
 */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { StateRecord } from './state-record.ts';

/** More failed units than this are not kept: such a machine is judged by its checks. */
export const FAILED_UNITS_CAP = 256;

const Baseline = v.strictObject({
  format: v.literal('holdfast-baseline-1'),
  actionId: v.string(),
  failedUnits: v.pipe(v.array(v.pipe(v.string(), v.maxLength(256))), v.maxLength(FAILED_UNITS_CAP)),
});
export type Baseline = v.InferOutput<typeof Baseline>;

export function baselineRecord(disk: Disk, stateDirectory: string): StateRecord<Baseline> {
  return new StateRecord(disk, `${stateDirectory}/health-baseline`, Baseline);
}
