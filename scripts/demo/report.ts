/**
 * The report of a run: what devices and server said, in the keys that scripts depend on. `ok` is computed from the
 * rows, never set: a row that is missing or not as it should be makes the run fail.
 */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

export interface DeviceRow {
  readonly id: string;
  readonly version: string;
  readonly slot: string;
  /** The device's own word (`holdfast-agent status`), or `unreachable`. */
  readonly state: string;
  readonly credentials: CredentialsRow;
}

export interface CredentialsRow {
  /** The server's judgement of what the device stated; `unknown` when neither says anything. */
  readonly standing: string;
  /** How often it made its secrets anew. */
  readonly epoch: number;
  /** What of the factory's is in effect, looked up on the device; empty when nothing is. */
  readonly factoryLeft: readonly string[];
}

export interface RolloutRow {
  readonly release: string;
  /** `complete` and `halted` are the ends that the demo aims at; any other is reported as it was. */
  readonly state: string;
  readonly reason: string;
  readonly confirmed: number;
  readonly failed: number;
  readonly neverStarted: number;
}

export interface RefusalRow {
  readonly attack: string;
  readonly by: 'device' | 'server' | 'broker';
  /** As the refusing side said it; empty when nothing was refused. */
  readonly code: string;
  readonly twinAccepted: boolean;
}

export interface RecoveryRow {
  readonly trouble: string;
  readonly ok: boolean;
  readonly seconds: number;
}

export interface StepRow {
  readonly step: string;
  readonly ok: boolean;
  readonly seconds: number;
  /** What was not as it should be; empty when all was. */
  readonly findings: readonly string[];
}

export interface DemoReport {
  readonly ok: boolean;
  readonly devices: readonly DeviceRow[];
  readonly rollouts: readonly RolloutRow[];
  readonly refusals: readonly RefusalRow[];
  readonly recoveries: readonly RecoveryRow[];
  readonly steps: readonly StepRow[];
}

/** `finished`: every step was begun and none broke off. */
export function completeReport(rows: Omit<DemoReport, 'ok'>, finished: boolean): DemoReport {
  const ok =
    finished &&
    rows.devices.every(
      ({ credentials }) => credentials.standing === 'proven' && credentials.factoryLeft.length === 0,
    ) &&
    rows.steps.every((step) => step.ok) &&
    rows.recoveries.every((recovery) => recovery.ok) &&
    rows.refusals.every((refusal) => refusal.twinAccepted && refusal.code !== '');
  return { ok, ...rows };
}

export async function writeReport(file: string, report: DemoReport): Promise<string> {
  const path = resolve(file);
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}
