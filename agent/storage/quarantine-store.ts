/** The quarantine record on the data partition (agent/core/quarantine.ts decides what is in it). */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { Name } from '../../protocol/device-api.ts';
import type { Quarantine } from '../core/quarantine.ts';
import { StateRecord } from './state-record.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const QuarantineSchema = v.strictObject({
  entries: v.pipe(
    v.array(v.strictObject({ sequence: Count, reason: v.pipe(v.string(), v.maxLength(128)) })),
    v.maxLength(64),
  ),
  returns: v.nullable(
    v.strictObject({ sequence: Count, actionId: Name, bootIds: v.pipe(v.array(Name), v.maxLength(8)) }),
  ),
});

export function quarantineRecord(disk: Disk, stateDirectory: string): StateRecord<Quarantine> {
  return new StateRecord<Quarantine>(disk, `${stateDirectory}/quarantine`, QuarantineSchema, true);
}
