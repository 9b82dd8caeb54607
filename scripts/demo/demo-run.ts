/**
 * One run of the demo: its folder, its processes, what it found. Steps (steps/*.ts) work on it; main.ts orders them.
 *
 * A check that does not hold is a finding, and the step goes on where it can: the report then says all that is wrong.
 * A step that cannot go on throws; the steps after it are not begun, and the report says so.
 */

import { join } from 'node:path';
import { errorText } from '../../platform/fault.ts';
import { ProcessGroup } from '../../platform/processes.ts';
import { endPrograms } from '../programs.ts';
import { FleetWords } from './fleet-words.ts';
import type { DemoOptions } from './options.ts';
import { askUntil } from './patience.ts';
import type { RecoveryRow, RefusalRow, StepRow } from './report.ts';
import { sayResult, sayStep } from './terminal.ts';

export const VENDOR = 'acme.example';
export const HARDWARE_CLASS = 'acme-cam';
export const OTHER_CLASS = 'acme-hub';
export const CHANNEL = 'stable';

export interface Ports {
  readonly device: number;
  readonly operator: number;
  readonly mqtt: number;
}

export class DemoRun {
  readonly options: DemoOptions;
  readonly directory: string;
  readonly ports: Ports;
  readonly processes = new ProcessGroup();
  readonly words: FleetWords;
  readonly deviceIds: string[];
  readonly refusals: RefusalRow[] = [];
  readonly recoveries: RecoveryRow[] = [];
  readonly steps: StepRow[] = [];
  /** False as soon as a step broke off. */
  unbroken = true;
  /** Set with the report. */
  succeeded = false;
  #findings: string[] = [];
  readonly #atEnd: (() => Promise<void>)[] = [];

  constructor(options: DemoOptions, directory: string, ports: Ports) {
    this.options = options;
    this.directory = directory;
    this.ports = ports;
    this.words = new FleetWords(this.path('operator'));
    this.deviceIds = Array.from({ length: options.devices }, (_, index) => deviceName(index + 1));
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  devicePath(deviceId: string): string {
    return this.path('devices', deviceId);
  }

  get deviceUrl(): string {
    return `https://localhost:${this.ports.device}`;
  }

  /** A fact that must hold, printed; when it does not, the step has failed. */
  check(holds: boolean, text: string): boolean {
    sayResult(holds, text);
    if (!holds) this.#findings.push(text);
    return holds;
  }

  finding(text: string): void {
    this.check(false, text);
  }

  /** Asks until there is an answer, the limit has passed (undefined), or a program of this run died (throws). */
  until<T>(
    limitMs: number,
    pauseMs: number,
    ask: () => Promise<T | undefined> | T | undefined,
  ): Promise<T | undefined> {
    return askUntil(limitMs, pauseMs, () => {
      const [dead] = this.processes.endedByThemselves;
      if (dead !== undefined) throw new Error(`${dead.name} ended, and nobody asked it to`);
      return ask();
    });
  }

  /** Something of this process that must be closed when the run is over. */
  onEnd(close: () => Promise<void>): void {
    this.#atEnd.push(close);
  }

  /** Ends every program of this run, and what this process holds open for them. */
  async end(): Promise<void> {
    await endPrograms();
    await this.processes.stopAll();
    for (const close of this.#atEnd.splice(0)) await close();
  }

  async step(number: number, title: string, work: () => Promise<void>): Promise<void> {
    if (!this.unbroken) {
      this.steps.push({ step: title, ok: false, seconds: 0, findings: ['not begun: a step before it broke off'] });
      return;
    }
    sayStep(number, title);
    const startedMs = performance.now();
    this.#findings = [];
    try {
      await work();
    } catch (error) {
      this.unbroken = false;
      this.finding(`broke off: ${errorText(error)}`);
    }
    for (const { name } of this.processes.endedByThemselves) this.finding(`${name} ended, and nobody asked it to`);
    const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
    this.steps.push({ step: title, ok: this.#findings.length === 0, seconds, findings: this.#findings });
  }
}

export const deviceName = (number: number): string => `cam-${String(number).padStart(4, '0')}`;
