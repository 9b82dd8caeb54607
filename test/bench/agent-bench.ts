/** `npm run bench -- agent`: how large the agent is, what it costs idle, how fast it and its server start. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Process } from '../../platform/processes.ts';
import { AGENT_BUNDLE_CAP_BYTES } from '../../scripts/build.ts';
import { anonymousMb, type Findings, medianOf, type Row, residentMb, rowOf, timeProgram } from './measure.ts';
import { benchVerification } from './release-verification.ts';
import { startAgent, startLabServer } from './running-fleet.ts';

const BUNDLE = 'dist/holdfast-agent.mjs';
const IDLE_AIM_MB = 15;
const SERVER_START_AIM_MS = 1500;
const SERVER_MEMORY_AIM_MB = 130;
/** Long enough for enrolment, first poll, MQTT and a garbage collection or two. */
const SETTLE_MS = 8000;

export async function benchAgent(
  projectRoot: string,
  runs: number,
  progress: (line: string) => void,
): Promise<Findings> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const parts: Findings[] = [];
  try {
    progress('bundle by package');
    parts.push(await benchBundle(projectRoot));
    progress(`start time, ${runs} runs each`);
    parts.push(await benchStart(projectRoot, runs));
    progress('verification of a release of 64 MiB');
    parts.push(await benchVerification(join(directory, 'release'), Math.min(runs, 5)));
    progress('server and idle agent');
    parts.push(await benchRunning(projectRoot, directory, Math.min(runs, 3)));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return { rows: parts.flatMap(({ rows }) => rows), ratios: parts.flatMap(({ ratios }) => ratios) };
}

interface Metafile {
  readonly outputs: Readonly<
    Record<
      string,
      { readonly bytes: number; readonly inputs: Readonly<Record<string, { readonly bytesInOutput: number }>> }
    >
  >;
}

/** From esbuild's metafile, which the build keeps: whose bytes are in the bundle. */
async function benchBundle(projectRoot: string): Promise<Findings> {
  const metafile: Metafile = JSON.parse(await readFile(join(projectRoot, 'build/agent.meta.json'), 'utf8'));
  const output = metafile.outputs[BUNDLE];
  if (output === undefined) throw new Error(`build/agent.meta.json says nothing of ${BUNDLE}`);
  const byOwner = new Map<string, number>();
  for (const [path, { bytesInOutput }] of Object.entries(output.inputs)) {
    const owner = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? `holdfast ${path.split('/')[0]}/`;
    byOwner.set(owner, (byOwner.get(owner) ?? 0) + bytesInOutput);
  }
  const owners = [...byOwner].sort(([, a], [, b]) => b - a);
  const packed = gzipSync(await readFile(join(projectRoot, BUNDLE))).length;
  const bytes = (subject: string, value: number): Row => rowOf('agent bundle', subject, [value], 'bytes');
  return {
    rows: [
      ...owners.map(([owner, value]) => bytes(owner, value)),
      bytes('all', output.bytes),
      bytes('all, gzip', packed),
    ],
    ratios: [
      {
        name: 'bundle in KB',
        value: round(output.bytes / 1024),
        aim: '<= 300',
        met: output.bytes <= AGENT_BUNDLE_CAP_BYTES,
      },
    ],
  };
}

async function benchStart(projectRoot: string, runs: number): Promise<Findings> {
  const bare: number[] = [];
  const agent: number[] = [];
  // In turn, so that a busy minute of the machine falls on both.
  for (let run = 0; run < runs; run += 1) {
    bare.push(await timeProgram(['-e', '0']));
    agent.push(await timeProgram([join(projectRoot, BUNDLE), '--version']));
  }
  return {
    rows: [rowOf('start to exit', 'bare Node', bare, 'ms'), rowOf('start to exit', 'agent --version', agent, 'ms')],
    ratios: [
      {
        name: 'agent start / bare Node start',
        value: round(medianOf(agent) / medianOf(bare)),
        aim: '<= 3',
        met: medianOf(agent) <= 3 * medianOf(bare),
      },
    ],
  };
}

async function benchRunning(projectRoot: string, directory: string, runs: number): Promise<Findings> {
  const found = {
    startMs: [] as number[],
    serverMb: [] as number[],
    agentMb: [] as number[],
    bareMb: [] as number[],
    ownAgentMb: [] as number[],
    ownBareMb: [] as number[],
  };
  for (let run = 0; run < runs; run += 1) {
    const place = join(directory, `fleet-${run}`);
    const server = await startLabServer(projectRoot, place);
    found.startMs.push(server.startMs);
    const bare = new Process({
      name: 'bare',
      file: process.execPath,
      args: ['-e', 'setInterval(() => {}, 1e6)'],
      logFile: join(place, 'bare.log'),
    });
    let agent: Process | undefined;
    try {
      agent = await startAgent(projectRoot, place, server);
      await pause(SETTLE_MS);
      await needMqtt(join(place, 'agent.log'));
      found.serverMb.push(residentMb(server.process.pid ?? 0));
      found.agentMb.push(residentMb(agent.pid ?? 0));
      found.bareMb.push(residentMb(bare.pid ?? 0));
      found.ownAgentMb.push(anonymousMb(agent.pid ?? 0));
      found.ownBareMb.push(anonymousMb(bare.pid ?? 0));
    } finally {
      await Promise.all([agent?.stop(), bare.stop(), server.process.stop()]);
    }
  }
  const above = medianOf(found.agentMb) - medianOf(found.bareMb);
  const startMs = medianOf(found.startMs);
  const serverMb = medianOf(found.serverMb);
  return {
    rows: [
      rowOf('idle memory', 'bare Node', found.bareMb, 'MB'),
      rowOf('idle memory', 'agent: enrolled, polled, MQTT connected', found.agentMb, 'MB'),
      rowOf('idle memory, own pages only', 'bare Node', found.ownBareMb, 'MB'),
      rowOf('idle memory, own pages only', 'agent', found.ownAgentMb, 'MB'),
      rowOf('idle memory', 'server: one device', found.serverMb, 'MB'),
      rowOf('server up', 'first start, keys and authorities made', found.startMs, 'ms'),
    ],
    ratios: [
      { name: 'agent idle above bare Node in MB', value: round(above), aim: '<= 15', met: above <= IDLE_AIM_MB },
      { name: 'server up in ms', value: round(startMs), aim: '<= 1500', met: startMs <= SERVER_START_AIM_MS },
      { name: 'server memory in MB', value: round(serverMb), aim: '< 130', met: serverMb < SERVER_MEMORY_AIM_MB },
    ],
  };
}

/** An agent that could not enrol would be small, and not what is to be measured. */
async function needMqtt(logFile: string): Promise<void> {
  const log = await readFile(logFile, 'utf8');
  if (!log.includes('mqtt is here')) throw new Error(`the agent did not get as far as MQTT:\n${log}`);
}

const round = (value: number): number => Math.round(value * 100) / 100;
