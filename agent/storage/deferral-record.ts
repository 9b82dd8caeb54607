/** How long one action has waited for the application in all: a limit that a restart would reset is none. */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { StateRecord } from './state-record.ts';

const Deferral = v.strictObject({
  actionId: v.string(),
  waitedMs: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
export type Deferral = v.InferOutput<typeof Deferral>;

export function deferralRecord(disk: Disk, stateDirectory: string): StateRecord<Deferral> {
  return new StateRecord(disk, `${stateDirectory}/deferral`, Deferral);
}
