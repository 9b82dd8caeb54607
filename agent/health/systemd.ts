/**
 * Is the machine's systemd as it should be? No unit failed that had not failed before the update, and the units that
 * agent.json names are active, and stay so for a while. A unit that is still starting has until its deadline.
 *
 * May not: start, stop or reset anything. systemctl is asked, each time within a deadline.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Fault } from '../../platform/fault.ts';
import { type ProgramEnd, runProgram } from '../boards/board-program.ts';
import type { HealthBaseline } from '../core/ports.ts';
import { FAILED_UNITS_CAP } from '../storage/baseline-record.ts';

export interface SystemdSettings {
  /** Must be active. */
  readonly units: readonly string[];
  /** For everything together: what starts must have started by then. */
  readonly startDeadlineMs: number;
  /** What is good must stay good for this long. */
  readonly settleMs: number;
}

const ASK_MS = 1000;
const DEADLINE_MS = 20_000;
/** What `systemctl is-system-running` says where systemd runs the machine (systemctl(1)). */
const STARTING = ['initializing', 'starting'];
const RUNNING = [...STARTING, 'running', 'degraded', 'maintenance', 'stopping'];

/** Undefined when there is no such program; Faults of the kind that cures itself become an end without a status. */
export async function systemctl(...words: string[]): Promise<ProgramEnd | undefined> {
  try {
    return await runProgram('systemctl', words, { deadlineMs: DEADLINE_MS });
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

/** How the machine is, as `systemctl is-system-running` has it; undefined where systemd does not run it. */
export async function systemState(): Promise<string | undefined> {
  const said = (await systemctl('is-system-running'))?.stdout.trim() ?? '';
  return RUNNING.includes(said) ? said : undefined;
}

/** Undefined: systemd does not run this machine, or did not answer. */
export async function failedUnits(): Promise<readonly string[] | undefined> {
  if ((await systemState()) === undefined) return undefined;
  const end = await systemctl('list-units', '--state=failed', '--plain', '--no-legend', '--no-pager', '--full');
  if (end?.status !== 0) return undefined;
  const units = end.stdout.split('\n').map((line) => line.trim().split(/\s+/)[0] ?? '');
  return units.filter((unit) => unit !== '').map((unit) => unit.slice(0, 256));
}

export async function systemdBaseline(): Promise<HealthBaseline | undefined> {
  const failed = await failedUnits();
  return failed === undefined || failed.length > FAILED_UNITS_CAP ? undefined : { failedUnits: failed };
}

interface Trouble {
  readonly name: string;
  readonly detail: string;
  /** `at-once`; `at-deadline`, because it may come right by itself; `never`: waited for, and then nobody's fault. */
  readonly fails: 'at-once' | 'at-deadline' | 'never';
}

/** The trouble that is there once everything had its time; undefined when all is well. */
export async function checkSystemd(
  settings: SystemdSettings,
  baseline: HealthBaseline | undefined,
): Promise<{ readonly name: string; readonly detail: string } | undefined> {
  const endMs = performance.now() + settings.startDeadlineMs;
  let goodSinceMs: number | undefined;
  for (;;) {
    const trouble = await findTrouble(settings.units, baseline);
    const nowMs = performance.now();
    if (trouble === 'not-here') return undefined;
    if (trouble === undefined) {
      goodSinceMs ??= nowMs;
      if (nowMs - goodSinceMs >= settings.settleMs) return undefined;
    } else {
      goodSinceMs = undefined;
      if (trouble.fails === 'at-once') return trouble;
      if (nowMs >= endMs) return trouble.fails === 'never' ? undefined : trouble;
    }
    await pause(Math.min(ASK_MS, Math.max(settings.settleMs, 10)));
  }
}

async function findTrouble(
  units: readonly string[],
  baseline: HealthBaseline | undefined,
): Promise<Trouble | 'not-here' | undefined> {
  const state = await systemState();
  if (state === undefined) {
    if (units.length === 0) return 'not-here';
    return { name: 'systemd', detail: 'systemd does not answer, and agent.json names units', fails: 'at-deadline' };
  }
  const starting = STARTING.includes(state);
  const named = await findInactive(units, starting);
  if (named !== undefined) return named;
  const failed = baseline === undefined ? [] : await failedUnits();
  if (failed === undefined)
    return { name: 'systemd', detail: 'systemctl does not list failed units', fails: 'at-deadline' };
  const [first, ...more] = failed.filter((unit) => baseline?.failedUnits.includes(unit) === false);
  if (first !== undefined) {
    const detail = `failed, and had not before the update${more.length === 0 ? '' : `; and so did ${more.join(', ')}`}`;
    return { name: `unit ${first}`, detail, fails: 'at-once' };
  }
  return starting ? { name: 'systemd', detail: `the machine is still ${state}`, fails: 'never' } : undefined;
}

/** A unit that starts, or will once the machine has started, gets its time; one that failed does not. */
async function findInactive(units: readonly string[], starting: boolean): Promise<Trouble | undefined> {
  if (units.length === 0) return undefined;
  const said = (await systemctl('is-active', '--', ...units))?.stdout.trim().split('\n') ?? [];
  for (const [index, unit] of units.entries()) {
    const state = said[index]?.trim() || 'unknown';
    if (state === 'active') continue;
    const passing = state.endsWith('ing') || (starting && state === 'inactive');
    return { name: `unit ${unit}`, detail: `it is ${state.slice(0, 64)}`, fails: passing ? 'at-deadline' : 'at-once' };
  }
  return undefined;
}
