/**
 * Both watchdogs. systemd's end is a real unix datagram socket and the real systemd-notify; the hardware's is a file that
 * takes what a driver would, beside the files that the kernel shows of it (there is no watchdog in a container).
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lastBootEnd } from '../../../../agent/last-boot-end.ts';
import { silentLog } from '../../../../agent/log.ts';
import { HardwareWatchdog } from '../../../../agent/watchdog/hardware-watchdog.ts';
import { Liveness } from '../../../../agent/watchdog/liveness.ts';
import { ServiceWatchdog, watchdogIntervalMs } from '../../../../agent/watchdog/service-watchdog.ts';
import { SimulatedClock } from '../../../sim/simulated-device.ts';
import { HAS_NOTIFY, NotifySocket } from './notify-socket.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'watchdog-'));
});
afterEach(() => rm(directory, { recursive: true }));

/** Until `read` gives what is wanted; a test that never sees it fails by its own timeout. */
async function eventually(read: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await read())) await pause(20);
}

describe('liveness', () => {
  it('names the strand that is silent for longer than it said, and no other', async () => {
    const clock = new SimulatedClock();
    const liveness = new Liveness(clock);
    liveness.heard('work', 1000);
    liveness.heard('conversation', 5000);
    await clock.sleep(1000);
    expect(liveness.stuck()).toEqual([]);
    await clock.sleep(1);
    expect(liveness.stuck()).toEqual(['work']);
    liveness.heard('work', 1000);
    expect(liveness.stuck()).toEqual([]);
    await clock.sleep(4000);
    liveness.rests('work');
    expect(liveness.stuck()).toEqual(['conversation']);
  });
});

describe.skipIf(!HAS_NOTIFY)('the service watchdog', () => {
  let systemd: NotifySocket;
  let clock: SimulatedClock;
  let stuck: string[];
  let watchdog: ServiceWatchdog;

  beforeEach(async () => {
    systemd = await NotifySocket.open(join(directory, 'notify'));
    clock = new SimulatedClock();
    stuck = [];
    const environment = { NOTIFY_SOCKET: systemd.path, WATCHDOG_USEC: '600000000', WATCHDOG_PID: String(process.pid) };
    watchdog = new ServiceWatchdog({ clock, log: silentLog, stuck: () => stuck }, environment);
  });
  afterEach(async () => {
    watchdog.stop();
    await systemd.close();
  });

  const fed = () => systemd.count('WATCHDOG=1');

  it('says that the agent is ready, and feeds as turns come: not more often than a quarter of the interval', async () => {
    await watchdog.ready();
    await eventually(() => systemd.count('READY=1') === 1 && fed() === 1);
    await clock.sleep(149_000);
    await watchdog.turn();
    await clock.sleep(1000);
    await watchdog.turn();
    await eventually(() => fed() === 2);
    await watchdog.turn();
    expect(fed()).toBe(2);
  });

  it('is not fed while a strand hangs, and fed again once it got on', async () => {
    await watchdog.ready();
    await eventually(() => fed() === 1);
    stuck = ['work'];
    await clock.sleep(300_000);
    await watchdog.turn();
    await pause(300);
    expect(fed()).toBe(1);
    stuck = [];
    await watchdog.turn();
    await eventually(() => fed() === 2);
  });
});

describe('the time between feeds', () => {
  it.each([
    [{ NOTIFY_SOCKET: '/s', WATCHDOG_USEC: '30000000' }, 30_000],
    [{ NOTIFY_SOCKET: '/s', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 30_000],
    [{ NOTIFY_SOCKET: '/s', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, undefined],
    [{ WATCHDOG_USEC: '30000000' }, undefined],
    [{ NOTIFY_SOCKET: '/s' }, undefined],
    [{ NOTIFY_SOCKET: '/s', WATCHDOG_USEC: 'often' }, undefined],
  ])('%j: %s', (environment, expected) => {
    expect(watchdogIntervalMs(environment, 7)).toBe(expected);
  });

  it('comes by the timer alone when no turn does', async () => {
    const log: string[] = [];
    const environment = { NOTIFY_SOCKET: join(directory, 'nobody'), WATCHDOG_USEC: '100000' };
    const ports = { clock: new SimulatedClock(), log: { ...silentLog, warn: (text: string) => void log.push(text) } };
    const watchdog = new ServiceWatchdog({ ...ports, stuck: () => ['work'] }, environment);
    await watchdog.ready();
    await eventually(() => log.filter((text) => text === 'the watchdog is not fed').length >= 3);
    watchdog.stop();
  });
});

describe('the hardware watchdog', () => {
  const device = () => join(directory, 'watchdog');
  const written = () => readFile(device(), 'utf8');
  const sys = async (facts: Record<string, string>) => {
    const folder = join(directory, 'sys/class/watchdog/watchdog0');
    await mkdir(folder, { recursive: true });
    await writeFile(device(), '');
    for (const [name, text] of Object.entries(facts)) await writeFile(join(folder, name), `${text}\n`);
    return join(directory, 'sys');
  };
  const FACTS = { timeout: '1', nowayout: '0', state: 'inactive' };

  it('is fed while all gets on, and disarmed by the magic close', async () => {
    let stuck: string[] = [];
    const armed = await HardwareWatchdog.arm(device(), () => stuck, await sys(FACTS));
    if (typeof armed === 'string') throw new Error(armed);
    await eventually(async () => (await written()).length >= 3);
    stuck = ['work'];
    await pause(100);
    const before = (await written()).length;
    await pause(700);
    expect((await written()).length).toBe(before);
    await armed.disarm();
    await armed.disarm();
    expect(await written()).toMatch(/^\.+V$/);
  });

  it.each([
    ['one that could not be disarmed', { ...FACTS, nowayout: '1' }],
    ['one of which the kernel does not say', { timeout: '1' }],
    ['one that is not there', {}],
  ])('leaves %s alone', async (_, facts) => {
    const found = await HardwareWatchdog.arm(device(), () => [], await sys(facts));
    expect(found).toBeTypeOf('string');
    expect(await written()).toBe('');
  });
});

describe('what the machine kept of its last boot', () => {
  it('is a reset by the watchdog, and the log of a panic', async () => {
    expect(await lastBootEnd(directory)).toBe('');
    await mkdir(join(directory, 'class/watchdog/watchdog0'), { recursive: true });
    await mkdir(join(directory, 'fs/pstore'), { recursive: true });
    await writeFile(join(directory, 'class/watchdog/watchdog0/bootstatus'), '32\n');
    await writeFile(join(directory, 'fs/pstore/dmesg-ramoops-0'), '');
    expect(await lastBootEnd(directory)).toBe('; a watchdog reset the machine; the kernel left dmesg-ramoops-0');
    await writeFile(join(directory, 'class/watchdog/watchdog0/bootstatus'), '0\n');
    expect(await lastBootEnd(directory)).toBe('; the kernel left dmesg-ramoops-0');
  });
});
