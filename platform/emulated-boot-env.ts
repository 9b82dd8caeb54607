/**
 * What the emulated board and the emulated boot loop share: where things lie in a DEVICE folder, the boot environment
 * (order and trial) and the bootloader's rule. One codec and one rule for both sides, so that they cannot drift apart.
 *
 * The environment is a two-copy record: a power cut during a write leaves the older copy, whole. It is written by
 * userspace, and by the bootloader only while a trial is pending (to count an attempt down).
 */
import type { Disk } from './disk.ts';
import { readTwoCopy, writeTwoCopy } from './two-copy-record.ts';

export type EmulatedSlot = 'a' | 'b';

export interface EmulatedBootEnv {
  /** Slots that may be booted, preferred first; never empty, no slot twice. */
  readonly order: readonly EmulatedSlot[];
  /** A trial owed or under way. */
  readonly trial: { readonly slot: EmulatedSlot; readonly attemptsLeft: number } | null;
}

/** What the boot loop writes to booted.json before userspace starts. */
export interface EmulatedBootFacts {
  readonly bootId: string;
  readonly slot: EmulatedSlot;
  /** True when this boot used up one attempt of a trial. */
  readonly trial: boolean;
}

/** Attempts that a trial gets, as with U-Boot. */
export const EMULATED_TRIAL_ATTEMPTS = 3;

/** The boot environment a factory writes, and that the boot loop falls back to when both copies are damaged. */
export const FACTORY_BOOT_ENV: EmulatedBootEnv = { order: ['a'], trial: null };

export interface EmulatedPaths {
  /** Base of the two copies: `.0` and `.1` are appended. */
  readonly bootEnv: string;
  readonly booted: string;
  readonly rebootRequest: string;
  readonly slots: string;
}

export function emulatedPaths(deviceDirectory: string): EmulatedPaths {
  const board = `${deviceDirectory}/board`;
  return {
    bootEnv: `${board}/boot-env`,
    booted: `${board}/booted.json`,
    rebootRequest: `${board}/reboot-request`,
    slots: `${board}/slots`,
  };
}

export function otherSlot(slot: EmulatedSlot): EmulatedSlot {
  return slot === 'a' ? 'b' : 'a';
}

function isSlot(value: unknown): value is EmulatedSlot {
  return value === 'a' || value === 'b';
}

function isRecord(value: unknown, keys: readonly string[]): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.keys(value).length === keys.length && keys.every((key) => Object.hasOwn(value, key));
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

/** Strict: unknown fields, an empty order, a slot twice or an absurd count give undefined. */
export function decodeBootEnv(bytes: Uint8Array): EmulatedBootEnv | undefined {
  const value = parseJson(bytes);
  if (!isRecord(value, ['order', 'trial'])) return undefined;
  const { order, trial } = value;
  if (!Array.isArray(order) || order.length < 1 || order.length > 2 || !order.every(isSlot)) return undefined;
  if (new Set(order).size !== order.length) return undefined;
  if (trial === null) return { order, trial: null };
  if (!isRecord(trial, ['slot', 'attemptsLeft']) || !isSlot(trial.slot)) return undefined;
  const { slot, attemptsLeft } = trial;
  if (typeof attemptsLeft !== 'number' || !Number.isInteger(attemptsLeft)) return undefined;
  if (attemptsLeft < 0 || attemptsLeft > EMULATED_TRIAL_ATTEMPTS) return undefined;
  return { order, trial: { slot, attemptsLeft } };
}

export function encodeBootEnv(env: EmulatedBootEnv): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ order: env.order, trial: env.trial }));
}

/** The newest copy that checks out and decodes; undefined when there is none. */
export async function readBootEnv(disk: Disk, deviceDirectory: string): Promise<EmulatedBootEnv | undefined> {
  const { current } = await readTwoCopy(disk, emulatedPaths(deviceDirectory).bootEnv);
  return current === undefined ? undefined : decodeBootEnv(current.payload);
}

/** Durable and atomic: once it returned, a power cut does not undo it; before, the older environment stands. */
export function writeBootEnv(disk: Disk, deviceDirectory: string, env: EmulatedBootEnv): Promise<void> {
  return writeTwoCopy(disk, emulatedPaths(deviceDirectory).bootEnv, encodeBootEnv(env));
}

export interface BootChoice {
  readonly slot: EmulatedSlot;
  readonly trial: boolean;
  /** The environment as it must stand, durably, before the slot starts; the same object when nothing changes. */
  readonly env: EmulatedBootEnv;
}

/**
 * The bootloader's whole rule, as U-Boot's script would have it. A trial with attempts left uses one up; a trial
 * without leaves the environment as it is, so that the agent sees that the trial was used up.
 */
export function chooseBoot(env: EmulatedBootEnv): BootChoice {
  const { order, trial } = env;
  if (trial !== null && trial.attemptsLeft > 0) {
    const counted = { order, trial: { slot: trial.slot, attemptsLeft: trial.attemptsLeft - 1 } };
    return { slot: trial.slot, trial: true, env: counted };
  }
  return { slot: order[0] ?? 'a', trial: false, env };
}

/** Strict: anything but the three fields gives undefined. */
export function decodeBooted(bytes: Uint8Array): EmulatedBootFacts | undefined {
  const value = parseJson(bytes);
  if (!isRecord(value, ['bootId', 'slot', 'trial'])) return undefined;
  const { bootId, slot, trial } = value;
  if (typeof bootId !== 'string' || !/^[a-z0-9][a-z0-9._-]{0,63}$/.test(bootId)) return undefined;
  return isSlot(slot) && typeof trial === 'boolean' ? { bootId, slot, trial } : undefined;
}

export function encodeBooted(facts: EmulatedBootFacts): Uint8Array {
  return new TextEncoder().encode(
    `${JSON.stringify({ bootId: facts.bootId, slot: facts.slot, trial: facts.trial })}\n`,
  );
}
