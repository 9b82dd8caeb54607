/**
 * The life of a device, at random: releases good and bad and forged, offers called off and replaced, a source that goes
 * away, a server that is lost, power cuts. Whatever comes, the same rules hold as in crash-everywhere/; and once the world
 * is kind again, the device takes the newest good release.
 */
import { describe, expect, it } from 'vitest';
import type { Offer, Slot } from '../../agent/core/ports.ts';
import { countersRecord } from '../../agent/storage/counters.ts';
import { quarantineRecord } from '../../agent/storage/quarantine-store.ts';
import { UpdateEngine } from '../../agent/update-engine.ts';
import { readBootEnv } from '../../platform/emulated-boot-env.ts';
import type { Action } from '../../protocol/device-api.ts';
import { MemorySource, TestMaker, testKey } from './release-fixture.ts';
import { DEVICE, type Images, makeFactoryDevice, SimulatedDevice, STATE } from './simulated-device.ts';
import { SimulatedDisk, seededRandom } from './simulated-disk.ts';

const LIVES = 16;
const STEPS = 14;
const SEED = Number(process.env.HOLDFAST_SEED ?? 1);
const ONLY_LIFE = process.env.HOLDFAST_SIM_LIFE === undefined ? undefined : Number(process.env.HOLDFAST_SIM_LIFE);

/** 3 fails its health check; 5 raises the floor to itself. */
const SICK = 3;
const NEWEST = 6;

function imagesOf(sequence: number): Images {
  const rootfs = new Uint8Array(1024 * 1024 + 3000).fill(sequence);
  // The first block is common to all: it is right in the slot already.
  rootfs.fill(200, 0, 1024 * 1024);
  return { boot: new Uint8Array(900).fill(100 + sequence), rootfs };
}

const RELEASES = new Map([1, 2, SICK, 4, 5, NEWEST].map((sequence) => [sequence, imagesOf(sequence)]));

interface World {
  readonly maker: TestMaker;
  readonly actions: readonly Action[];
  readonly newest: Action;
}

function makeWorld(): World {
  const maker = new TestMaker();
  const release = (sequence: number, more = {}) =>
    maker.release({ sequence, version: `${sequence}.0.0`, images: RELEASES.get(sequence) ?? {}, ...more });
  const forged = { ...release(7, { author: testKey('stranger'), images: imagesOf(7) }), actionId: 'forged-author' };
  const tampered = release(8, { images: imagesOf(8), serveImage: { rootfs: imagesOf(9).rootfs } });
  const actions = [release(2), release(SICK), release(4), release(5, { floorSequence: 5 }), forged, tampered];
  return { maker, actions, newest: release(NEWEST) };
}

function releaseIn(disk: SimulatedDisk, slot: Slot): number | undefined {
  const contents = disk.contents();
  for (const [sequence, images] of RELEASES) {
    const whole = Object.entries(images).every(([component, bytes]) =>
      Buffer.from(contents.get(`${DEVICE}/board/slots/${slot}/${component}.img`) ?? []).equals(bytes),
    );
    if (whole) return sequence;
  }
  return undefined;
}

interface Counted {
  readonly installed: number;
  readonly floor: number;
}

async function check(disk: SimulatedDisk, before: Counted): Promise<Counted> {
  const env = await readBootEnv(disk, DEVICE);
  if (env === undefined) throw new Error('the boot environment is lost');
  const counters = await countersRecord(disk, STATE).read();
  if (counters.found === 'damaged') throw new Error(counters.detail);
  const installed = counters.found === 'whole' ? counters.value.installedSequence : 0;
  const floor = counters.found === 'whole' ? counters.value.floorSequence : 0;
  if (installed < before.installed || floor < before.floor) throw new Error('the counters fell');
  if (installed === SICK) throw new Error('a release that never passed its checks was confirmed');
  for (const slot of [...env.order, ...(env.trial === null ? [] : [env.trial.slot])]) {
    const sequence = releaseIn(disk, slot);
    if (sequence === undefined) throw new Error(`slot ${slot} is bootable and holds no verified release`);
    if (sequence < floor) throw new Error(`slot ${slot} is bootable with ${sequence}, below the floor ${floor}`);
  }
  const quarantine = await quarantineRecord(disk, STATE).read();
  const wrongly =
    quarantine.found === 'whole' ? quarantine.value.entries.find(({ sequence }) => sequence !== SICK) : undefined;
  if (wrongly !== undefined) throw new Error(`release ${wrongly.sequence} was quarantined: ${wrongly.reason}`);
  return { installed, floor };
}

