/**
 * `npm run demo`: the whole way from key ceremony to confirmed boot, on loopback, with the three published commands and
 * emulated boards. Prints every line it runs; ends with a report of what devices and server said.
 *
 * Exit status: 0 when all went as it must, 1 when not, 130 when it was interrupted, else that of the Fault.
 */
import { mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { needProgram } from '../programs.ts';
import { DemoRun } from './demo-run.ts';
import { freePorts } from './free-ports.ts';
import { type DemoOptions, readDemoOptions } from './options.ts';
import { writeReport } from './report.ts';
import { attackEverything } from './steps/attack-step.ts';
import { holdCeremony } from './steps/ceremony.ts';
import { leaveFactory } from './steps/devices.ts';
import { firstBoot } from './steps/first-boot.ts';
import { badRelease, goodRelease } from './steps/releases.ts';
import { openServer } from './steps/server.ts';
import { gatherReport, sayNext, sayReport } from './steps/summary.ts';
import { makeTrouble } from './steps/trouble.ts';
import { bold, say } from './terminal.ts';

const MIB = 1024 * 1024;

/** Two slots for each device and one more, four versions as images, release copies and artifacts. */
async function needRoom(parent: string, options: DemoOptions): Promise<void> {
  const needMib = (options.rootfsMib + 6) * ((options.devices + 1) * 2 + 12);
  const { bavail, bsize } = await statfs(parent);
  const freeMib = Math.floor((bavail * bsize) / MIB);
  if (freeMib >= needMib) return;
  throw new Fault({
    code: 'disk-too-full',
    what: `the demo needs ${needMib} MiB for images and devices, and ${freeMib} MiB are free`,
    where: parent,
    cure: 'Give another place with --dir FOLDER, or fewer devices with --devices 3.',
    exitStatus: EXIT.environment,
  });
}

async function openRun(options: DemoOptions): Promise<DemoRun> {
  const parent = options.parentDirectory ?? tmpdir();
  await needRoom(parent, options);
  const directory = await mkdtemp(join(parent, 'holdfast-demo-'));
  const [device = 0, operator = 0, mqtt = 0] = await freePorts(3);
  return new DemoRun(options, directory, { device, operator, mqtt });
}

async function runSteps(run: DemoRun): Promise<void> {
  let releasePath = '';
  await run.step(1, 'Ceremony: keys for three people', () => holdCeremony(run));
  const server = await stepWith(run, 2, 'Server: first start', () => openServer(run));
  await run.step(3, `Devices: ${run.options.devices} leave the factory`, () => leaveFactory(run));
  await run.step(4, 'First boot: every secret of the factory is replaced, then they enrol', () => firstBoot(run));
  await run.step(5, 'A good release: one device, then 25 %, then all', async () => {
    releasePath = await goodRelease(run);
  });
  await run.step(6, 'A bad release: it boots, and its health check fails', () => badRelease(run));
  await run.step(7, 'Attacks: each an accepted input changed in one respect', () => attackEverything(run, releasePath));
  await run.step(8, 'Trouble: in the middle of a good rollout', async () => {
    if (server !== undefined) await makeTrouble(run, server);
  });
}

async function stepWith<T>(
  run: DemoRun,
  number: number,
  title: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  let result: T | undefined;
  await run.step(number, title, async () => {
    result = await work();
  });
  return result;
}

/** Big files go; logs, consoles and the report stay, unless something is to be looked at. */
async function tidy(run: DemoRun): Promise<void> {
  for (const name of [
    'images',
    'releases',
    'attacks',
    'ceremony',
    'claims',
    'escrow',
    'operator',
    'owners',
    'passphrase.txt',
    'one-time-token',
    'server',
  ]) {
    await rm(run.path(name), { recursive: true, force: true });
  }
  for (const device of await readdir(run.path('devices')).catch(() => [])) {
    for (const name of ['board/slots', 'data', 'factory', 'run/rootfs']) {
      await rm(run.path('devices', device, name), { recursive: true, force: true });
    }
  }
}

const interrupted = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });

async function main(): Promise<number> {
  const options = readDemoOptions(process.argv.slice(2));
  if (options === undefined) return EXIT.ok;
  await needProgram('sh', ['scripts/setup.sh', '--images', '--build'], {
    cwd: PROJECT_DIRECTORY,
    onStderr: (text) => process.stderr.write(text),
  });
  const run = await openRun(options);
  say(bold('Holdfast, from key ceremony to confirmed boot. Everything is a rehearsal, on this machine alone.'));
  say(`Everything lies in ${run.directory}`);
  const stop = interrupted();
  try {
    const done = await Promise.race([conduct(run), stop]);
    if (done === undefined) return 130;
    if (options.keep) await stop;
    return done ? EXIT.ok : EXIT.bug;
  } finally {
    await run.end();
    if (!options.keep && run.succeeded) await tidy(run);
  }
}

/** The steps and the report; true when all went as it must. */
async function conduct(run: DemoRun): Promise<boolean> {
  await runSteps(run);
  const report = await gatherReport(run);
  const path = await writeReport(run.options.jsonFile ?? run.path('report.json'), report);
  run.succeeded = report.ok;
  sayReport(report, path);
  await sayNext(run);
  return report.ok;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('demo', error, { json: false, debug: process.argv.includes('--debug') });
}
// An interrupted step may still be waiting for something that will not come.
process.exit();
