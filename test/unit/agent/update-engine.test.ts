/**
 * The engine with real trust, real signatures, a real board and a simulated disk. Each attack is an accepted release
 * changed in one respect; its unchanged twin is accepted in the same way.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Offer } from '../../../agent/core/ports.ts';
import { countersRecord } from '../../../agent/storage/counters.ts';
import { UpdateEngine } from '../../../agent/update-engine.ts';
import { nodeDisk } from '../../../platform/disk.ts';
import { writeDurably } from '../../../platform/durable-file.ts';
import { emulatedPaths, encodeBooted, readBootEnv, writeBootEnv } from '../../../platform/emulated-boot-env.ts';
import type { Action, ReportEvent } from '../../../protocol/device-api.ts';
import {
  forgedKey,
  MemorySource,
  NOW_UNIX_S,
  type ReleaseWish,
  TestMaker,
  testKey,
} from '../../sim/release-fixture.ts';
import { DEVICE, makeFactoryDevice, SimulatedDevice, STATE } from '../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';

const MIB = 1024 * 1024;

function image(fill: number, sizeBytes: number): Uint8Array {
  return new Uint8Array(sizeBytes).fill(fill);
}

const V1 = { boot: image(1, 2000), rootfs: image(1, MIB + 100) };
const V2 = { boot: image(2, 2000), rootfs: image(2, MIB + 100) };
const GOOD: ReleaseWish = { sequence: 2, version: '2.0.0', images: V2 };

interface Bench {
  readonly maker: TestMaker;
  readonly disk: SimulatedDisk;
  readonly device: SimulatedDevice;
  readonly source: MemorySource;
}

async function bench(maker = new TestMaker()): Promise<Bench> {
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, V1, maker.factoryRoot);
  const source = new MemorySource(maker);
  return { maker, disk, device: new SimulatedDevice(disk, source), source };
}

const kinds = (events: readonly ReportEvent[]) => events.map(({ kind }) => kind);

function only<K extends ReportEvent['kind']>(events: readonly ReportEvent[], kind: K) {
  return events.filter((event): event is Extract<ReportEvent, { kind: K }> => event.kind === kind);
}

async function runOnce({ device }: Bench, offer: Offer): Promise<UpdateEngine> {
  await device.boot();
  const engine = await UpdateEngine.open(device.ports(), device.settings);
  await engine.offer(offer);
  await engine.run();
  return engine;
}

describe('a release that is good', () => {
  it('ends confirmed: slot, counters, report and status say so', async () => {
    const { maker, device, disk } = await bench();
    const { rest, engine } = await device.runToRest(maker.release(GOOD));
    expect(rest).toEqual({ rest: 'idle' });
    expect(await readBootEnv(disk, DEVICE)).toEqual({ order: ['b', 'a'], trial: null });
    expect(engine.status()).toMatchObject({
      state: 'idle',
      bootedSlot: 'b',
      installed: { sequence: 2, version: '2.0.0' },
      actionId: null,
      quarantined: [],
      heldWhy: '',
    });
    expect(only(device.events, 'confirmed')).toEqual([
      { kind: 'confirmed', actionId: 'action-2', sequence: 2, slot: 'b', version: '2.0.0' },
    ]);
    const states = only(device.events, 'state').map(({ state }) => state);
    const course = [
      'checking',
      'downloading',
      'verifying',
      'staged',
      'armed',
      'trial',
      'confirming',
      'sealing',
      'idle',
    ];
    expect(states).toEqual(course);
  });

  it.each([
    ['done', []],
    ['refused-at-open', ['medium-unverified']],
    ['refused-at-transfer', ['medium-unverified']],
  ] as const)('is read back from the medium; direct transfers %s: the notices are %j', async (direct, expected) => {
    const { maker, device, disk } = await bench();
    disk.direct = direct;
    expect((await device.runToRest(maker.release(GOOD))).rest).toEqual({ rest: 'idle' });
    const codes = only(device.events, 'notice').map(({ code }) => code);
    expect(codes).toEqual(expected);
    expect(disk.contents().get(`${DEVICE}/board/slots/b/rootfs.img`)).toEqual(V2.rootfs);
  });

  it('that brings no agent, as its author says, is reported with his reason before it is fetched', async () => {
    const withoutAgent = 'this class leaves the fleet';
    const { maker, device } = await bench();
    const told = maker.release({ ...GOOD, alterManifest: (manifest) => ({ ...manifest, withoutAgent }) });
    await device.runToRest(told);
    const at = device.events.findIndex((event) => event.kind === 'notice' && event.code === 'release-without-agent');
    expect(device.events[at]).toMatchObject({ detail: expect.stringContaining(withoutAgent) });
    const fetching = device.events.findIndex((event) => event.kind === 'state' && event.state === 'downloading');
    expect(at).toBeLessThan(fetching);
  });

  it('is not success before it confirmed: in its trial the device still names the release it would go back to', async () => {
    const world = await bench();
    const action = world.maker.release(GOOD);
    await runOnce(world, action);
    await world.device.boot();
    const engine = await UpdateEngine.open(world.device.ports(), world.device.settings);
    expect(engine.status()).toMatchObject({
      state: 'trial',
      bootedSlot: 'b',
      installed: { sequence: 1, version: '1.0.0' },
    });
    expect(kinds(world.device.events)).not.toContain('confirmed');
  });

  it('raises the floor, and takes a slot below it out of the order', async () => {
    const { maker, device, disk } = await bench();
    await device.runToRest(maker.release({ ...GOOD, floorSequence: 2 }));
    expect(await readBootEnv(disk, DEVICE)).toEqual({ order: ['b'], trial: null });
    const counters = await countersRecord(disk, STATE).read();
    expect(counters).toMatchObject({ value: { installedSequence: 2, floorSequence: 2 } });
  });

  it('raises the time floor to its signed build date, and not before it is confirmed', async () => {
    const world = await bench();
    const action = world.maker.release({ ...GOOD, buildUnixS: NOW_UNIX_S - 1000 });
    await runOnce(world, action);
    expect(await countersRecord(world.disk, STATE).read()).toMatchObject({ value: { timeFloorUnixS: 0 } });
    await world.device.runToRest(action);
    expect(await countersRecord(world.disk, STATE).read()).toMatchObject({
      value: { timeFloorUnixS: NOW_UNIX_S - 1000 },
    });
  });

  it('answers a second action for what already runs with confirmed, and fetches nothing', async () => {
    const { maker, device, source } = await bench();
    const action = maker.release(GOOD);
    await device.runToRest(action);
    source.ranges.length = 0;
    device.events.length = 0;
    await device.runToRest({ ...action, actionId: 'action-2-again' });
    expect(only(device.events, 'confirmed')).toMatchObject([{ actionId: 'action-2-again', sequence: 2, slot: 'b' }]);
    expect(source.ranges).toEqual([]);
  });

  it('installs without a synchronised clock, with a notice that freshness was not verified', async () => {
    const { maker, device } = await bench();
    device.clock.synchronised = false;
    await device.runToRest(maker.release(GOOD));
    expect(only(device.events, 'notice').map(({ code }) => code)).toEqual(['freshness-unverified']);
    expect(kinds(device.events)).toContain('confirmed');
  });

  it('installs from a directory with an expired timestamp, which is reported', async () => {
    const { maker, device } = await bench();
    device.offline = true;
    const action = maker.release(GOOD);
    maker.publish({ timestampExpiresUnixS: NOW_UNIX_S - 1 });
    await device.runToRest(action);
    expect(only(device.events, 'notice').map(({ code }) => code)).toEqual(['metadata-expired-offline']);
    expect(kinds(device.events)).toContain('confirmed');
  });
});

describe("the machine's own disk", () => {
  it('takes an update as the simulated one does', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-engine-'));
    try {
      const maker = new TestMaker();
      for (const folder of ['board', 'factory', 'board/slots/a']) await nodeDisk.makeDirectory(join(directory, folder));
      await writeDurably(nodeDisk, join(directory, 'factory/root.json'), maker.factoryRoot);
      await writeBootEnv(nodeDisk, directory, { order: ['a'], trial: null });
      const device = new SimulatedDevice(nodeDisk, new MemorySource(maker), directory);
      await device.runToRest(maker.release(GOOD));
      expect(kinds(device.events)).toContain('confirmed');
      for (const [component, bytes] of Object.entries(V2)) {
        const written = await nodeDisk.readFile(join(directory, `board/slots/b/${component}.img`), 4 * MIB);
        expect(Buffer.from(written ?? []).equals(bytes)).toBe(true);
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('says with a cure that a file stands where its state folder belongs', async () => {
    const { device, disk } = await bench();
    await disk.place(STATE, image(1, 1));
    await device.boot();
    const opening = UpdateEngine.open(device.ports(), device.settings);
    await expect(opening).rejects.toMatchObject({ code: 'path-kind-wrong', where: STATE });
  });
});

describe('a release that is refused', () => {
  const flipped = V2.rootfs.slice();
  flipped[5] = 77;

  interface Attack {
    readonly name: string;
    readonly code: string;
    readonly wish?: Partial<ReleaseWish>;
    readonly after?: (maker: TestMaker) => void;
    readonly action?: Partial<Action>;
  }

  const ATTACKS: readonly Attack[] = [
    { name: 'one flipped bit in an image', code: 'block-digest-mismatch', wish: { serveImage: { rootfs: flipped } } },
    {
      name: 'signed digest of another image',
      code: 'image-digest-mismatch',
      wish: { signDigest: { rootfs: 'ab'.repeat(32) } },
    },
    { name: 'an author nobody knows', code: 'author-unknown', wish: { author: testKey('stranger') } },
    { name: "another class's author", code: 'author-out-of-scope', wish: { author: testKey('author of acme-hub') } },
    {
      name: "a stranger's signature under a known author's name",
      code: 'envelope-signature-invalid',
      wish: { author: forgedKey(testKey('author'), testKey('stranger')) },
    },
    {
      name: "a stranger's signature under a known targets key's name",
      code: 'metadata-signature-invalid',
      after: (maker) => maker.publish({ targetsKey: forgedKey(testKey('targets'), testKey('stranger')) }),
    },
    {
      name: 'an envelope with one flipped bit',
      code: 'envelope-digest-mismatch',
      wish: { alterEnvelope: (bytes) => bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte)) },
    },
    {
      name: 'targets signed by a stranger',
      code: 'metadata-threshold-not-met',
      after: (maker) => maker.publish({ targetsKey: testKey('stranger') }),
    },
    {
      name: 'the sequence that is installed',
      code: 'sequence-not-newer',
      wish: { sequence: 1 },
      action: { sequence: 1 },
    },
    {
      name: 'another hardware class',
      code: 'class-mismatch',
      wish: { hardwareClass: 'acme-hub', author: testKey('author of acme-hub') },
    },
    { name: 'another channel', code: 'channel-mismatch', wish: { channel: 'beta' } },
    {
      name: 'TUF and SUIT that disagree',
      code: 'targets-suit-disagree',
      wish: { alterManifest: (said) => ({ ...said, version: '2.0.1' }) },
    },
    {
      name: 'expired metadata',
      code: 'metadata-expired',
      after: (maker) => maker.publish({ timestampExpiresUnixS: NOW_UNIX_S - 1 }),
    },
    {
      name: 'a path that is not listed',
      code: 'target-unknown',
      action: { releasePath: 'releases/acme-cam/stable/9/release.suit' },
    },
    { name: 'another sequence than offered', code: 'answer-malformed', action: { sequence: 7 } },
  ];

  it.each(ATTACKS)('$name: $code, and its unchanged twin is installed', async (attack) => {
    const world = await bench();
    // The sequence that is installed is offered to a device that runs another: else the offer is answered, not tried.
    if (attack.code === 'sequence-not-newer') await runThrough(world);
    const action = { ...world.maker.release({ ...GOOD, ...attack.wish }), ...attack.action };
    attack.after?.(world.maker);
    const before = await readBootEnv(world.disk, DEVICE);
    const engine = await runOnce(world, action);
    expect(only(world.device.events, 'refused').map(({ code }) => code)).toEqual([attack.code]);
    expect(engine.status()).toMatchObject({ state: 'idle', actionId: null });
    const after = await readBootEnv(world.disk, DEVICE);
    expect(after?.trial).toBeNull();
    expect(after?.order[0]).toBe(before?.order[0]);

    const twin = await bench();
    await twin.device.runToRest(twin.maker.release(GOOD));
    expect(kinds(twin.device.events)).toContain('confirmed');
  });

  /** Installs release 3, so that 1 and 2 are old. */
  async function runThrough({ maker, device }: Bench): Promise<void> {
    await device.runToRest(maker.release({ ...GOOD, sequence: 3, version: '3.0.0' }));
    device.events.length = 0;
  }

  it('is refused below the floor, even by a device whose installed counter would let it pass', async () => {
    const world = await bench();
    await world.disk.makeDirectory(STATE);
    await countersRecord(world.disk, STATE).write({ installedSequence: 1, floorSequence: 5, timeFloorUnixS: 0 });
    await runOnce(world, world.maker.release(GOOD));
    expect(only(world.device.events, 'refused').map(({ code }) => code)).toEqual(['sequence-below-floor']);
  });

  it('never writes a block that does not match its signed map', async () => {
    const { maker, device, disk } = await bench();
    await runOnce(
      { maker, device, disk, source: device.source },
      maker.release({ ...GOOD, serveImage: { rootfs: flipped } }),
    );
    const found = disk.contents().get(`${DEVICE}/board/slots/b/rootfs.img`);
    expect(found?.includes(77)).toBe(false);
  });

  it('is tried again only after a pause, not at every poll', async () => {
    const { maker, device } = await bench();
    const action = maker.release({ ...GOOD, author: testKey('stranger') });
    await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    for (let poll = 0; poll < 5; poll += 1) {
      await engine.offer(action);
      await engine.run();
    }
    expect(only(device.events, 'refused')).toHaveLength(1);
    expect(await engine.run()).toMatchObject({ rest: 'retry' });
    await device.clock.sleep(24 * 3600 * 1000);
    // No new offer is needed: the engine kept the one it was given.
    await engine.run();
    expect(only(device.events, 'refused')).toHaveLength(2);
    await engine.offer(null);
    expect(await engine.run()).toEqual({ rest: 'idle' });
  });
});

