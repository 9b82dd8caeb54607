/**
 * How things are measured: many short runs, the median with the least and the most, and ratios within one run, because
 * absolute figures of one machine say little about another.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';

export interface Row {
  readonly name: string;
  readonly subject: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  readonly runs: number;
}

export interface Ratio {
  readonly name: string;
  readonly value: number;
  readonly aim: string;
  readonly met: boolean;
}

/** What one part of a benchmark found; `absent` could not be measured on this machine. */
export interface Findings {
  readonly rows: Row[];
  readonly ratios: Ratio[];
  readonly absent?: readonly Absent[];
}

/** What could not be measured here, and why: it stands in the table, so that nobody takes it for forgotten. */
export interface Absent {
  readonly group: string;
  readonly subject: string;
  readonly why: string;
}

/** Met at the aim and below it, judged before rounding. */
export function ratioOf(name: string, value: number, aim: number): Ratio {
  return { name, value: Math.round(value * 1000) / 1000, aim: `<= ${aim}`, met: value <= aim };
}

/** What `--json` writes (DESIGN, section 6). */
export interface BenchReport {
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryMb: number;
    readonly system: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
  readonly ratios: readonly Ratio[];
  readonly absent?: readonly Absent[];
}

export function describeMachine(): BenchReport['machine'] {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryMb: Math.round(totalmem() / 2 ** 20),
    system: `${platform()} ${arch()}`,
  };
}

export function rowOf(name: string, subject: string, values: readonly number[], unit: string): Row {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    name,
    subject,
    median: medianOf(sorted),
    min: sorted[0] ?? 0,
    max: sorted.at(-1) ?? 0,
    unit,
    runs: sorted.length,
  };
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** From start to exit, in milliseconds. Throws when it does not end with status 0. */
export function timeProgram(args: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: 'ignore' });
    child.once('error', reject);
    child.once('exit', (status) => {
      if (status === 0) resolve(performance.now() - startedMs);
      else reject(new Error(`${args.join(' ')} ended with status ${status}`));
    });
  });
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

/** Resident memory of a process in MB (10⁶ bytes), as the kernel counts it. */
export function residentMb(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kilobytes ?? 0) * 1024) / 1e6;
}

/**
 * Memory of a process that is its own (MB, 10⁶ bytes): neither pages of the Node program, which every Node process on
 * the machine shares and the kernel can drop, nor other files' pages.
 */
export function anonymousMb(pid: number): number {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kilobytes ?? 0) * 1024) / 1e6;
}
