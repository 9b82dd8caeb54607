/**
 * The numbers that never fall (installedSequence, floorSequence, time floor), and which release each slot holds.
 *
 * Invariants: `raise` writes the maximum of old and new, whatever it is given. Both copies are written each time: a
 * copy that rots must not lower a number, nor forget what a slot holds.
 * Not defended: whoever can write the card can write these numbers too (no RPMB, OTP or TPM); they stop remote
 * downgrades, not physical ones.
 */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { Installed } from '../../protocol/device-api.ts';
import { StateRecord } from './state-record.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

export const DeviceCounters = v.strictObject({
  /** Highest sequence that was ever confirmed on this device. */
  installedSequence: Count,
  /** Nothing below it installs or counts as fit. */
  floorSequence: Count,
  /** Unix seconds of the latest signed time that counts. */
  timeFloorUnixS: Count,
});
export type DeviceCounters = v.InferOutput<typeof DeviceCounters>;

/** The release in each slot; null when unknown, or when the slot is being written. */
export const SlotContents = v.strictObject({ a: v.nullable(Installed), b: v.nullable(Installed) });
export type SlotContents = v.InferOutput<typeof SlotContents>;

export function countersRecord(disk: Disk, stateDirectory: string): StateRecord<DeviceCounters> {
  return new StateRecord(disk, `${stateDirectory}/counters`, DeviceCounters, true);
}

export function slotsRecord(disk: Disk, stateDirectory: string): StateRecord<SlotContents> {
  return new StateRecord(disk, `${stateDirectory}/slots`, SlotContents, true);
}

/**
 * What a slot holds, as far as it is known, for whoever asks before the agent has started: a device without any record
 * never updated, and has what its factory wrote (device-state.ts will say the same).
 */
export async function releaseIn(
  disk: Disk,
  stateDirectory: string,
  slot: keyof SlotContents,
  factory: Installed,
): Promise<Installed | null> {
  const slots = await slotsRecord(disk, stateDirectory).read();
  if (slots.found === 'whole') return slots.value[slot];
  const counters = await countersRecord(disk, stateDirectory).read();
  return slots.found === 'absent' && counters.found === 'absent' ? factory : null;
}

/** Neither number falls. */
export function raised(old: DeviceCounters, to: DeviceCounters): DeviceCounters {
  return {
    installedSequence: Math.max(old.installedSequence, to.installedSequence),
    floorSequence: Math.max(old.floorSequence, to.floorSequence),
    timeFloorUnixS: Math.max(old.timeFloorUnixS, to.timeFloorUnixS),
  };
}
