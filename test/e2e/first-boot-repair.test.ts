/**
 * A release whose first boot cannot succeed, because a maker's provider in it always fails: a trial of it goes back, and
 * a device that left its factory with it stays closed until a repair comes. Real boot loop, first boot, agent, server and
 * command line; on a real systemd: the lab's scenarios first-boot-trial and first-boot-repair.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { EmulatedDevice, type EmulatedUserspace } from '../../emulator/boot-loop.ts';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import { DeviceDetail, Explanation } from '../../protocol/operator-api.ts';
import { decodeCommandLine } from '../../update-server/config.ts';
import { type RunningServer, startServer } from '../../update-server/server.ts';
import { documentOf, type Run, runHoldfast } from '../unit/cli/run-holdfast.ts';
import { newOwnerKey } from './owner-key.ts';

const PROJECT = join(import.meta.dirname, '../..');
/** The lab's; its paths become those of the emulated device. */
const PROVIDER = join(PROJECT, 'scripts/device-image/debian/lab/usr/lib/acme/panel-pin');
const PROVIDERS = {
  sshHostKeys: null,
  authorizedKeys: null,
  machineId: false,
  makers: [{ name: 'panel', executable: '/usr/lib/acme/panel-pin' }],
};
const PATIENCE_MS = 120_000;
const SOUND = 'cam-0001';
const FAILING = 'cam-0002';

let home: string;
let server: RunningServer;
const powered: { device: EmulatedDevice; ended: Promise<void> }[] = [];
const holdfast = (...args: string[]): Promise<Run> => runHoldfast([...args, '--json'], { home });
const answerOf = async (...args: string[]) => documentOf(await holdfast(...args));
const onDevice = (id: string, path: string): string => join(home, id, path);
const until = (holds: () => Promise<void>) => vi.waitFor(holds, { timeout: PATIENCE_MS, interval: 300 });
const detailOf = async (id: string): Promise<DeviceDetail> =>
  v.parse(v.object(DeviceDetail.entries), await answerOf('devices', 'show', id));
const unproven = async () => (await answerOf('devices', '--factory')).devices;

/** What `dev push` says of a release that was not confirmed. */
const Unconfirmed = v.object({ explanation: Explanation, rolloutId: v.string() });

/** A slot's image names its release, and what that does instead of working. */
async function image(version: string, fault: 'provider-fails' | ''): Promise<string> {
  const path = join(home, `${version}.img`);
  await writeFile(path, `${version}\n${fault}\n`.padEnd(64 * 1024, '\n'));
  return path;
}

function userspace(id: string): EmulatedUserspace {
  return {
    async mount(slot, root) {
      const read = await readFile(join(slot, 'rootfs.img'), 'utf8').catch(() => undefined);
      if (read === undefined) return { ok: false, why: 'it is empty' };
      const [version = '', fault = ''] = read.split('\n');
      await mkdir(join(root, 'etc'), { recursive: true });
      await mkdir(join(root, 'usr/lib/acme'), { recursive: true });
      await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
      await writeFile(join(root, 'etc/shadow'), 'root::19000:0:99999:7:::\n', { mode: 0o600 });
      await writeFile(join(root, 'etc/fault'), `${fault}\n`);
      const provider = (await readFile(PROVIDER, 'utf8'))
        .replaceAll('/etc/fault', join(root, 'etc/fault'))
        .replaceAll('/data/holdfast', onDevice(id, 'data'));
      await writeFile(join(root, 'usr/lib/acme/panel-pin'), provider, { mode: 0o755 });
      return { ok: true, version };
    },
    programs(_root, config) {
      const node = (file: string): string => `"${process.execPath}" "${join(PROJECT, 'agent', file)}"`;
      const boot = `setpriv --pdeathsig KILL ${node('first-boot-main.ts')} firstboot --boot --config "${config}"`;
      // As the units have it: blocked or not, the agent runs.
      return { agent: ['/bin/sh', '-c', `${boot}; exec ${node('main.ts')} run --config "${config}"`] };
    },
  };
}

