/**
 * `npm run bench -- idle`: what an agent that has nothing to do costs the machine, as the kernel counts it over some
 * minutes: how often its threads gave the processor back, what it had written, what it computed. Per hour is arithmetic
 * from those minutes; test/sim/idle-day.test.ts has the whole day, simulated.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Findings, rowOf } from './measure.ts';
import { startAgent, startLabServer } from './running-fleet.ts';

/** Enrolment, first poll, MQTT and what they leave behind. */
const SETTLE_MS = 20_000;
/** proc_pid_stat(5) counts in these; sysconf(_SC_CLK_TCK) is 100 on every Linux that Node runs on. */
const TICK_MS = 10;
const MINUTES_PER_HOUR = 60;
/** Two polls and two or three pings. */
const MINUTES = 10;

interface Counters {
  readonly mainThread: number;
  readonly allThreads: number;
  readonly writtenBytes: number;
  readonly cpuMs: number;
}

export async function benchIdle(projectRoot: string, progress: (line: string) => void): Promise<Findings> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-idle-'));
  const server = await startLabServer(projectRoot, directory);
  try {
    const agent = await startAgent(projectRoot, directory, server);
    try {
      await pause(SETTLE_MS);
      progress(`an idle agent, ${MINUTES} minutes`);
      const before = await countersOf(agent.pid ?? 0);
      await pause(MINUTES * 60_000);
      const after = await countersOf(agent.pid ?? 0);
      return findingsOf(before, after);
    } finally {
      await agent.stop();
    }
  } finally {
    await server.process.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

function findingsOf(before: Counters, after: Counters): Findings {
  const perHour = (key: keyof Counters): number => ((after[key] - before[key]) * MINUTES_PER_HOUR) / MINUTES;
  const row = (subject: string, key: keyof Counters, unit: string) =>
    rowOf(`idle agent, per hour (from ${MINUTES} minutes)`, subject, [perHour(key)], unit);
  return {
    rows: [
      row('times the main thread went to sleep', 'mainThread', ''),
      row('times any thread went to sleep', 'allThreads', ''),
      row('bytes that the kernel was given to write to disk', 'writtenBytes', 'bytes'),
      row('processor time', 'cpuMs', 'ms'),
    ],
    ratios: [],
  };
}

async function countersOf(pid: number): Promise<Counters> {
  const threads = await readdir(`/proc/${pid}/task`);
  const sleeps = await Promise.all(threads.map((thread) => sleepsOf(`/proc/${pid}/task/${thread}/status`)));
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  const [userTicks = 0, systemTicks = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return {
    mainThread: await sleepsOf(`/proc/${pid}/task/${pid}/status`),
    allThreads: sleeps.reduce((sum, count) => sum + count, 0),
    writtenBytes: numberAfter('write_bytes', await readFile(`/proc/${pid}/io`, 'utf8')),
    cpuMs: (userTicks + systemTicks) * TICK_MS,
  };
}

const sleepsOf = async (path: string): Promise<number> =>
  numberAfter('voluntary_ctxt_switches', await readFile(path, 'utf8'));

function numberAfter(key: string, text: string): number {
  const found = new RegExp(`^${key}:\\s+(\\d+)$`, 'm').exec(text)?.[1];
  if (found === undefined) throw new Error(`the kernel does not tell ${key}`);
  return Number(found);
}
