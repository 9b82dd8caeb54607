/**
 * Step 7: things go wrong on purpose, in the middle of a good rollout, and everything ends where it should. Each trouble
 * is one row: what was done, whether devices and server say that it was overcome, and how long that took.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { nodeDisk } from '../../../platform/disk.ts';
import { otherSlot, readBootEnv } from '../../../platform/emulated-boot-env.ts';
import { type DemoRun, deviceName, HARDWARE_CLASS } from '../demo-run.ts';
import { bootedFacts } from '../fleet-words.ts';
import { HoldingProxy } from '../holding-proxy.ts';
import { secondsSince } from '../patience.ts';
import type { Process } from '../processes.ts';
import { sayFact } from '../terminal.ts';
import { makeDevice, powerOn } from './devices.ts';
import { devicesOn, followRollout, publish, startRollout } from './releases.ts';
import { startServer } from './server.ts';

const LIMIT_MS = 120_000;
/** Longer than a trial takes when nothing is wrong. */
const AWAY_MS = 6000;

interface Fleet {
  server: Process;
}

/** Makes a row of what `work` found out: undefined is good, a text says what was not. */
async function trouble(run: DemoRun, name: string, work: () => Promise<string | undefined>): Promise<void> {
  const startedMs = performance.now();
  const wrong = await work().catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
  const seconds = secondsSince(startedMs);
  run.recoveries.push({ trouble: name, ok: wrong === undefined, seconds });
  run.check(wrong === undefined, wrong === undefined ? `${name}: overcome after ${seconds} s` : `${name}: ${wrong}`);
}

async function agentPid(run: DemoRun, deviceId: string): Promise<number | undefined> {
  const text = await readFile(join(run.devicePath(deviceId), 'run/agent.pid'), 'utf8').catch(() => '');
  return Number(text.trim()) || undefined;
}

/** The boot loop wrote the number down for this very device; false when the agent was gone already. */
async function killAgent(run: DemoRun, deviceId: string): Promise<boolean> {
  const pid = await agentPid(run, deviceId);
  if (pid === undefined) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (!commandLine.includes(run.devicePath(deviceId))) return false;
  process.kill(pid, 'SIGKILL');
  return true;
}

// --- between issue and receipt of the certificate ---------------------------------------------------------------

/** A device more, whose first enrolment is cut exactly between the server's answer and its own receipt of it. */
async function lostCertificate(run: DemoRun, deviceId: string): Promise<string | undefined> {
  const enrolled = async (): Promise<boolean> => (await run.words.device(deviceId)).device.enrolment === 'enrolled';
  let held = false;
  const proxy = await HoldingProxy.start(run.ports.device, async () => {
    if (held) return false;
    held = await enrolled();
    return !held;
  });
  try {
    await run.words.claims(HARDWARE_CLASS, [deviceId], run.path('claims'));
    const endpoints = JSON.parse(await readFile(run.path('server/endpoints.json'), 'utf8'));
    const through = run.path('server/endpoints-through-proxy.json');
    await writeFile(through, JSON.stringify({ ...endpoints, deviceUrl: `https://127.0.0.1:${proxy.port}` }));
    await makeDevice(run, deviceId, through);
    powerOn(run, 'emulator-late', [deviceId]);
    if ((await run.until(LIMIT_MS, 50, () => held || undefined)) === undefined)
      return 'the server never issued a certificate';
    const certificateFile = join(run.devicePath(deviceId), 'data/identity/device.crt');
    if (await stat(certificateFile).catch(() => undefined)) return 'the device had its certificate already';
    const issued = await issuedTo(run, deviceId);
    if (!(await killAgent(run, deviceId))) return 'there was no agent to kill';
    sayFact(`issued: ${issued}; the answer is held back, the agent killed`);
    return await sameCertificate(run, deviceId, certificateFile, issued, proxy);
  } finally {
    await proxy.stop();
  }
}

/** What the server wrote down when it issued: the fingerprint, or whatever names the certificate. */
async function issuedTo(run: DemoRun, deviceId: string): Promise<string> {
  const entries = (await run.words.audit(100)).filter(
    ({ subject, action }) => subject === deviceId && action.includes('enrol'),
  );
  return entries.map(({ detail }) => detail).join(' | ');
}

