/** A release that nobody signed yet, tried on emulated devices; and those that devices, or the command, must refuse. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CHANNEL, type DemoRun, HARDWARE_CLASS, OTHER_CLASS, VENDOR } from '../../scripts/demo/demo-run.ts';
import { makeImages, publish } from '../../scripts/demo/steps/releases.ts';
import { PROJECT_DIRECTORY } from '../../scripts/images/demo-images.ts';
import { enrolDevices, type Fleet, fleetWithServer, SMALL_ROOTFS_MIB } from './fleet.ts';

let fleet: Fleet;
let run: DemoRun;
/** Where preflights work: empty again after each. */
let work: string;

const REFUSED = { quiet: true, alsoStatus: [4] };
const folderOf = (name: string): string => run.path('releases', name);

interface Build {
  readonly name: string;
  readonly sequence: number;
  readonly hardwareClass?: string;
  readonly rootfs?: string;
  readonly boot?: boolean;
}

/** A release folder of 3.0.0's images, with the changes named; nobody signs it. */
async function build({ name, sequence, hardwareClass = HARDWARE_CLASS, rootfs, boot = true }: Build): Promise<string> {
  const names = ['--vendor', VENDOR, '--class', hardwareClass, '--channel', CHANNEL, '--version', name];
  const images = boot ? ['--image', `boot=${run.path('images/3.0.0/boot.img')}`] : [];
  images.push('--image', `rootfs=${rootfs ?? run.path('images/3.0.0/rootfs.img')}`);
  const place = ['--sequence', String(sequence), '--server', '--out', folderOf(name)];
  await run.words.holdfast(['release', 'build', ...names, ...images, ...place], { quiet: true });
  return folderOf(name);
}

function preflight(folder: string, ...more: string[]): Promise<unknown> {
  return run.words.holdfast(['release', 'preflight', folder, '--work', work, ...more], REFUSED);
}

const Good = v.object({
  ok: v.literal(true),
  devices: v.array(
    v.object({
      delta: v.string(),
      outcome: v.string(),
      fetched: v.object({ fetchedBytes: v.number(), imageBytes: v.number(), said: v.string() }),
    }),
  ),
  recipes: v.array(v.object({ component: v.string(), sizeBytes: v.number() })),
  fleet: v.object({
    devices: v.number(),
    onFrom: v.number(),
    costs: v.array(v.object({ delta: v.string(), bytes: v.number(), price: v.number() })),
  }),
  halting: v.object({ devices: v.number(), failedAtMost: v.number() }),
});

beforeAll(async () => {
  fleet = await fleetWithServer(1);
  run = fleet.run;
  expect(await fleet.step('devices', enrolDevices)).toEqual([]);
  await publish(run, { version: '2.0.0', sequence: 2 });
  await makeImages(run, { version: '3.0.0', sequence: 3 });
  work = run.path('work');
  await mkdir(work);
});
afterEach(async () => expect(await readdir(work)).toEqual([]));
afterAll(() => fleet?.close());

