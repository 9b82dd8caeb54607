import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EmulatedDevice } from '../../../emulator/boot-loop.ts';
import { DEMO_TIMING, makeDevice } from '../../../emulator/factory.ts';
import { nodeDisk } from '../../../platform/disk.ts';
import { decodeBooted, readBootEnv, writeBootEnv } from '../../../platform/emulated-boot-env.ts';
import { demoUserspace } from '../../../scripts/emulator/mount-slot.ts';
import { type DemoImages, makeDemoImages } from '../../../scripts/images/demo-images.ts';

/** Stands in for the agent: writes down every boot, then does what data/command says. */
const FAKE_AGENT = `
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
const device = process.env.HOLDFAST_DEVICE;
const booted = JSON.parse(readFileSync(device + '/board/booted.json', 'utf8'));
const command = existsSync(device + '/data/command') ? JSON.parse(readFileSync(device + '/data/command', 'utf8')) : {};
appendFileSync(device + '/run/order', 'agent\\n');
appendFileSync(device + '/data/boots', booted.slot + (booted.trial ? ' trial' : '') + '\\n');
const what = booted.trial ? command.onTrial : command.otherwise;
if (what === 'reboot') { writeFileSync(device + '/board/reboot-request', ''); process.exit(0); }
if (what === 'crash') process.exit(1);
setInterval(() => {}, 1000);
`;

/** Stands in for the first boot: slow enough that whatever does not wait for it comes first; data/closed keeps it blocked. */
const FAKE_FIRST_BOOT = `
import { appendFileSync, existsSync } from 'node:fs';
const device = process.env.HOLDFAST_DEVICE;
await new Promise((resolve) => setTimeout(resolve, 300));
const closed = existsSync(device + '/data/closed');
appendFileSync(device + '/run/order', closed ? 'blocked\\n' : 'open\\n');
process.exit(closed ? 4 : 0);
`;

let directory: string;
let images: { one: DemoImages; two: DemoImages };
let device: string;
let running: { device: EmulatedDevice; ended: Promise<void> } | undefined;
let child: ChildProcess | undefined;
let count = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-boot-'));
  const agentFile = join(directory, 'agent.mjs');
  await writeFile(agentFile, FAKE_AGENT);
  const firstBootFile = join(directory, 'firstboot.mjs');
  await writeFile(firstBootFile, FAKE_FIRST_BOOT);
  const make = (version: string, sequence: number): Promise<DemoImages> =>
    makeDemoImages({
      version,
      sequence,
      outDirectory: join(directory, version),
      brokenApp: false,
      rootfsMib: 4,
      bootMib: 1,
      agentFile,
      firstBootFile,
    });
  images = { one: await make('1.0.0', 1), two: await make('2.0.0', 2) };
});

beforeEach(async () => {
  count += 1;
  device = join(directory, `cam-${count}`);
  await writeFile(join(directory, 'any'), 'x');
  const any = join(directory, 'any');
  await makeDevice({
    directory: device,
    images: images.one,
    installed: { sequence: 1, version: '1.0.0' },
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    rootFile: any,
    claim: '{}',
    server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: any },
    timing: DEMO_TIMING,
  });
});

afterEach(async () => {
  await running?.device.powerOff();
  await running?.ended;
  running = undefined;
  if (child?.exitCode === null) child.kill('SIGKILL');
  child = undefined;
});

afterAll(() => rm(directory, { recursive: true, force: true }));

function powerOn(): void {
  const emulated = new EmulatedDevice(device, demoUserspace);
  running = { device: emulated, ended: emulated.powerOn() };
}

async function until<T>(read: () => T | undefined | false): Promise<T> {
  for (;;) {
    const value = read();
    if (value !== undefined && value !== false) return value;
    await sleep(25);
  }
}

/** Whole lines only: the file exists before its first one is written. */
const boots = (): string[] =>
  existsSync(join(device, 'data/boots'))
    ? readFileSync(join(device, 'data/boots'), 'utf8').split('\n').slice(0, -1)
    : [];
const bootsAtLeast = (least: number): Promise<string[]> => until(() => boots().length >= least && boots());
const command = (value: object): Promise<void> => writeFile(join(device, 'data/command'), JSON.stringify(value));
const pidIn = (name: string): number | undefined => {
  const path = join(device, `run/${name}.pid`);
  return existsSync(path) ? Number(readFileSync(path, 'utf8')) || undefined : undefined;
};
const alive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};

async function fillSlotB(): Promise<void> {
  await copyFile(images.two.boot, join(device, 'board/slots/b/boot.img'));
  await copyFile(images.two.rootfs, join(device, 'board/slots/b/rootfs.img'));
}