describe('a release that fails', () => {
  it('is quarantined when its health check fails, reported with the reason, and never tried again', async () => {
    const world = await bench();
    const action = world.maker.release(GOOD);
    world.device.healthy = (slot) => slot === 'a';
    const { engine } = await world.device.runToRest(action);
    expect(only(world.device.events, 'rolled-back')).toMatchObject([
      {
        actionId: 'action-2',
        sequence: 2,
        reason: 'health-check-failed: 10-app',
        quarantined: true,
        detail: 'no answer',
      },
    ]);
    expect(engine.status()).toMatchObject({
      installed: { sequence: 1 },
      quarantined: [{ sequence: 2, reason: 'health-check-failed: 10-app' }],
    });
    world.source.ranges.length = 0;
    await world.device.runToRest({ ...action, actionId: 'action-2-again' });
    expect(only(world.device.events, 'refused').map(({ code }) => code)).toEqual(['release-quarantined']);
    expect(world.source.ranges).toEqual([]);
  });

  it('is quarantined as trial-attempts-exhausted when nobody confirms it', async () => {
    const world = await bench();
    const action = world.maker.release(GOOD);
    await runOnce(world, action);
    // An agent that dies at once: three boots into the new slot, then the old one.
    const slots = [];
    for (let boots = 0; boots < 3; boots += 1) slots.push((await world.device.boot()).slot);
    expect(slots).toEqual(['b', 'b', 'b']);
    await world.device.runToRest(action);
    expect(only(world.device.events, 'rolled-back')).toMatchObject([
      { reason: 'trial-attempts-exhausted', quarantined: true },
    ]);
    expect(await readBootEnv(world.disk, DEVICE)).toEqual({ order: ['a'], trial: null });
  });

  it('goes back without quarantine when the server is lost in the trial, at most three times', async () => {
    const { maker, device, disk } = await bench();
    let inTrial = false;
    device.onBoot = ({ trial }) => {
      inTrial = trial;
    };
    device.serverReachable = () => !inTrial;
    const { engine } = await device.runToRest(maker.release(GOOD));
    const back = only(device.events, 'rolled-back');
    const once = { reason: 'server-unreachable-in-trial', quarantined: false };
    expect(back).toMatchObject([once, once, once]);
    expect(only(device.events, 'failed')).toMatchObject([{ code: 'network-returns-exhausted' }]);
    expect(engine.status()).toMatchObject({ state: 'idle', quarantined: [], installed: { sequence: 1 } });
    expect((await readBootEnv(disk, DEVICE))?.trial).toBeNull();
  });

  it('settles on the older slot when a confirmed one does not boot any more, and says so', async () => {
    const world = await bench();
    const action = world.maker.release(GOOD);
    const cuts: SimulatedDisk[] = [];
    await runOnce(world, action);
    world.disk.afterOperation = ({ text }) => {
      if (text.startsWith('syncdir') && kinds(world.device.events).includes('confirmed'))
        cuts.push(world.disk.cut('drop'));
    };
    await world.device.runToRest(action);
    const [disk] = cuts;
    if (disk === undefined) throw new Error('no cut while sealing');
    // The bootloader gave up on slot b and fell back in the order.
    expect((await readBootEnv(disk, DEVICE))?.order).toEqual(['b', 'a']);
    const booted = encodeBooted({ bootId: 'boot-fallback', slot: 'a', trial: false });
    await disk.place(emulatedPaths(DEVICE).booted, booted);
    const device = new SimulatedDevice(disk, world.source);
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    await engine.run();
    expect(only(device.events, 'rolled-back')).toMatchObject([
      { reason: 'confirmed-slot-did-not-boot', quarantined: false },
    ]);
    expect(await readBootEnv(disk, DEVICE)).toEqual({ order: ['a'], trial: null });
    expect(engine.status()).toMatchObject({ bootedSlot: 'a', installed: { sequence: 1 } });
  });

  it('is confirmed without a server that was away before the trial', async () => {
    const { maker, device } = await bench();
    device.serverReachable = () => false;
    await device.runToRest(maker.release(GOOD));
    expect(kinds(device.events)).toContain('confirmed');
  });
});