async function sameCertificate(
  run: DemoRun,
  deviceId: string,
  certificateFile: string,
  issued: string,
  proxy: HoldingProxy,
): Promise<string | undefined> {
  const { port } = proxy;
  await proxy.stop();
  const again = await HoldingProxy.start(run.ports.device, async () => true, port);
  run.onEnd(() => again.stop());
  const pem = await run.until(LIMIT_MS, 200, () => readFile(certificateFile, 'utf8').catch(() => undefined));
  if (pem === undefined) return 'the device did not get a certificate after its restart';
  const { fingerprint256, serialNumber } = new X509Certificate(pem);
  const names = [fingerprint256.replaceAll(':', '').toLowerCase(), serialNumber.toLowerCase()];
  if (!names.some((name) => issued.toLowerCase().includes(name)))
    return `it holds ${names.join(', ')}, the server had issued ${issued}`;
  const online = await run.until(LIMIT_MS, 300, async () =>
    (await run.words.device(deviceId)).device.online ? true : undefined,
  );
  return online === true ? undefined : 'the device did not come online';
}

// --- in the middle of a write -----------------------------------------------------------------------------------

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** The first of the devices whose inactive root file system is being written; caught after a few writes. */
async function deviceWriting(
  run: DemoRun,
  deviceIds: readonly string[],
): Promise<{ deviceId: string; file: string } | undefined> {
  const slots = new Map<string, { file: string; times: Set<number> }>();
  for (const deviceId of deviceIds) {
    const slot = (await bootedFacts(run.devicePath(deviceId)))?.slot ?? 'a';
    const file = join(run.devicePath(deviceId), 'board/slots', otherSlot(slot), 'rootfs.img');
    slots.set(deviceId, { file, times: new Set([await modifiedMs(file)]) });
  }
  return run.until(LIMIT_MS, 3, async () => {
    for (const [deviceId, { file, times }] of slots) {
      times.add(await modifiedMs(file));
      if (times.size > 4) return { deviceId, file };
    }
    return undefined;
  });
}

