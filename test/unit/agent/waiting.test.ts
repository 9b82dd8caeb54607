/** The engine, with a device that has reasons to wait: real trust and board, a simulated disk and clock. */
import { describe, expect, it } from 'vitest';
import { type EnginePorts, type EngineSettings, MustWait } from '../../../agent/core/ports.ts';
import { baselineRecord } from '../../../agent/storage/baseline-record.ts';
import { UpdateEngine } from '../../../agent/update-engine.ts';
import { readBootEnv } from '../../../platform/emulated-boot-env.ts';
import type { ReportEvent } from '../../../protocol/device-api.ts';
import { MemorySource, type ReleaseWish, TestMaker } from '../../sim/release-fixture.ts';
import { DEVICE, makeFactoryDevice, SimulatedDevice, STATE } from '../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';

const HOUR_MS = 3600_000;
const MIB = 1024 * 1024;
const image = (fill: number) => ({ rootfs: new Uint8Array(MIB + 100).fill(fill) });
const GOOD: ReleaseWish = { sequence: 2, version: '2.0.0', images: image(2) };

/** A device with an application, and whatever else the ports can have. */
class WaitingDevice extends SimulatedDevice {
  inUse: string | undefined = 'a game is on';
  saveFails: readonly string[] = [];
  download = false;
  readonly saved: string[] = [];
  more: Partial<EnginePorts> = {};

  override get settings(): EngineSettings {
    const inUse = { limitMs: 24 * HOUR_MS, askEveryMs: 60_000, download: this.download };
    return { ...super.settings, inUse };
  }

  override ports(): EnginePorts {
    const application = {
      inUse: async () => this.inUse,
      beforeReboot: async () => {
        this.saved.push('saved');
        return this.saveFails;
      },
    };
    return { ...super.ports(), application, ...this.more };
  }

  async open(): Promise<UpdateEngine> {
    return UpdateEngine.open(this.ports(), this.settings);
  }

  notices(): string[] {
    const notices = this.events.filter(
      (event): event is Extract<ReportEvent, { kind: 'notice' }> => event.kind === 'notice',
    );
    return notices.map(({ code }) => code).filter((code) => code !== 'medium-unverified');
  }
}

async function world() {
  const maker = new TestMaker();
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, image(1), maker.factoryRoot);
  const source = new MemorySource(maker);
  const device = new WaitingDevice(disk, source);
  await device.boot();
  return { maker, disk, source, device, action: maker.release(GOOD) };
}