async function powerOn(id: string, rootfs: string): Promise<void> {
  await makeDevice({
    directory: join(home, id),
    images: { rootfs },
    installed: { sequence: 1, version: '1.0.0' },
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'lab',
    rootFile: join(home, 'server/metadata/1.root.json'),
    claim: await readFile(join(home, 'claims', `${id}.claim.json`), 'utf8'),
    server: { url: server.endpoints.deviceUrl, mqttUrl: null, anchorsFile: server.endpoints.serverCa },
    timing: { ...DEMO_TIMING, pollIntervalMs: 500 },
    health: 'none',
    firstBoot: { providers: PROVIDERS, owners: [newOwnerKey(), newOwnerKey()] },
  });
  const config = JSON.parse(await readFile(onDevice(id, 'factory/agent.json'), 'utf8'));
  // So long a trial waits for its first boot. It polls meanwhile, and the enforced gate offers it nothing.
  config.health.builtin.startDeadlineMs = 1500;
  await writeFile(onDevice(id, 'factory/agent.json'), JSON.stringify(config));
  const device = new EmulatedDevice(join(home, id), userspace(id));
  powered.push({ device, ended: device.powerOn() });
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'holdfast-repair-'));
  const ports = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];
  const words = ['run', '--lab', '--data', join(home, 'server'), ...ports];
  const config = decodeCommandLine([...words, '--poll-after-ms', '500', '--tick-ms', '200'], '0.0.0');
  if (config === undefined) throw new Error('no configuration');
  server = await startServer(config, { log: pino({ level: 'silent' }), version: '0.0.0' });
  await writeFile(join(home, 'token'), `${server.oneTimeToken ?? ''}\n`, { mode: 0o600 });
  await holdfast('login', '--server-data', join(home, 'server'), '--token-file', join(home, 'token'));
  await holdfast('devices', 'claims', '--class', 'acme-cam', '--ids', `${SOUND},${FAILING}`, '--out', 'claims');
  await powerOn(SOUND, await image('1.0.0', ''));
  await powerOn(FAILING, await image('1.0.0-failing', 'provider-fails'));
}, PATIENCE_MS);

afterAll(async () => {
  await Promise.all(powered.map(({ device }) => device.powerOff()));
  await Promise.all(powered.map(({ ended }) => ended));
  await server?.close();
  await rm(home, { recursive: true, force: true });
});

it('goes back from a trial whose first boot is blocked, is open again, and the server says why', async () => {
  await until(async () => {
    expect((await detailOf(SOUND)).device.credentials).toBe('proven');
  });
  const pushed = await holdfast('dev', 'push', await image('2.0.0', 'provider-fails'), '--device', SOUND);
  expect(pushed.status).toBe(4);
  const { explanation } = v.parse(Unconfirmed, documentOf(pushed));
  expect(explanation).toMatchObject({ reason: 'rolled-back' });
  expect(explanation.detail).toContain('health-check-failed: first-boot maker-provider-failed: blocked; maker:panel: ');
  await until(async () => {
    const { device } = await detailOf(SOUND);
    expect(device).toMatchObject({ state: 'idle', bootedSlot: 'a', installed: { version: '1.0.0' } });
    expect(device.credentials).toBe('proven');
  });
  const said = await readFile(onDevice(SOUND, 'run/console.log'), 'utf8');
  const rests = said.match(/slot \w[^:]*: release \S+|\b(BLOCKED|OPEN): /g);
  expect(rests).toEqual([
    'slot a: release 1.0.0',
    'OPEN: ',
    'slot b on trial: release 2.0.0',
    'BLOCKED: ',
    'slot a: release 1.0.0',
    'OPEN: ',
  ]);
});

it('keeps a device closed that left its factory so, lists it, and gives it no update', async () => {
  await until(async () => {
    expect(await unproven()).toMatchObject([{ deviceId: FAILING, credentials: 'factory', enrolment: 'enrolled' }]);
    expect((await detailOf(FAILING)).credentials).toMatchObject({ state: 'blocked' });
  });
  const pushed = await holdfast('dev', 'push', await image('3.0.0', ''), '--device', FAILING, '--timeout', '3s');
  expect(pushed.status).toBe(4);
  const { explanation, rolloutId } = v.parse(Unconfirmed, documentOf(pushed));
  expect(explanation).toMatchObject({ reason: 'factory-credentials' });
  expect(existsSync(onDevice(FAILING, 'slots/b/rootfs.img'))).toBe(false);
  expect((await holdfast('rollout', 'cancel', rolloutId)).status).toBe(0);
});

it('opens with the repair, as the device that enrolled', async () => {
  const key = await readFile(onDevice(FAILING, 'data/identity/device.key'), 'utf8');
  const path = 'releases/acme-cam/stable/3/release.suit';
  const words = ['--waves', '100%', '--device', FAILING, '--purpose', 'repair'];
  expect((await holdfast('rollout', 'start', path, ...words)).status).toBe(0);
  await until(async () => {
    const { device } = await detailOf(FAILING);
    expect(device).toMatchObject({ state: 'idle', bootedSlot: 'b', installed: { sequence: 3 }, credentials: 'proven' });
  });
  expect(await unproven()).toEqual([]);
  expect(await readFile(onDevice(FAILING, 'data/identity/device.key'), 'utf8')).toBe(key);
  expect(await readFile(onDevice(FAILING, 'run/console.log'), 'utf8')).toMatch(/BLOCKED: .*slot b on trial.*OPEN: /s);
});