describe('downloading', () => {
  it('waits for a source that is away, and says when to come back', async () => {
    const { maker, device, source } = await bench();
    const action = maker.release(GOOD);
    source.away = true;
    await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    await engine.offer(action);
    expect(await engine.run()).toMatchObject({ rest: 'retry' });
    expect(engine.status().state).toBe('checking');
    source.away = false;
    expect(await engine.run()).toEqual({ rest: 'reboot' });
  });

  it('fetches no block twice after a cut in the middle', async () => {
    const { maker, device, disk, source } = await bench();
    const rootfs = new Uint8Array(5 * MIB);
    for (let block = 0; block < 5; block += 1) rootfs.fill(block + 1, block * MIB, (block + 1) * MIB);
    const action = maker.release({ ...GOOD, images: { ...V2, rootfs } });
    let fetched = 0;
    source.beforeRange = () => {
      fetched += 1;
      if (fetched === 5) source.away = true;
    };
    await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    await engine.offer(action);
    expect(await engine.run()).toMatchObject({ rest: 'retry' });
    source.away = false;
    source.beforeRange = () => {};
    const after = new SimulatedDevice(disk.cut('keep'), source);
    await after.runToRest(action);
    expect(kinds(after.events)).toContain('confirmed');
    // Block 0 of rootfs is what slot b held already (filled with 1, as V1 is).
    expect(source.ranges).toHaveLength(5);
    expect(new Set(source.ranges).size).toBe(source.ranges.length);
  });

  it('needs no source for blocks of zeros', async () => {
    const { maker, device, source } = await bench();
    await device.runToRest(maker.release({ ...GOOD, images: { boot: V2.boot, rootfs: new Uint8Array(3 * MIB) } }));
    expect(kinds(device.events)).toContain('confirmed');
    expect(source.ranges).toHaveLength(1);
  });

  it('stops between blocks when the server calls it off, and starts afresh for another release', async () => {
    const { maker, device, source, disk } = await bench();
    const action = maker.release({ ...GOOD, images: { ...V2, rootfs: image(9, 4 * MIB) } });
    const next = maker.release({ ...GOOD, sequence: 3, version: '3.0.0' });
    await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    source.beforeRange = () => void engine.offer(null);
    await engine.offer(action);
    expect(await engine.run()).toEqual({ rest: 'idle' });
    expect(engine.status()).toMatchObject({ state: 'idle', actionId: null });
    expect(source.ranges.length).toBeLessThan(4);
    expect((await readBootEnv(disk, DEVICE))?.order).toEqual(['a']);

    source.beforeRange = () => void engine.offer(next);
    await engine.offer(action);
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(engine.status()).toMatchObject({ state: 'armed', actionId: 'action-3' });
  });

  it('reports a full disk as failed, not as refused', async () => {
    const { maker, device, disk } = await bench();
    const action = maker.release(GOOD);
    const ports = device.ports();
    const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    const open: typeof disk.open = async (path, mode) => {
      if (path.endsWith('slots/b/rootfs.img') && mode !== 'read') throw full;
      return disk.open(path, mode);
    };
    const failing = new Proxy(disk, {
      get: (target, key) => {
        const value: unknown = key === 'open' ? open : Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    await device.boot();
    const engine = await UpdateEngine.open({ ...ports, disk: failing }, device.settings);
    await engine.offer(action);
    expect(await engine.run()).toMatchObject({ rest: 'retry' });
    expect(only(device.events, 'failed')).toMatchObject([{ code: 'disk-enospc', sequence: 2 }]);
    expect(kinds(device.events)).not.toContain('refused');
  });
});

describe('between staging and reboot', () => {
  it('calls off a trial that is armed, when the reboot has not come yet', async () => {
    const world = await bench();
    const action = world.maker.release(GOOD);
    const engine = await runOnce(world, action);
    expect((await readBootEnv(world.disk, DEVICE))?.trial).toEqual({ slot: 'b', attemptsLeft: 3 });
    await engine.offer(null);
    expect(await engine.run()).toEqual({ rest: 'idle' });
    expect(await readBootEnv(world.disk, DEVICE)).toEqual({ order: ['a'], trial: null });
    // What was called off may be offered again, and needs no fetching.
    world.source.ranges.length = 0;
    await world.device.runToRest(action);
    expect(kinds(world.device.events)).toContain('confirmed');
    expect(world.source.ranges).toEqual([]);
  });

  it('takes up again what was called off and offered again before the end was written down', async () => {
    const { maker, device, source } = await bench();
    const action = maker.release(GOOD);
    await device.boot();
    const ports = device.ports();
    const engine = await UpdateEngine.open(ports, device.settings);
    let calledOff = false;
    const record: typeof ports.reporter.record = ports.reporter.record;
    ports.reporter.record = async (event) => {
      await record(event);
      // Idle is reported before the action is settled: the moment for the server to change its mind again.
      if (calledOff && event.kind === 'state' && event.state === 'idle') await engine.offer(action);
    };
    source.beforeRange = () => {
      if (calledOff) return;
      calledOff = true;
      void engine.offer(null);
    };
    await engine.offer(action);
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(only(device.events, 'state').map(({ state }) => state)).toContain('idle');
  });

  it('takes up, after the trial, what was offered in it', async () => {
    const world = await bench();
    await runOnce(world, world.maker.release(GOOD));
    await world.device.boot();
    const engine = await UpdateEngine.open(world.device.ports(), world.device.settings);
    await engine.offer(world.maker.release({ ...GOOD, sequence: 3, version: '3.0.0' }));
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    expect(engine.status()).toMatchObject({ state: 'armed', actionId: 'action-3', installed: { sequence: 2 } });
  });

  it('verifies again under a root that came while it downloaded', async () => {
    const { maker, device, source } = await bench();
    const action = maker.release(GOOD);
    await device.boot();
    const ports = device.ports();
    const engine = await UpdateEngine.open(ports, device.settings);
    let rotated = false;
    source.beforeRange = () => {
      if (rotated) return;
      rotated = true;
      maker.rotateRoot();
      const root = maker.metadata.get('2.root.json') ?? new Uint8Array();
      void import('../../../agent/storage/metadata-store.ts').then(async ({ DiskMetadataStore }) => {
        const store = await DiskMetadataStore.open({ ...device.settings, disk: ports.disk, log: ports.log });
        await store.write('root', root);
      });
    };
    await engine.offer(action);
    expect(await engine.run()).toEqual({ rest: 'reboot' });
    const checks = only(device.events, 'state').filter(({ state }) => state === 'checking');
    expect(checks).toHaveLength(2);
  });
});

describe('damaged state', () => {
  async function damage(disk: SimulatedDisk, name: string): Promise<void> {
    for (const copy of [0, 1]) await disk.place(`${STATE}/${name}.${copy}`, image(0, 10));
  }

  it('starts without a journal, says so, and goes on updating', async () => {
    const { maker, device, disk } = await bench();
    await device.runToRest(null);
    await damage(disk, 'journal');
    await device.runToRest(maker.release(GOOD));
    expect(only(device.events, 'notice').map(({ code }) => code)).toEqual(['journal-damaged']);
    expect(kinds(device.events)).toContain('confirmed');
  });

  it('sends an unknown trial back when the journal is lost', async () => {
    const world = await bench();
    await runOnce(world, world.maker.release(GOOD));
    await damage(world.disk, 'journal');
    await world.device.runToRest(null);
    expect(only(world.device.events, 'rolled-back')).toMatchObject([{ reason: 'trial-not-owed', quarantined: false }]);
    expect(await readBootEnv(world.disk, DEVICE)).toEqual({ order: ['a'], trial: null });
  });

  it('puts the running release in the place of lost counters: nothing older installs', async () => {
    const { maker, device, disk } = await bench();
    await device.runToRest(maker.release({ ...GOOD, sequence: 3, version: '3.0.0' }));
    await damage(disk, 'counters');
    const { engine } = await device.runToRest(maker.release(GOOD));
    expect(engine.status()).toMatchObject({ installed: { sequence: 3 }, floorSequence: 3 });
    expect(only(device.events, 'notice').map(({ code }) => code)).toEqual(['counters-damaged']);
    expect(only(device.events, 'refused').map(({ code }) => code)).toEqual(['sequence-not-newer']);
  });

  it('holds a device that does not know what it runs, and lets an update free it', async () => {
    const { maker, device, disk } = await bench();
    await device.runToRest(maker.release(GOOD));
    await damage(disk, 'slots');
    const held = await device.runToRest(null);
    expect(held.rest).toEqual({ rest: 'held', why: 'booted-release-unknown' });
    expect(held.engine.status().state).toBe('held');
    const freed = await device.runToRest(maker.release({ ...GOOD, sequence: 3, version: '3.0.0' }));
    expect(freed.rest).toEqual({ rest: 'idle' });
    expect(freed.engine.status()).toMatchObject({ state: 'idle', installed: { sequence: 3 } });
  });

  it('holds a device that boots below its floor, and reports it', async () => {
    const { maker, device, disk } = await bench();
    await device.runToRest(maker.release({ ...GOOD, floorSequence: 2 }));
    await writeBootEnv(disk, DEVICE, { order: ['a'], trial: null });
    const { rest } = await device.runToRest(null);
    expect(rest).toEqual({ rest: 'held', why: 'booted-below-floor' });
    expect(only(device.events, 'notice').map(({ code }) => code)).toEqual(['held']);
  });

  it('starts again from the factory root when stored metadata is damaged', async () => {
    const { maker, device, disk } = await bench();
    await device.runToRest(maker.release(GOOD));
    maker.rotateRoot();
    for (const name of ['root', 'timestamp', 'snapshot', 'targets']) {
      await disk.place(`${STATE}/metadata/${name}.json`, image(65, 100));
    }
    await device.runToRest(maker.release({ ...GOOD, sequence: 3, version: '3.0.0' }));
    expect(only(device.events, 'confirmed').map(({ sequence }) => sequence)).toEqual([2, 3]);
  });

  it('reports booted once per boot, however often the agent starts in it', async () => {
    const { device } = await bench();
    await device.boot();
    for (let starts = 0; starts < 3; starts += 1) await UpdateEngine.open(device.ports(), device.settings);
    expect(only(device.events, 'booted')).toMatchObject([{ slot: 'a', trial: false, sequence: 1, version: '1.0.0' }]);
  });
});