/** One power-on: offers at random moments, troubles, and perhaps a cut. Answers the disk that the next one finds. */
async function powerOn(disk: SimulatedDisk, world: World, random: () => number): Promise<SimulatedDisk> {
  const pick = (): Offer =>
    random() < 0.2 ? null : (world.actions[Math.floor(random() * world.actions.length)] ?? null);
  const device = new SimulatedDevice(disk, new MemorySource(world.maker));
  device.healthy = (slot) => releaseIn(disk, slot) !== SICK;
  const serverLost = random() < 0.15;
  let slotAtBoot: { slot: Slot; sequence: number | undefined } | undefined;
  device.onBoot = ({ slot, trial }) => {
    slotAtBoot = { slot, sequence: releaseIn(disk, slot) };
    device.serverReachable = () => !(serverLost && trial);
  };
  let cut: SimulatedDisk | undefined;
  const cutAt = disk.operations + 1 + Math.floor(random() * 200);
  disk.afterOperation = ({ number }) => {
    const policy = (['drop', 'keep', 'random'] as const)[Math.floor(random() * 3)] ?? 'drop';
    if (number === cutAt) cut = disk.cut(policy, random);
  };
  for (let boots = 0; boots < 2; boots += 1) {
    await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    device.source.beforeRange = () => {
      if (random() < 0.1) void engine.offer(pick());
      if (random() < 0.1) device.source.away = !device.source.away;
    };
    for (let turns = 0; turns < 4; turns += 1) {
      await engine.offer(pick());
      const rest = await engine.run();
      if (rest.rest === 'reboot') break;
      device.source.away = random() < 0.1;
      await device.clock.sleep(60_000);
    }
    if (slotAtBoot !== undefined && releaseIn(disk, slotAtBoot.slot) !== slotAtBoot.sequence) {
      throw new Error(`slot ${slotAtBoot.slot} changed while it was running`);
    }
  }
  disk.afterOperation = () => {};
  return cut ?? disk.cut('keep');
}

async function live(life: number): Promise<void> {
  const random = seededRandom(SEED * 1000 + life);
  const world = makeWorld();
  let disk = new SimulatedDisk();
  await makeFactoryDevice(disk, RELEASES.get(1) ?? {}, world.maker.factoryRoot);
  let counted: Counted = { installed: 0, floor: 0 };
  for (let step = 0; step < STEPS; step += 1) {
    disk = await powerOn(disk, world, random);
    counted = await check(disk, counted);
  }
  const device = new SimulatedDevice(disk, new MemorySource(world.maker));
  const { rest, engine } = await device.runToRest(world.newest);
  expect(rest).toEqual({ rest: 'idle' });
  expect(engine.status()).toMatchObject({ state: 'idle', installed: { sequence: NEWEST } });
  expect(await check(disk, counted)).toMatchObject({ installed: NEWEST });
}

describe('the life of a device', { timeout: 600_000 }, () => {
  it(`keeps its rules through ${LIVES} lives of ${STEPS} power-ons, and ends on the newest good release`, async () => {
    for (let life = 1; life <= LIVES; life += 1) {
      if (ONLY_LIFE !== undefined && life !== ONLY_LIFE) continue;
      try {
        await live(life);
      } catch (error) {
        const replay = `HOLDFAST_SEED=${SEED} HOLDFAST_SIM_LIFE=${life} npx vitest run test/sim/update-life.test.ts`;
        throw new Error(`seed ${SEED}, life ${life}: ${String(error)}\nreplay: ${replay}`, { cause: error });
      }
    }
  });
});
