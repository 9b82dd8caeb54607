/** The inner loop of a tester: no ceremony, and from a changed file in an image to a confirmed boot with one command. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import type { Process } from '../../platform/processes.ts';
import type { TransportState } from '../../protocol/operator-api.ts';
import type { DemoRun } from '../../scripts/demo/demo-run.ts';
import { claimPath } from '../../scripts/demo/fleet-words.ts';
import { powerOn } from '../../scripts/demo/steps/devices.ts';
import { BUILT_BUNDLES, type DemoImages, makeDemoImages, PROJECT_DIRECTORY } from '../../scripts/images/demo-images.ts';
import { IMAGE_TOOL_ENV } from '../../scripts/images/ext4-image.ts';
import { DEMO_PROVIDERS } from '../../scripts/images/factory-secrets.ts';
import { needProgram } from '../../scripts/programs.ts';
import { emptyFleet, type Fleet, SMALL_ROOTFS_MIB } from './fleet.ts';
import { newOwnerKey } from './owner-key.ts';

/** A lab's root names no owner: those of the image count. */
const OWNERS = [newOwnerKey(), newOwnerKey()];
const DEVICE = 'cam-0001';
const OFFLINE = 'cam-0002';
/** A guard against what never comes, far above what a slow machine takes. */
const LIMIT_MS = 120_000;
let fleet: Fleet;
let run: DemoRun;
let emulator: Process;
let images: { one: DemoImages; two: DemoImages; broken: DemoImages };

function make(version: string, sequence: number, brokenApp = false): Promise<DemoImages> {
  const outDirectory = run.path('images', version);
  return makeDemoImages({
    version,
    sequence,
    outDirectory,
    brokenApp,
    rootfsMib: SMALL_ROOTFS_MIB,
    bootMib: 1,
    ...BUILT_BUNDLES,
  });
}

async function startLab(): Promise<void> {
  const { device, operator, mqtt } = run.ports;
  const ports = ['--device-port', String(device), '--operator-port', String(operator), '--mqtt-port', String(mqtt)];
  const args = [
    '--lab',
    '--data',
    run.path('server'),
    ...ports,
    '--poll-after-ms',
    '500',
    '--tick-ms',
    '200',
    '--json',
  ];
  const server = run.processes.start({
    name: 'holdfast-server --lab',
    file: join(PROJECT_DIRECTORY, 'bin/holdfast-server'),
    args,
    logFile: run.path('server.log'),
  });
  const ready = (await server.firstLine()) as { oneTimeToken: string };
  await writeFile(run.path('token'), `${ready.oneTimeToken}\n`, { mode: 0o600 });
  await run.words.holdfast(['login', '--server-data', run.path('server'), '--token-file', run.path('token')], {
    quiet: true,
  });
}

async function makeLabDevice(deviceId: string): Promise<void> {
  await makeDevice({
    directory: run.devicePath(deviceId),
    images: images.one,
    installed: { sequence: 1, version: '1.0.0' },
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'lab',
    rootFile: run.path('server/metadata/1.root.json'),
    claim: await readFile(claimPath(run.path('claims'), deviceId), 'utf8'),
    server: {
      url: run.deviceUrl,
      mqttUrl: `mqtts://localhost:${run.ports.mqtt}`,
      anchorsFile: run.path('server/pki/server-ca.pem'),
    },
    timing: DEMO_TIMING,
    firstBoot: { providers: DEMO_PROVIDERS, owners: OWNERS },
  });
}

/** Waits until the server has heard of this sequence from the device. */
const hears = (deviceId: string, sequence: number): Promise<unknown> =>
  run.until(LIMIT_MS, 200, async () => {
    const installed = (await run.words.device(deviceId).catch(() => undefined))?.device.installed;
    return installed?.sequence === sequence ? installed : undefined;
  });

beforeAll(async () => {
  fleet = await emptyFleet(3);
  run = fleet.run;
  await startLab();
  images = { one: await make('1.0.0', 1), two: await make('1.1.0', 2), broken: await make('1.2.0', 3, true) };
  await run.words.claims('acme-cam', [DEVICE, OFFLINE], run.path('claims'), { quiet: true });
  await mkdir(run.path('devices'));
  await makeLabDevice(DEVICE);
  emulator = powerOn(run, 'emulator', [DEVICE]);
  expect(await hears(DEVICE, 1)).toMatchObject({ version: '1.0.0' });
});
afterAll(() => fleet?.close());

const push = (image: string, ...more: string[]): Promise<unknown> =>
  run.words.holdfast(['dev', 'push', image, '--device', DEVICE, ...more], { quiet: true, alsoStatus: [4] });

/** What the images of a release travel as; empty before it is published. Throws when one could not be made. */
async function formsOf(path: string): Promise<TransportState[]> {
  const shown = await run.words.holdfast(['release', 'show', path], { quiet: true }).catch(() => undefined);
  const { transport } = (shown ?? { transport: [] }) as { transport: TransportState[] };
  const failed = transport.find((form) => form.state === 'failed');
  if (failed !== undefined) throw new Error(`${failed.kind}: ${failed.detail}`);
  return transport;
}

