/**
 * The install machine: every state of an update, every event, and what follows. Pure data and one function.
 *
 * Invariants: every state answers `halt`, `superseded` and `root-rotated` (by type). A pair that is not listed is an
 * illegal transition, and says so. Effects are idempotent and run in the order given; the last one that has an outcome
 * yields the next event. The executor journals state and effects before it runs the first of them.
 * May not: run anything. docs/INSTALL_MACHINE.md is generated from the table; a test compares.
 */
import type { InstallState } from '../../protocol/device-api.ts';

export type { InstallState };

export const EVENT_KINDS = [
  /** A poll named a release; nothing was under way. */
  'offered',
  /** The server calls the action off. */
  'halt',
  /** The server names another release. */
  'superseded',
  /** The trusted root changed since this release was verified. */
  'root-rotated',
  /** Metadata, envelope and block maps verified. */
  'obtained',
  /** Every block of every image is in the inactive slot, synced. */
  'written',
  /** Every image, read back, has the digest that the manifest signs. */
  'verified',
  /** The root is still the one that the release was verified with. */
  'root-current',
  /** Verification said no. */
  'refused',
  /** Disk or time, not the release. */
  'failed',
  /** The source cannot be reached; the same work is tried again later. */
  'source-away',
  /** The device has a reason to wait (the application is in use, a metered link); the same work is tried again later. */
  'must-wait',
  'health-passed',
  'health-failed',
  /** A server that was there before the trial stayed away beyond the limit. */
  'server-lost',
  /** The bootloader has been told that the slot is permanent. */
  'slot-confirmed',
  /** Counters and time floor are raised. */
  'sealed',
  /** Userspace of the older slot is up again. */
  'back',
  /** What is booted is below the floor, or no rule of boot recovery matches. */
  'unfit',
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export const EFFECTS = [
  /** Refresh metadata, verify the release, fetch its block maps. */
  'obtain',
  /** Take the inactive slot out of the boot order; forget what it held. Stands before the first byte is written. */
  'retire-slot',
  /** Write every block that is not right yet, each verified before it is written. */
  'fill-slot',
  /** Read every image back, whole. */
  'read-back',
  /** Note, durably, which release the inactive slot holds. */
  'record-slot',
  /** Is the root still the one that the release was verified with? */
  'check-root',
  /** Note whether the server can be reached: a trial may only be judged by it if it could. */
  'note-server',
  /** Wait while the application says that it is in use, up to a limit. */
  'await-use',
  /** Note, durably, what is wrong with the machine already: a trial is not judged by it. */
  'note-baseline',
  'arm-trial',
  'disarm-trial',
  /** The application's chance to save, then the reboot. */
  'request-reboot',
  /** Health checks, and the server if it was there before. */
  'judge-trial',
  'confirm-slot',
  'report-confirmed',
  /** Take the inactive slot out of the order if the new floor passes what it holds. */
  'retire-below-floor',
  'raise-counters',
  /** Quarantine the release, or count that the network took it back. */
  'record-verdict',
  /** Reboot if the failed slot still runs. */
  'go-back',
  'report-refused',
  'report-failed',
  'report-rolled-back',
  'report-held',
  /** The action is over: remember its id, forget the rest. */
  'settle',
] as const;
export type Effect = (typeof EFFECTS)[number];

export interface Transition {
  readonly state: InstallState;
  readonly effects: readonly Effect[];
}

type AlwaysAnswered = 'halt' | 'superseded' | 'root-rotated';
type Row = Readonly<Record<AlwaysAnswered, Transition>> & Readonly<Partial<Record<EventKind, Transition>>>;

function to(state: InstallState, ...effects: Effect[]): Transition {
  return { state, effects };
}

/** It waits before it arms: a power cut while the application is in use boots what it was used with. */
const ARM = ['await-use', 'note-server', 'note-baseline', 'arm-trial', 'request-reboot'] as const;

export const INSTALL_MACHINE: Readonly<Record<InstallState, Row>> = {
  // Disk: the booted slot is confirmed, no trial is owed. Power cut: the same slot boots, and is idle again.
  idle: {
    offered: to('checking', 'obtain'),
    unfit: to('held', 'report-held'),
    halt: to('idle'),
    superseded: to('idle'),
    'root-rotated': to('idle'),
  },
  // Disk: only newer metadata. Power cut: checks again from the start.
  checking: {
    obtained: to('downloading', 'retire-slot', 'fill-slot'),
    refused: to('idle', 'report-refused', 'settle'),
    failed: to('idle', 'report-failed', 'settle'),
    'source-away': to('checking', 'obtain'),
    halt: to('idle', 'settle'),
    superseded: to('checking', 'obtain'),
    'root-rotated': to('checking', 'obtain'),
  },
  // Disk: the inactive slot is out of the boot order and partly written. Power cut: checks again; right blocks are kept.
  downloading: {
    written: to('verifying', 'read-back'),
    refused: to('idle', 'report-refused', 'settle'),
    failed: to('idle', 'report-failed', 'settle'),
    'source-away': to('downloading', 'fill-slot'),
    'must-wait': to('downloading', 'fill-slot'),
    halt: to('idle', 'settle'),
    superseded: to('checking', 'obtain'),
    'root-rotated': to('checking', 'obtain'),
  },
  // Disk: the inactive slot is written and synced, out of the order. Power cut: checks again, fetches no block twice.
  verifying: {
    verified: to('staged', 'record-slot', 'check-root'),
    refused: to('idle', 'report-refused', 'settle'),
    failed: to('idle', 'report-failed', 'settle'),
    halt: to('idle', 'settle'),
    superseded: to('checking', 'obtain'),
    'root-rotated': to('checking', 'obtain'),
  },
  // Disk: the inactive slot holds the verified release, out of the order. Power cut: checks again, fetches no block twice.
  staged: {
    'root-current': to('armed', ...ARM),
    failed: to('idle', 'report-failed', 'settle'),
    halt: to('idle', 'settle'),
    superseded: to('checking', 'obtain'),
    'root-rotated': to('checking', 'obtain'),
  },
  // Disk: the trial is armed, or about to be; a reboot is owed. Power cut: is that reboot, or waits and arms again.
  armed: {
    'must-wait': to('armed', ...ARM),
    failed: to('idle', 'disarm-trial', 'report-failed', 'settle'),
    halt: to('idle', 'disarm-trial', 'settle'),
    superseded: to('checking', 'disarm-trial', 'obtain'),
    'root-rotated': to('checking', 'disarm-trial', 'obtain'),
  },
  // Disk: the new slot runs, not in the order; one attempt is used up. Power cut: the next attempt, then the old slot.
  trial: {
    'health-passed': to('confirming', 'confirm-slot'),
    'health-failed': to('rolling-back', 'record-verdict', 'disarm-trial', 'go-back'),
    'server-lost': to('rolling-back', 'record-verdict', 'disarm-trial', 'go-back'),
    // Too late to call off: the device's own checks decide, whatever the server wants next.
    halt: to('trial', 'judge-trial'),
    superseded: to('trial', 'judge-trial'),
    'root-rotated': to('trial', 'judge-trial'),
  },
  // Disk: checks passed; the slot is permanent, or about to be. Power cut: confirms again, or one more trial.
  confirming: {
    'slot-confirmed': to('sealing', 'report-confirmed', 'retire-below-floor', 'raise-counters'),
    halt: to('confirming', 'confirm-slot'),
    superseded: to('confirming', 'confirm-slot'),
    'root-rotated': to('confirming', 'confirm-slot'),
  },
  // Disk: the slot is permanent, the counters are old or new. Power cut: the new slot boots, and seals again.
  sealing: {
    sealed: to('idle', 'settle'),
    halt: to('sealing', 'report-confirmed', 'retire-below-floor', 'raise-counters'),
    superseded: to('sealing', 'report-confirmed', 'retire-below-floor', 'raise-counters'),
    'root-rotated': to('sealing', 'report-confirmed', 'retire-below-floor', 'raise-counters'),
  },
  // Disk: the verdict is durable or about to be; the old slot is first in the order. Power cut: the old slot boots, and ends this.
  'rolling-back': {
    back: to('idle', 'report-rolled-back', 'settle'),
    unfit: to('held', 'report-held'),
    halt: to('rolling-back', 'record-verdict', 'disarm-trial', 'go-back'),
    superseded: to('rolling-back', 'record-verdict', 'disarm-trial', 'go-back'),
    'root-rotated': to('rolling-back', 'record-verdict', 'disarm-trial', 'go-back'),
  },
  // Disk: a slot below the floor, or one that no rule explains, runs. Power cut: judged afresh. Takes updates only.
  held: {
    offered: to('checking', 'obtain'),
    halt: to('held'),
    superseded: to('held'),
    'root-rotated': to('held'),
  },
};

export interface IllegalTransition {
  readonly illegal: true;
  readonly state: InstallState;
  readonly event: EventKind;
}

/** What follows. An unlisted pair is returned as illegal: the executor treats it as a bug and changes nothing. */
export function next(state: InstallState, event: EventKind): Transition | IllegalTransition {
  return INSTALL_MACHINE[state][event] ?? { illegal: true, state, event };
}

/** May the server still call this off? */
export function canBeCalledOff(state: InstallState): boolean {
  return next(state, 'halt').state === 'idle' && state !== 'idle';
}