const modifiedMs = async (file: string): Promise<number> => (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;

async function killedInWrite(run: DemoRun, version: string): Promise<string | undefined> {
  const found = await deviceWriting(run, run.deviceIds);
  if (found === undefined) return 'no device was seen writing';
  const { deviceId, file } = found;
  if (!(await killAgent(run, deviceId))) return `the agent of ${deviceId} was gone before it could be killed`;
  const [written, wanted] = [await sha256Of(file), await sha256Of(run.path('images', version, 'rootfs.img'))];
  if (written === wanted) return `${deviceId} had written everything already`;
  sayFact(`${deviceId}: agent killed with its slot half written`);
  const there = await run.until(LIMIT_MS, 500, async () =>
    (await devicesOn(run, [deviceId], version)).length === 1 ? true : undefined,
  );
  return there === true ? undefined : `${deviceId} did not get to ${version}`;
}

// --- the server away during a trial ------------------------------------------------------------------------------

async function serverAwayInTrial(
  run: DemoRun,
  fleet: Fleet,
  deviceIds: readonly string[],
  version: string,
): Promise<string | undefined> {
  const armed = await run.until(LIMIT_MS, 5, async () => {
    for (const deviceId of deviceIds) {
      const env = await readBootEnv(nodeDisk, run.devicePath(deviceId));
      if (env?.trial) return deviceId;
    }
    return undefined;
  });
  if (armed === undefined) return 'no device armed a trial';
  await fleet.server.kill();
  sayFact(`${armed} is armed: the server is killed, for ${AWAY_MS / 1000} s`);
  const trial = await run.until(AWAY_MS, 20, async () =>
    (await bootedFacts(run.devicePath(armed)))?.trial === true ? true : undefined,
  );
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  fleet.server = (await startServer(run, false)).server;
  if (trial !== true) return `${armed} did not boot its trial while the server was away`;
  const there = await run.until(LIMIT_MS, 500, async () =>
    (await devicesOn(run, [armed], version)).length === 1 ? true : undefined,
  );
  if (there !== true) return `${armed} did not get to ${version}`;
  for (const deviceId of deviceIds) {
    const { status } = await run.words.agent(run.devicePath(deviceId));
    if (status?.quarantined.some(({ sequence }) => sequence > 3)) return `${deviceId} has quarantined the release`;
  }
  return undefined;
}

// --- the server killed in the middle of a wave --------------------------------------------------------------------

async function serverKilledInWave(run: DemoRun, fleet: Fleet, rolloutId: string): Promise<string | undefined> {
  const inWave = await run.until(LIMIT_MS, 200, async () => {
    const { waves, state } = await run.words.rollout(rolloutId);
    if (state !== 'running') return { open: undefined };
    const last = waves.at(-1);
    const started = last?.state === 'open' && last.offered > 0 && last.confirmed < last.devices;
    return started ? { open: last } : undefined;
  });
  if (inWave?.open === undefined) return 'the last wave was not seen open';
  const { confirmed, devices } = inWave.open;
  await fleet.server.kill();
  sayFact(`the server is killed with ${confirmed} of ${devices} confirmed`);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  fleet.server = (await startServer(run, false)).server;
  const rollout = await followRollout(run, rolloutId, 'the wave goes on');
  return rollout.state === 'complete' ? undefined : `the rollout is ${rollout.state}: ${rollout.reason}`;
}

// --- the broker drops every connection ------------------------------------------------------------------------------

async function brokerDropsAll(run: DemoRun, fleet: Fleet, deviceIds: readonly string[]): Promise<string | undefined> {
  const online = async (): Promise<number> =>
    (await run.words.devices()).filter((device) => deviceIds.includes(device.deviceId) && device.online).length;
  if (
    (await run.until(LIMIT_MS, 300, async () => ((await online()) === deviceIds.length ? true : undefined))) !== true
  ) {
    return 'not every device was online before';
  }
  fleet.server.signal('SIGUSR2');
  const dropped = await run.until(5000, 20, async () => ((await online()) < deviceIds.length ? true : undefined));
  const back = await run.until(LIMIT_MS, 300, async () => ((await online()) === deviceIds.length ? true : undefined));
  if (back !== true) return `${await online()} of ${deviceIds.length} devices came back`;
  sayFact(dropped === true ? 'the server saw them go and come back' : 'they were back before the server was asked');
  return undefined;
}

export async function makeTrouble(run: DemoRun, server: Process): Promise<Process> {
  const fleet: Fleet = { server };
  const late = deviceName(run.options.devices + 1);
  await trouble(run, 'agent killed between issue and receipt of its certificate', () => lostCertificate(run, late));
  await trouble(run, 'broker drops every connection', () => brokerDropsAll(run, fleet, [...run.deviceIds, late]));
  run.deviceIds.push(late);
  const caughtUp = await run.until(LIMIT_MS, 500, async () =>
    (await devicesOn(run, [late], '2.0.0')).length === 1 ? true : undefined,
  );
  run.check(caughtUp === true, `${late} came late and runs 2.0.0, like the others`);
  const version = '4.0.0';
  const releasePath = await publish(run, { version, sequence: 4 });
  const rolloutId = await startRollout(run, releasePath, '1,2,100%');
  await trouble(run, 'agent killed in the middle of a write', () => killedInWrite(run, version));
  await trouble(run, 'server away during a trial', () => serverAwayInTrial(run, fleet, run.deviceIds, version));
  await trouble(run, 'server killed in the middle of a wave', () => serverKilledInWave(run, fleet, rolloutId));
  const rollout = await followRollout(run, rolloutId, `rollout of ${version}`);
  run.check(
    rollout.state === 'complete',
    `the server says: ${rollout.state}, ${rollout.confirmed} of ${rollout.devices} confirmed (${rollout.reason})`,
  );
  const there = await devicesOn(run, run.deviceIds, version);
  run.check(there.length === run.deviceIds.length, `${there.length} devices say themselves: ${version}`);
  return fleet.server;
}