describe('holdfast release preflight', () => {
  it(
    'takes devices from the last release of the server to the next, without a delta and with it',
    async () => {
      const folder = await build({ name: '3.0.0', sequence: 3 });
      const said = await preflight(
        folder,
        '--server',
        '--price-per-mb',
        '0.5',
        '--slot',
        `rootfs=${SMALL_ROOTFS_MIB}MiB`,
      );
      expect(said).toMatchObject({
        verdict: { good: true, code: 'confirmed' },
        from: { releasePath: 'releases/acme-cam/stable/2/release.suit' },
        to: { releasePath: 'releases/acme-cam/stable/3/release.suit' },
      });
      const { devices, recipes, fleet: counted, halting } = v.parse(Good, said);
      expect(devices.map(({ delta, outcome }) => `${delta}: ${outcome}`)).toEqual([
        'without: confirmed',
        'with: confirmed',
      ]);
      const [without, withDelta] = devices.map(({ fetched }) => fetched);
      expect(recipes.map(({ component }) => component)).toEqual(['boot', 'rootfs']);
      // Measured by the device: what came as recipe is what the server made, and less than without.
      expect(withDelta?.fetchedBytes).toBe(recipes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
      expect(without?.fetchedBytes).toBeGreaterThan(withDelta?.fetchedBytes ?? 0);
      expect(without?.fetchedBytes).toBeLessThan(without?.imageBytes ?? 0);
      expect(without?.said).toContain('recipe 0');
      // The maker's server has one device, and it runs the release before the last.
      expect(counted).toMatchObject({ devices: 1, onFrom: 0 });
      expect(counted.costs.map(({ bytes }) => bytes)).toEqual(devices.map(({ fetched }) => fetched.fetchedBytes));
      expect(halting).toEqual(expect.objectContaining({ devices: 1, failedAtMost: 1 }));
    },
    8 * 60_000,
  );

  it('leaves the release unsigned, and the server of the maker as it was', async () => {
    const names = await readdir(folderOf('3.0.0'));
    expect(names).not.toContain('release.suit');
    expect(names).not.toContain('targets.json');
    const { releases } = v.parse(
      v.object({ releases: v.array(v.object({ sequence: v.number() })) }),
      await run.words.holdfast(['release', 'list'], { quiet: true }),
    );
    expect(releases.map(({ sequence }) => sequence)).toEqual([2]);
    expect((await run.words.devices()).map(({ deviceId }) => deviceId)).toEqual(run.deviceIds);
  });

  it('has the device refuse a lower sequence', async () => {
    const refusal = { outcome: 'refused', by: 'device', code: 'sequence-not-newer' };
    const said = await preflight(folderOf('2.0.0'), '--from', folderOf('3.0.0'));
    expect(said).toMatchObject({
      ok: false,
      verdict: { good: false, code: 'sequence-not-newer' },
      refusal,
      devices: [],
    });
  });

  it('has the device refuse a release for another hardware class', async () => {
    const folder = await build({ name: 'hub', sequence: 3, hardwareClass: OTHER_CLASS });
    const refusal = { outcome: 'refused', by: 'device', code: 'class-mismatch' };
    expect(await preflight(folder, '--from', folderOf('2.0.0'))).toMatchObject({ ok: false, refusal, devices: [] });
  });

  it('lets a device go back from a release without an image that its slot needs, and says what the bootloader said', async () => {
    const folder = await build({ name: 'less', sequence: 4, boot: false });
    const said = await preflight(folder, '--from', folderOf('2.0.0'));
    const device = { delta: 'without', outcome: 'rolled-back', by: 'device', code: 'trial-attempts-exhausted' };
    expect(said).toMatchObject({ ok: false, refusal: null, devices: [device] });
    expect(JSON.stringify(said)).toContain('it has no image of boot');
  });

  it('refuses an image that is larger than its slot, before it starts a device', async () => {
    const slot = `rootfs=${SMALL_ROOTFS_MIB * 1024 - 1}KiB`;
    const refusal = { outcome: 'refused', by: 'preflight', code: 'image-larger-than-slot' };
    const said = await preflight(folderOf('3.0.0'), '--from', folderOf('2.0.0'), '--slot', slot);
    expect(said).toMatchObject({ ok: false, refusal, tried: [] });
  });

  it('refuses an image that was altered after the release was built', async () => {
    const rootfs = run.path('images/altered.img');
    await copyFile(run.path('images/3.0.0/rootfs.img'), rootfs);
    const folder = await build({ name: 'altered', sequence: 3, rootfs });
    const file = await open(rootfs, 'r+');
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 5_000_000);
    await file.write(Uint8Array.of((buffer[0] ?? 0) ^ 1), 0, 1, 5_000_000);
    await file.close();
    expect(await preflight(folder, '--from', folderOf('2.0.0'))).toMatchObject({ ok: false, code: 'image-changed' });
  });

  it('ends when it is interrupted, with what it started, and leaves nothing behind', async () => {
    const args = ['release', 'preflight', folderOf('3.0.0'), '--from', folderOf('2.0.0'), '--work', work, '--json'];
    const child = spawn(join(PROJECT_DIRECTORY, 'bin/holdfast'), args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = once(child, 'close');
    const pid = await agentUnder(work);
    // As a terminal does it: to the command and all that it started.
    process.kill(-(child.pid ?? 0), 'SIGINT');
    const [status] = await ended;
    expect(JSON.parse(said)).toMatchObject({ ok: false, code: 'interrupted' });
    expect(status).toBe(5);
    expect(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => 'gone')).toBe('gone');
  });
});

/** Process id of the emulated device's agent, once it runs. */
async function agentUnder(directory: string): Promise<number> {
  for (;;) {
    const [folder] = await readdir(directory);
    const path = join(directory, folder ?? '-', 'device-without/run/agent.pid');
    const pid = Number(await readFile(path, 'utf8').catch(() => ''));
    if (pid > 0) return pid;
    await sleep(50);
  }
}
