/**
 * What every board of real hardware reads and asks in the same way: slots by name, the kernel's boot id and command
 * line, a reboot.
 */
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import type { BootFlags, Slot } from '../core/ports.ts';
import { boardFault, mustSucceed, type RunProgram } from './board-program.ts';

/** Path of each image's block device or file, by slot and component. */
export type SlotPaths = Readonly<Record<Slot, Readonly<Record<string, string>>>>;

export const SLOTS: readonly Slot[] = ['a', 'b'];

/** Longer files of /proc are read no further. */
const PROC_CAP_BYTES = 8192;

export function isSlot(value: unknown): value is Slot {
  return value === 'a' || value === 'b';
}

export function other(slot: Slot): Slot {
  return slot === 'a' ? 'b' : 'a';
}

/** Throws a Fault when agent.json names no place for the component. */
export function imagePathIn(slots: SlotPaths, slot: Slot, component: string): string {
  const path = Object.hasOwn(slots[slot], component) ? slots[slot][component] : undefined;
  if (path !== undefined) return path;
  throw boardFault(
    'board-lacks-component',
    `this board has no place for the image ${component}`,
    `board.slots.${slot}`,
    `Name the block device or file of ${component} in agent.json, or release images that this hardware class has.`,
  );
}

/** A file of /proc says that it has no bytes, so it is read by length. Undefined when there is none. */
export async function readProc(disk: Disk, path: string): Promise<Uint8Array | undefined> {
  try {
    const file = await disk.open(path, 'read');
    try {
      return await file.read(PROC_CAP_BYTES, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

export async function readText(disk: Disk, path: string): Promise<string> {
  return new TextDecoder().decode((await readProc(disk, path)) ?? new Uint8Array()).trim();
}

/** The kernel's id of this boot; `unknown` where there is none. */
export async function readBootId(disk: Disk, procDirectory: string): Promise<string> {
  return (await readText(disk, `${procDirectory}/sys/kernel/random/boot_id`)) || 'unknown';
}

export function bootedSlotUnknown(what: string, where: string, cure: string) {
  return boardFault('booted-slot-unknown', what, where, cure);
}

/** The two rules of retiring that every board keeps: never the booted slot, and its trial goes with it. */
export function withoutSlot(flags: BootFlags, slot: Slot, booted: Slot): BootFlags {
  refuseBooted(slot, booted);
  const left = flags.order.filter((one) => one !== slot);
  return { order: left.length > 0 ? left : [booted], trial: flags.trial?.slot === slot ? null : flags.trial };
}

export function refuseBooted(slot: Slot, booted: Slot): void {
  if (slot === booted) throw new RangeError(`slot ${slot} is booted and cannot be taken out of the order`);
}

export function withConfirmed(flags: BootFlags, slot: Slot): BootFlags {
  return { order: flags.order.includes(other(slot)) ? [slot, other(slot)] : [slot], trial: null };
}

export async function reboot(run: RunProgram, ...words: string[]): Promise<void> {
  mustSucceed('reboot', await run('reboot', words));
}

/** One small file, rewritten in place when its size stays, so that neither folder nor size has to follow. */
export async function rewriteInPlace(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, 'update');
  try {
    await file.write(bytes, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function readCapped(
  disk: Disk,
  path: string,
  capBytes: number,
): Promise<Uint8Array | 'too-large' | undefined> {
  try {
    return await disk.readFile(path, capBytes);
  } catch (error) {
    if (error instanceof FileTooLarge) return 'too-large';
    throw error;
  }
}
