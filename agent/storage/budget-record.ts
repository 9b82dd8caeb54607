/** What images have used of the budget for metered links: at least that much, never less (transport/link-ration.ts). */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import type { BudgetUse } from '../core/budget.ts';
import { StateRecord } from './state-record.ts';

const Use = v.strictObject({
  period: v.pipe(v.string(), v.regex(/^(|\d{4}-\d\d(-\d\d)?)$/)),
  usedBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});

export function budgetRecord(disk: Disk, stateDirectory: string): StateRecord<BudgetUse> {
  return new StateRecord(disk, `${stateDirectory}/budget`, Use);
}
