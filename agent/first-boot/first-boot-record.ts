/**
 * What this device knows durably of its first boot: state, epoch, what is applied, what it is bound to. Kept in two
 * copies, both written each time.
 *
 * Invariants: a record that is lost or damaged never opens anything: the device begins a new epoch, with a number above
 * every one that the folder shows. Nothing secret stands in it.
 */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { BlockedBecause, EscrowNote, FirstBootState } from '../../protocol/credentials.ts';
import { Installed, Sha256Hex, Slot } from '../../protocol/device-api.ts';
import { FIRST_BOOT_EFFECTS } from '../core/first-boot-machine.ts';
import { StateRecord } from '../storage/state-record.ts';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const BootId = v.pipe(v.string(), v.maxLength(128));
const ProviderName = v.pipe(v.string(), v.minLength(1), v.maxLength(64));
const ProviderNames = v.pipe(v.array(ProviderName), v.maxLength(64));

export const FirstBootRecord = v.strictObject({
  format: v.literal('holdfast-first-boot-1'),
  state: FirstBootState,
  /** The state that a blocked device tries again; null in every other. */
  resume: v.nullable(FirstBootState),
  /** Effects that were decided on and are not done, in order. */
  owed: v.pipe(v.array(v.picklist(FIRST_BOOT_EFFECTS)), v.maxLength(16)),
  /** 0: none was begun. */
  epoch: Count,
  /** The boot in which it was begun. */
  begunIn: v.nullable(BootId),
  /** Providers that staged something in this epoch. */
  providers: ProviderNames,
  /** SHA-256 over what they staged: what is applied is what was sealed. */
  staged: v.nullable(Sha256Hex),
  /** Of those, the ones whose secrets are in effect. */
  applied: ProviderNames,
  /** The blob that covers this epoch; null until it is durable, or when no secret of it is for an owner. */
  escrow: v.nullable(EscrowNote),
  /** The last boot that was open, and what it ran. */
  opened: v.nullable(v.strictObject({ bootId: BootId, slot: Slot, release: v.nullable(Installed) })),
  hardware: v.pipe(
    v.array(v.strictObject({ source: v.pipe(v.string(), v.maxLength(64)), weight: Count, digest: Sha256Hex })),
    v.maxLength(16),
  ),
  /** hardwareId of the board that this data was made on, when it is another one. */
  movedFrom: v.nullable(Sha256Hex),
  /** Why it was blocked last; null once it opened. */
  trouble: v.nullable(BlockedBecause),
  /** Was a reboot asked for since it was open last? Once is enough: what still needs one then, needs a person. */
  rebooted: v.boolean(),
  /** Requests that were taken up and whose files are still there (agent/first-boot/requests.ts). */
  answered: v.pipe(v.array(Sha256Hex), v.maxLength(4)),
});
export type FirstBootRecord = v.InferOutput<typeof FirstBootRecord>;

export const FACTORY_RECORD: FirstBootRecord = {
  format: 'holdfast-first-boot-1',
  state: 'factory',
  resume: null,
  owed: [],
  epoch: 0,
  begunIn: null,
  providers: [],
  staged: null,
  applied: [],
  escrow: null,
  opened: null,
  hardware: [],
  movedFrom: null,
  trouble: null,
  rebooted: false,
  answered: [],
};

export function firstBootDirectory(dataDirectory: string): string {
  return `${dataDirectory}/first-boot`;
}

export function firstBootRecord(disk: Disk, directory: string): StateRecord<FirstBootRecord> {
  return new StateRecord(disk, `${directory}/record`, FirstBootRecord, true);
}
