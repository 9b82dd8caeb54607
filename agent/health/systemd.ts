/**
 * Is the machine's systemd as it should be? No unit failed that had not failed before the update, and the units that
 * agent.json names are active, and stay so for a while. What still starts has until a deadline.
 *
 * May not: start, stop or reset anything. systemctl is asked, each time within a deadline.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { askProgram } from '../boards/board-program.ts';
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
const STARTING = ['initializing', 'starting'];

/** What systemctl prints, in lines; undefined where it is not installed or fails. */
async function ask(...words: string[]): Promise<string[] | undefined> {
  const end = await askProgram('systemctl', [...words], { deadlineMs: DEADLINE_MS });
  const printed = end?.status == null ? '' : end.stdout.trim();
  return printed === '' && end?.status !== 0 ? undefined : printed.split('\n').map((line) => line.trim());
}

/** `systemctl is-system-running` (systemctl(1)); undefined where systemd does not run the machine. */
export async function systemState(): Promise<string | undefined> {
  const [said = ''] = (await ask('is-system-running')) ?? [];
  return ['', 'offline', 'unknown'].includes(said) ? undefined : said;
}

/** Undefined: systemctl does not say. */
export async function failedUnits(): Promise<readonly string[] | undefined> {
  const lines = await ask('list-units', '--state=failed', '--plain', '--no-legend', '--no-pager', '--full');
  return lines?.filter((line) => line !== '').map((line) => (line.split(/\s/)[0] ?? '').slice(0, 256));
}

export async function systemdBaseline(): Promise<HealthBaseline | undefined> {
  const failed = (await systemState()) === undefined ? undefined : await failedUnits();
  return failed === undefined || failed.length > FAILED_UNITS_CAP ? undefined : { failedUnits: failed };
}

/** How each of these units is: `active`, `activating`, `failed`, … */
export async function unitStates(units: readonly string[]): Promise<readonly string[]> {
  const lines = units.length === 0 ? [] : await ask('is-active', '--', ...units);
  return units.map((_, index) => lines?.[index] ?? 'unknown');
}

interface Trouble {
  readonly name: string;
  readonly detail: string;
  /** `at-deadline`: it may come right by itself. `never`: waited for, and then nobody's fault. */
  readonly fails: 'at-once' | 'at-deadline' | 'never';
}

/** The trouble that is there once everything had its time; undefined when all is well. */
export async function checkSystemd(
  settings: SystemdSettings,
  baseline: HealthBaseline | undefined,
): Promise<Trouble | undefined> {
  if (settings.units.length === 0 && (await systemState()) === undefined) return undefined;
  const endMs = performance.now() + settings.startDeadlineMs;
  let goodSinceMs: number | undefined;
  for (;;) {
    const trouble = await findTrouble(settings.units, baseline);
    const nowMs = performance.now();
    if (trouble === undefined) {
      goodSinceMs ??= nowMs;
      if (nowMs - goodSinceMs >= settings.settleMs) return undefined;
    } else {
      goodSinceMs = undefined;
      if (trouble.fails === 'at-once') return trouble;
      if (nowMs >= endMs) return trouble.fails === 'never' ? undefined : trouble;
    }
    await pause(Math.min(ASK_MS, settings.settleMs));
  }
}

async function findTrouble(
  units: readonly string[],
  baseline: HealthBaseline | undefined,
): Promise<Trouble | undefined> {
  const state = await systemState();
  const starting = STARTING.includes(state ?? '');
  for (const [index, is] of (await unitStates(units)).entries()) {
    if (is === 'active') continue;
    const mayCome = is.endsWith('ing') || (starting && is === 'inactive') || state === undefined;
    return { name: `unit ${units[index]}`, detail: `is ${is}`, fails: mayCome ? 'at-deadline' : 'at-once' };
  }
  const failed = baseline === undefined ? [] : await failedUnits();
  if (failed === undefined) return { name: 'systemd', detail: 'systemctl gives no answer', fails: 'at-deadline' };
  const [first, ...more] = failed.filter((unit) => baseline?.failedUnits.includes(unit) === false);
  if (first !== undefined) {
    const detail = ['failed, and had not before the update', ...more].join('; ');
    return { name: `unit ${first}`, detail, fails: 'at-once' };
  }
  return starting ? { name: 'systemd', detail: 'still starting', fails: 'never' } : undefined;
}