describe('holdfast dev push', () => {
  const changed = () => run.path('changed.img');
  let pushed: Promise<unknown>;

  it('puts a first image on a device, and ends when its boot is confirmed', async () => {
    expect(await push(images.two.rootfs, '--with', `boot=${images.two.boot}`)).toMatchObject({ ok: true, sequence: 2 });
    expect((await run.words.agent(run.devicePath(DEVICE))).status).toMatchObject({
      installed: { sequence: 2 },
      bootedSlot: 'b',
    });
  });

  it('makes the delta between the two images of a changed file, beside the built server, while the device is off', async () => {
    await copyFile(images.two.rootfs, changed());
    const app = run.path('app.mjs');
    const source = (
      await needProgram('debugfs', ['-R', 'cat /usr/lib/acme/app.mjs', changed()], { env: IMAGE_TOOL_ENV })
    ).stdout;
    await writeFile(app, source.replace('acme app', 'acme app, mended,'));
    const commands = run.path('commands');
    await writeFile(commands, `cd /usr/lib/acme\nrm app.mjs\nwrite ${app} app.mjs\n`);
    await needProgram('debugfs', ['-w', '-f', commands, changed()], { env: IMAGE_TOOL_ENV });
    // Off, because the next test is of a device that comes when the delta has been made, on however slow a machine.
    await emulator.stop();
    pushed = push(changed());
    pushed.catch(() => undefined);
    const made = await run.until(LIMIT_MS, 500, async () => {
      const forms = await formsOf('releases/acme-cam/stable/3/release.suit');
      const recipe = forms.find((form) => form.kind === 'recipe');
      return recipe?.state === 'made' ? { recipe, forms } : undefined;
    });
    const packed = made?.forms.find((form) => form.kind === 'blocks-zstd' && form.state === 'made');
    expect(made?.recipe.sizeBytes).toBeLessThan((packed?.sizeBytes ?? 0) / 10);
  });

  it('takes that file to a confirmed boot, with the other component carried over', async () => {
    powerOn(run, 'emulator-again', [DEVICE]);
    expect(await pushed).toMatchObject({ ok: true, sequence: 3 });
    const said = await readFile(join(run.devicePath(DEVICE), 'run/console.log'), 'utf8');
    expect(said).toContain('acme app, mended, 1.1.0 is up');
  });

  it('comes to the device as what changed, which says how much it fetched', async () => {
    const { history } = await run.words.device(DEVICE);
    const said = JSON.stringify(history);
    const [, fetched = '', of = ''] = /fetched (\d+) of (\d+) bytes/.exec(said) ?? [];
    expect(Number(of)).toBeGreaterThan(SMALL_ROOTFS_MIB * 2 ** 20);
    expect(Number(fetched)).toBeGreaterThan(0);
    expect(Number(fetched)).toBeLessThan(Number(of) / 10);
  });

  it('ends with the reason when the image fails its health check, and the device runs what it ran', async () => {
    const said = await push(images.broken.rootfs);
    expect(said).toMatchObject({ ok: false });
    expect(JSON.stringify(said)).toContain('camera sensor');
    const settled = await run.until(LIMIT_MS, 200, async () => {
      const { status } = await run.words.agent(run.devicePath(DEVICE));
      return status?.state === 'idle' ? status : undefined;
    });
    expect(settled).toMatchObject({ installed: { sequence: 3 } });
  });
});

describe('a release on a stick', () => {
  const RELEASE = 'releases/acme-cam/stable/3/release.suit';
  const stick = () => run.path('stick');
  const exported = () =>
    run.words.holdfast(['release', 'export', RELEASE, '--out', stick()], { quiet: true }) as Promise<{
      fetchedBytes: number;
    }>;

  it('is exported once, and a second time nothing of it is fetched again', async () => {
    expect((await exported()).fetchedBytes).toBeGreaterThan(SMALL_ROOTFS_MIB * 2 ** 20);
    expect(await exported()).toMatchObject({ ok: true, fetchedBytes: 0 });
  });

  it('installs on a device that no rollout names; the device confirms it, and tells the server afterwards', async () => {
    await makeLabDevice(OFFLINE);
    const first = powerOn(run, 'emulator-offline', [OFFLINE]);
    expect(await hears(OFFLINE, 1)).toMatchObject({ sequence: 1 });
    await first.stop();
    const config = join(run.devicePath(OFFLINE), 'factory/agent.json');
    const words = ['install', stick(), '--config', config, '--json'];
    const { stdout } = await needProgram(join(PROJECT_DIRECTORY, 'bin/holdfast-agent'), words);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, sequence: 3, end: 'reboot', slot: 'b' });
    powerOn(run, 'emulator-offline-again', [OFFLINE]);
    expect(await hears(OFFLINE, 3)).toMatchObject({ sequence: 3 });
    expect((await run.words.agent(run.devicePath(OFFLINE))).status).toMatchObject({
      state: 'idle',
      bootedSlot: 'b',
    });
  });
});