describe('a device that is in use', () => {
  it('writes the release and does not arm it; says once why, and goes on when the use ends', async () => {
    const { device, disk, action } = await world();
    const engine = await device.open();
    await engine.offer(action);
    for (let asked = 0; asked < 5; asked += 1) {
      expect(await engine.run()).toEqual({ rest: 'retry', afterMs: 60_000 });
      await device.clock.sleep(60_000);
    }
    expect(engine.status()).toMatchObject({ state: 'armed', waiting: { reason: 'in-use', detail: 'a game is on' } });
    expect(await readBootEnv(disk, DEVICE)).toMatchObject({ trial: null });
    expect(device.notices()).toEqual(['in-use']);
    device.inUse = undefined;
    device.events.length = 0;
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(device.events).toContainEqual({ kind: 'state', state: 'armed', actionId: 'action-2' });
    expect(engine.status().waiting).toBeNull();
    expect(device.saved).toEqual(['saved']);
    expect((await device.runToRest(action)).rest).toEqual({ rest: 'idle' });
  });

  it('writes nothing to its disk while it waits, but the time waited', async () => {
    const { device, disk, action } = await world();
    const engine = await device.open();
    await engine.offer(action);
    await engine.run();
    let before = disk.operations;
    for (let asked = 0; asked < 9; asked += 1) {
      await device.clock.sleep(60_000);
      await engine.run();
    }
    const reads = disk.operations - before;
    before = disk.operations;
    await device.clock.sleep(60_000);
    await engine.run();
    // The tenth minute writes the record: both copies at first.
    expect(reads).toBe(0);
    expect(disk.operations).toBeGreaterThan(before);
  });

  it.each(['halt', 'superseded'] as const)('answers %s while it waits', async (event) => {
    const { device, disk, maker, action } = await world();
    const engine = await device.open();
    await engine.offer(action);
    await engine.run();
    if (event === 'halt') {
      await engine.offer(null);
      expect(await engine.run()).toEqual({ rest: 'idle' });
      expect(engine.status()).toMatchObject({ state: 'idle', waiting: null, actionId: null });
    } else {
      await engine.offer(maker.release({ ...GOOD, sequence: 3, version: '3.0.0', images: image(3) }));
      expect(await engine.run()).toMatchObject({ rest: 'retry' });
      expect(engine.status()).toMatchObject({ state: 'armed', actionId: 'action-3' });
      device.inUse = undefined;
      const { engine: after } = await device.runToRest(
        maker.release({ ...GOOD, sequence: 3, version: '3.0.0', images: image(3) }),
      );
      expect(after.status().installed.sequence).toBe(3);
    }
    expect(await readBootEnv(disk, DEVICE)).toMatchObject({ trial: null });
  });

  it('boots what it ran before after a power cut, waits on, and fetches nothing again', async () => {
    const { device, source, action } = await world();
    const engine = await device.open();
    await engine.offer(action);
    await engine.run();
    source.ranges.length = 0;
    expect(await device.boot()).toMatchObject({ slot: 'a', trial: false });
    const again = await device.open();
    expect(again.status().state).toBe('armed');
    expect(await again.run()).toMatchObject({ rest: 'retry' });
    expect(again.status().waiting?.reason).toBe('in-use');
    device.inUse = undefined;
    expect(await again.run()).toEqual({ rest: 'reboot' });
    expect(source.ranges).toEqual([]);
  });

  it('goes on at its limit, also when it restarts again and again', async () => {
    const { device, action } = await world();
    let hours = 0;
    for (; hours < 40; hours += 1) {
      const engine = await device.open();
      await engine.offer(action);
      const until = device.clock.monotonicMs() + HOUR_MS;
      let rest = await engine.run();
      while (rest.rest === 'retry' && device.clock.monotonicMs() < until) {
        await device.clock.sleep(rest.afterMs);
        rest = await engine.run();
      }
      if (rest.rest === 'reboot') break;
      await device.boot();
    }
    // A restart forgets ten minutes at most.
    expect(hours).toBeGreaterThanOrEqual(23);
    expect(hours).toBeLessThan(30);
    expect(device.notices()).toContain('in-use-limit');
  });

  it('does not begin a download where that is to wait too', async () => {
    const { device, source, action } = await world();
    device.download = true;
    const engine = await device.open();
    await engine.offer(action);
    expect(await engine.run()).toMatchObject({ rest: 'retry' });
    expect(engine.status()).toMatchObject({ state: 'downloading', waiting: { reason: 'in-use' } });
    expect(source.ranges).toEqual([]);
    device.inUse = undefined;
    expect((await device.runToRest(action)).rest).toEqual({ rest: 'idle' });
  });

  it('reboots though the application could not save, and tells so', async () => {
    const { device, action } = await world();
    device.inUse = undefined;
    device.saveFails = ['10-save: no room'];
    expect((await device.runToRest(action)).rest).toEqual({ rest: 'idle' });
    expect(device.events).toContainEqual({ kind: 'notice', code: 'before-reboot-failed', detail: '10-save: no room' });
  });
});