describe('the emulated boot loop', () => {
  it('boots the first slot of the order and says so in booted.json before userspace starts', async () => {
    powerOn();
    expect(await bootsAtLeast(1)).toEqual(['a']);
    const facts = decodeBooted(await readFile(join(device, 'board/booted.json')));
    expect(facts).toMatchObject({ slot: 'a', trial: false });
  });

  it('tries a trial three times, then goes back and leaves the spent trial for the agent to see', async () => {
    await fillSlotB();
    await writeBootEnv(nodeDisk, device, { order: ['a'], trial: { slot: 'b', attemptsLeft: 3 } });
    await command({ onTrial: 'reboot' });
    powerOn();
    expect(await bootsAtLeast(4)).toEqual(['b trial', 'b trial', 'b trial', 'a']);
    expect(await readBootEnv(nodeDisk, device)).toEqual({ order: ['a'], trial: { slot: 'b', attemptsLeft: 0 } });
  });

  it('counts a slot that cannot be mounted as a failed attempt', async () => {
    await fillSlotB();
    await writeFile(join(device, 'board/slots/b/rootfs.img'), 'not a file system');
    await writeBootEnv(nodeDisk, device, { order: ['a'], trial: { slot: 'b', attemptsLeft: 3 } });
    powerOn();
    expect(await bootsAtLeast(1)).toEqual(['a']);
    const said = await readFile(join(device, 'run/console.log'), 'utf8');
    expect(said.match(/slot b on trial does not boot/g)).toHaveLength(3);
  });

  it('takes the next slot of the order when the first cannot be mounted', async () => {
    await fillSlotB();
    await writeFile(join(device, 'board/slots/a/boot.img'), 'torn');
    await writeBootEnv(nodeDisk, device, { order: ['a', 'b'], trial: null });
    powerOn();
    expect(await bootsAtLeast(1)).toEqual(['b']);
  });

  it('falls back to the factory order when both copies of the environment are damaged', async () => {
    for (const copy of [0, 1]) await writeFile(join(device, `board/boot-env.${copy}`), 'damaged');
    powerOn();
    expect(await bootsAtLeast(1)).toEqual(['a']);
  });

  it('resets the board when the agent of a trial ends again and again', async () => {
    await fillSlotB();
    await writeBootEnv(nodeDisk, device, { order: ['a'], trial: { slot: 'b', attemptsLeft: 1 } });
    await command({ onTrial: 'crash' });
    powerOn();
    expect(await until(() => boots().includes('a') && boots())).toEqual([...Array(5).fill('b trial'), 'a']);
  }, 30_000);

  it('starts an agent again that was killed', async () => {
    powerOn();
    const pid = await until(() => pidIn('agent'));
    await bootsAtLeast(1);
    process.kill(pid, 'SIGKILL');
    expect(await bootsAtLeast(2)).toEqual(['a', 'a']);
  });

  it('runs the first boot to its end before anything else of the slot', async () => {
    powerOn();
    await bootsAtLeast(1);
    expect(await readFile(join(device, 'run/order'), 'utf8')).toBe('open\nagent\n');
    await until(() => existsSync(join(device, 'run/app.sock')));
  });

  it('starts the agent alone while the first boot is blocked, tries that again, and then the rest', async () => {
    await writeFile(join(device, 'data/closed'), '');
    powerOn();
    await bootsAtLeast(1);
    const order = () => readFileSync(join(device, 'run/order'), 'utf8').split('\n').slice(0, -1);
    await until(() => order().length >= 3);
    expect(order()).toEqual(['blocked', 'agent', 'blocked']);
    expect([existsSync(join(device, 'run/app.sock')), pidIn('app')]).toEqual([false, undefined]);
    await rm(join(device, 'data/closed'));
    await until(() => existsSync(join(device, 'run/app.sock')));
    expect(order()).toEqual(['blocked', 'agent', 'blocked', 'open']);
  }, 30_000);

  it('ends a first boot that a power cut meets, and starts nothing after it', async () => {
    powerOn();
    const pid = await until(() => pidIn('firstboot'));
    await running?.device.powerOff();
    await running?.ended;
    expect([alive(pid), boots(), existsSync(join(device, 'run/order'))]).toEqual([false, [], false]);
  });

  it('reboots when the board is asked to, with a new boot id and an empty run folder', async () => {
    powerOn();
    await bootsAtLeast(1);
    const before = decodeBooted(await readFile(join(device, 'board/booted.json')));
    await writeFile(join(device, 'run/scratch'), 'x');
    await writeFile(join(device, 'board/reboot-request'), '');
    await until(() => {
      const now = decodeBooted(readFileSync(join(device, 'board/booted.json')));
      return now !== undefined && now.bootId !== before?.bootId;
    });
    expect(existsSync(join(device, 'run/scratch'))).toBe(false);
  }, 20_000);

  it('ends what a killed boot loop left running, and powers off on SIGTERM', async () => {
    const start = (): ChildProcess => {
      child = spawn(process.execPath, [join(import.meta.dirname, '../../../scripts/emulator/main.ts'), device], {
        stdio: 'ignore',
      });
      return child;
    };
    const first = start();
    const orphan = await until(() => pidIn('agent'));
    await bootsAtLeast(1);
    first.kill('SIGKILL');
    await until(() => first.signalCode !== null);
    expect(alive(orphan)).toBe(true);
    const second = start();
    await until(() => !alive(orphan));
    await bootsAtLeast(2);
    const pids = [await until(() => pidIn('agent')), await until(() => pidIn('app'))];
    second.kill('SIGTERM');
    await until(() => second.exitCode !== null);
    expect(pids.map(alive)).toEqual([false, false]);
  }, 20_000);
});
