/**
 * Does what the install machine decided. One small function per effect, each idempotent: after a power cut it runs
 * again, whole, and ends the same.
 *
 * Invariants: the journal already says what is about to happen (update-engine.ts writes it first). Slots, flags and
 * records change only through the ports.
 * May not: decide what follows; an effect yields an event, or a rest, or nothing.
 */
import { systemErrorCode } from '../platform/fault.ts';
import type { Effect } from './core/install-machine.ts';
import type { Execution, Outcome } from './effects/execution.ts';
import * as install from './effects/install.ts';
import * as reports from './effects/reports.ts';
import * as trial from './effects/trial.ts';
import { awaitUse } from './effects/wait.ts';

export function runEffect(effect: Effect, execution: Execution): Promise<Outcome> {
  return RUNNERS[effect](execution);
}

const RUNNERS: Readonly<Record<Effect, (x: Execution) => Promise<Outcome>>> = {
  obtain: install.obtain,
  'retire-slot': install.retireSlot,
  'fill-slot': install.fill,
  'read-back': install.readImagesBack,
  'record-slot': install.recordSlot,
  'check-root': install.checkRoot,
  'note-server': install.noteServer,
  'await-use': awaitUse,
  'note-baseline': install.noteBaseline,
  'arm-trial': install.armTrial,
  'disarm-trial': async (x) => void (await x.ports.board.disarmTrial()),
  'request-reboot': install.requestReboot,
  'judge-trial': trial.judgeTrial,
  'confirm-slot': trial.confirmSlot,
  'report-confirmed': trial.reportConfirmed,
  'retire-below-floor': trial.retireBelowFloor,
  'raise-counters': trial.raiseCounters,
  'record-verdict': trial.recordVerdict,
  'go-back': trial.goBack,
  'report-refused': (x) => reports.reportTrouble(x, 'refused'),
  'report-failed': (x) => reports.reportTrouble(x, 'failed'),
  'report-rolled-back': reports.reportRolledBack,
  'report-held': reports.reportHeld,
  settle: reports.settle,
};

const DISK_CODES = ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EACCES', 'EPERM', 'EFBIG', 'ENOENT', 'ENOTDIR', 'EISDIR'];

/** The code of a `failed` report for what the system throws; undefined for bugs, which must surface. */
export function failureCode(error: unknown): string | undefined {
  const code = systemErrorCode(error);
  if (code === undefined || code.startsWith('ERR_')) return undefined;
  return `${DISK_CODES.includes(code) ? 'disk' : 'system'}-${code.toLowerCase()}`;
}