describe('a device whose link must rest', () => {
  it('keeps what it has, waits as long as it was told, and ends the update without fetching anything twice', async () => {
    const { device, source, action } = await world();
    device.inUse = undefined;
    let open = 1;
    const fetchRange: MemorySource['fetchRange'] = async (...asked) => {
      if (open <= 0) throw new MustWait('budget-spent', '8 of 8 bytes', 5000);
      open -= 1;
      return source.fetchRange(...asked);
    };
    device.more = { source: Object.assign(Object.create(source), { fetchRange }) };
    const engine = await device.open();
    await engine.offer(action);
    expect(await engine.run()).toEqual({ rest: 'retry', afterMs: 5000 });
    expect(engine.status()).toMatchObject({ state: 'downloading', waiting: { reason: 'budget-spent' } });
    expect(await engine.run()).toEqual({ rest: 'retry', afterMs: 5000 });
    expect(device.notices()).toEqual(['budget-spent']);
    open = 100;
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(source.ranges).toHaveLength(2);
    expect(new Set(source.ranges).size).toBe(2);
  });
});

describe('the baseline', () => {
  it('is durable before the trial is armed, and given to the checks of that very update', async () => {
    const { device, disk, action } = await world();
    device.inUse = undefined;
    const given: unknown[] = [];
    const health: EnginePorts['health'] = {
      baseline: async () => {
        expect(await readBootEnv(disk, DEVICE)).toMatchObject({ trial: null });
        return { failedUnits: ['old.service'] };
      },
      check: async (baseline) => {
        given.push(baseline?.failedUnits);
        return { healthy: true, failedCheck: '', detail: '' };
      },
    };
    device.more = { health };
    await device.runToRest(action);
    expect(given).toEqual([['old.service']]);
    await baselineRecord(disk, STATE).write({ format: 'holdfast-baseline-1', actionId: 'other', failedUnits: ['x'] });
    device.more = { health: { check: health.check } };
    await device.runToRest(device.source.maker.release({ ...GOOD, sequence: 3, version: '3.0.0', images: image(3) }));
    expect(given).toEqual([['old.service'], undefined]);
  });
});

describe('a release that failed is quarantined, with how far it came', () => {
  /** Runs the new slot up to the point where it dies, until the bootloader goes back. */
  async function dies(when: 'before-its-agent' | 'in-its-trial', lastBootEnd = '') {
    const { device, action } = await world();
    device.inUse = undefined;
    device.more = { lastBootEnd: async () => lastBootEnd };
    const engine = await device.open();
    await engine.offer(action);
    await engine.run();
    for (let facts = await device.boot(); facts.slot === 'b'; facts = await device.boot()) {
      if (when === 'in-its-trial') await device.open();
    }
    const old = await device.open();
    expect(await old.run()).toMatchObject({ rest: 'idle' });
    const ended = device.events.find((event) => event.kind === 'rolled-back');
    return { ended, quarantined: old.status().quarantined };
  }
  const entry = { sequence: 2, reason: 'trial-attempts-exhausted' };

  it('when its boots never reached userspace, or its agent crashed at its start, three times', async () => {
    const { ended, quarantined } = await dies('before-its-agent');
    expect(quarantined).toEqual([entry]);
    expect(ended).toMatchObject({
      ...entry,
      detail: expect.stringMatching(/^no attempt reached its agent; boot recovery/),
    });
  });

  it('when a watchdog or a panic ended its trials, with what the machine kept of it', async () => {
    const { ended, quarantined } = await dies('in-its-trial', '; a watchdog reset the machine');
    expect(quarantined).toEqual([entry]);
    expect(ended).toMatchObject({
      detail: expect.stringMatching(/^its agent began the trial and did not end it; a watchdog reset the machine; /),
    });
  });

  it('when a unit failed that had not before, by its name', async () => {
    const { device, action } = await world();
    device.inUse = undefined;
    const sick = {
      healthy: false,
      failedCheck: 'unit camera.service',
      detail: 'failed, and had not before the update',
    };
    device.more = { health: { check: async () => sick } };
    const { engine } = await device.runToRest(action);
    expect(engine.status().quarantined).toEqual([{ sequence: 2, reason: 'health-check-failed: unit camera.service' }]);
  });
});
