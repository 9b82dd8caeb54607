/**
 * One program to its end, measured by time(1): wall clock, CPU of it and of what it waited for, and the largest resident
 * memory of any of them. Every program that is compared is started in this way, on the same cores.
 *
 * What it cannot see: work of the kernel's own threads (writing back, the loop device). It is missing for all alike.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needProgram, type ProgramOptions } from '../../scripts/programs.ts';

export type Command = readonly [file: string, ...args: string[]];

export interface Usage {
  readonly wallS: number;
  readonly cpuS: number;
  /** MB are 10⁶ bytes. */
  readonly peakMb: number;
}

/** At most two, so that a machine with more measures alike. taskset takes what of this list exists. */
const CORES = '0,1';
const FORMAT = '%e %U %S %M';

/** The command that runs `command` on the cores of all that is measured, and writes what it used to `said`. */
export function underTime(command: Command, said: string): Command {
  return ['taskset', '-c', CORES, '/usr/bin/time', '-q', '-o', said, '-f', FORMAT, ...command];
}

/** What time(1) wrote last. Throws when these are not four numbers: a program that was not measured has no figures. */
export function parseTime(text: string): Usage {
  const fields = text.trim().split('\n').at(-1)?.trim().split(' ') ?? [];
  const [wallS, userS, systemS, peakKb] = fields.map(Number);
  if (fields.length !== 4 || ![wallS, userS, systemS, peakKb].every(Number.isFinite)) {
    throw new Error(`time(1) wrote ${JSON.stringify(text)}, not "${FORMAT}"`);
  }
  return { wallS: wallS ?? 0, cpuS: (userS ?? 0) + (systemS ?? 0), peakMb: ((peakKb ?? 0) * 1024) / 1e6 };
}

/** A Fault when the program fails. `output`: its stdout. */
export async function measureProgram(
  command: Command,
  options: ProgramOptions = {},
): Promise<Usage & { readonly output: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-time-'));
  try {
    const said = join(folder, 'time');
    const [file, ...args] = underTime(command, said);
    const { stdout } = await needProgram(file, args, options);
    return { ...parseTime(await readFile(said, 'utf8')), output: stdout };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
