/**
 * What the agent tells the first boot's record once this epoch's certificate stands, or the server has its statement and
 * escrow. The two programs never run at once: the agent starts when the first boot has come to its rest.
 */
import type { Disk } from '../../platform/disk.ts';
import { nextFirstBoot } from '../core/first-boot-machine.ts';
import { firstBootRecord } from './first-boot-record.ts';

/** Durable once it returns. Nothing where the state does not take the event: blocked, or told already. */
export async function noteFirstBoot(disk: Disk, directory: string, event: 'enrolled' | 'reported'): Promise<void> {
  const store = firstBootRecord(disk, directory);
  const reading = await store.read();
  if (reading.found !== 'whole') return;
  const transition = nextFirstBoot(reading.value.state, event);
  if ('illegal' in transition || transition.state === reading.value.state) return;
  await store.write({ ...reading.value, state: transition.state, owed: [...transition.effects] });
}
