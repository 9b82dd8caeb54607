/**
 * A whole update, cut at every disk operation of boot loop and agent, rebooted, recovered; and cut once more on the way.
 *
 * After every cut: what the bootloader may boot is always a whole, verified release; the counters never fall; no byte of
 * the running slot changes; and the device comes to the same end as if nothing had happened.
 */
import { describe, expect, it } from 'vitest';
import type { EngineRest, Slot } from '../../agent/core/ports.ts';
import { countersRecord } from '../../agent/storage/counters.ts';
import { quarantineRecord } from '../../agent/storage/quarantine-store.ts';
import { readBootEnv } from '../../platform/emulated-boot-env.ts';
import type { Action } from '../../protocol/device-api.ts';
import { MemoryTransport } from './memory-transport.ts';
import { MemorySource, TestMaker } from './release-fixture.ts';
import { DEVICE, type Images, makeFactoryDevice, SimulatedDevice, STATE } from './simulated-device.ts';
import { type CutPolicy, SimulatedDisk, seededRandom } from './simulated-disk.ts';

const MIB = 1024 * 1024;
/** HOLDFAST_SEED and HOLDFAST_SIM_CUT replay one cut. */
const SEED = Number(process.env.HOLDFAST_SEED ?? 1);
const ONLY_CUT = process.env.HOLDFAST_SIM_CUT === undefined ? undefined : Number(process.env.HOLDFAST_SIM_CUT);

function filled(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 4096) bytes.fill(1 + Math.floor(random() * 255), at, at + 4096);
  return bytes;
}

/** Two images, four blocks: a short one; a full one, one of zeros, and a short rest. */
function imagesOf(sequence: number): Images {
  const rootfs = new Uint8Array(2 * MIB + 5000);
  rootfs.set(filled(sequence * 7, MIB));
  rootfs.set(filled(sequence * 11, 5000), 2 * MIB);
  return { boot: filled(sequence, 3000), rootfs };
}

const RELEASES = new Map([1, 2].map((sequence) => [sequence, imagesOf(sequence)]));

/** Which whole release a slot holds; undefined for anything else. */
function releaseIn(disk: SimulatedDisk, slot: Slot): number | undefined {
  const contents = disk.contents();
  for (const [sequence, images] of RELEASES) {
    const whole = Object.entries(images).every(([component, bytes]) => {
      const found = contents.get(`${DEVICE}/board/slots/${slot}/${component}.img`);
      return found !== undefined && Buffer.from(found).equals(bytes);
    });
    if (whole) return sequence;
  }
  return undefined;
}

interface World {
  readonly maker: TestMaker;
  readonly action: Action;
  /** Recipes and the rest, where the scenario has them. */
  readonly transport?: MemoryTransport;
  readonly healthy: boolean;
  /** What must stand in the end. */
  readonly end: {
    readonly order: readonly Slot[];
    readonly installed: number;
    readonly floor: number;
    readonly quarantined: readonly number[];
  };
}

function deviceOn(disk: SimulatedDisk, world: World): SimulatedDevice {
  const source = new MemorySource(world.maker);
  if (world.transport !== undefined) source.transport = world.transport;
  const device = new SimulatedDevice(disk, source);
  device.healthy = (slot) => world.healthy || releaseIn(disk, slot) !== 2;
  return device;
}

/** What must hold on a disk at any moment, as a reboot would find it. Answers the counters. */
async function checkDisk(disk: SimulatedDisk): Promise<Counted> {
  const env = await readBootEnv(disk, DEVICE);
  if (env === undefined) throw new Error('the boot environment is lost');
  const bootable = new Set([...env.order, ...(env.trial === null ? [] : [env.trial.slot])]);
  for (const slot of bootable) {
    if (releaseIn(disk, slot) === undefined) throw new Error(`slot ${slot} is bootable and holds no verified release`);
  }
  const counters = await countersRecord(disk, STATE).read();
  if (counters.found === 'damaged') throw new Error(counters.detail);
  if (counters.found === 'absent') return { installed: 0, floor: 0 };
  const { installedSequence, floorSequence } = counters.value;
  for (const slot of env.order) {
    const sequence = releaseIn(disk, slot) ?? 0;
    if (sequence < floorSequence) throw new Error(`slot ${slot} is in the order with ${sequence}, below the floor`);
  }
  return { installed: installedSequence, floor: floorSequence };
}

interface Counted {
  readonly installed: number;
  readonly floor: number;
}

function checkNotFallen(before: Counted, after: Counted): void {
  if (after.installed >= before.installed && after.floor >= before.floor) return;
  throw new Error(`the counters fell from ${JSON.stringify(before)} to ${JSON.stringify(after)}`);
}

interface Cut {
  readonly number: number;
  readonly text: string;
  readonly disk: SimulatedDisk;
}

/** Runs a device to its rest, checks the running slot at every boot and end, and collects the cuts that are asked for. */
async function runChecked(
  disk: SimulatedDisk,
  world: World,
  collect: (operation: { number: number; text: string }) => void,
): Promise<{ rest: EngineRest; device: SimulatedDevice }> {
  const device = deviceOn(disk, world);
  let active: { slot: Slot; sequence: number } | undefined;
  const checkActive = () => {
    if (active !== undefined && releaseIn(disk, active.slot) !== active.sequence) {
      throw new Error(`slot ${active.slot} changed while it was running`);
    }
  };
  device.onBoot = ({ slot }) => {
    checkActive();
    const sequence = releaseIn(disk, slot);
    if (sequence === undefined) throw new Error(`booted slot ${slot}, which holds no verified release`);
    active = { slot, sequence };
  };
  disk.afterOperation = collect;
  const { rest } = await device.runToRest(world.action);
  disk.afterOperation = () => {};
  checkActive();
  return { rest, device };
}

async function checkEnd(disk: SimulatedDisk, world: World, rest: EngineRest): Promise<void> {
  expect(rest).toEqual({ rest: 'idle' });
  const env = await readBootEnv(disk, DEVICE);
  const quarantine = await quarantineRecord(disk, STATE).read();
  const quarantined = quarantine.found === 'whole' ? quarantine.value.entries.map(({ sequence }) => sequence) : [];
  const found = { order: env?.order, trial: env?.trial, quarantined, ...(await checkDisk(disk)) };
  expect(found).toEqual({ ...world.end, trial: null });
}

async function factoryDisk(maker: TestMaker): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, RELEASES.get(1) ?? {}, maker.factoryRoot);
  disk.operations = 0;
  return disk;
}

/** Cuts the same device again, at a moment that the seed chooses, and lets it recover from that too. */
async function recoverFrom(cut: Cut, world: World, seed: number): Promise<void> {
  const before = await checkDisk(cut.disk);
  const random = seededRandom(seed);
  const again = 1 + Math.floor(random() * 120);
  let second: SimulatedDisk | undefined;
  cut.disk.operations = 0;
  const { rest } = await runChecked(cut.disk, world, ({ number }) => {
    if (number === again) second = cut.disk.cut('random', random);
  });
  await checkEnd(cut.disk, world, rest);
  if (second === undefined) return;
  const after = await checkDisk(second);
  checkNotFallen(before, after);
  const recovered = await runChecked(second, world, () => {});
  await checkEnd(second, world, recovered.rest);
}

const numbers = new WeakMap<Uint8Array, number>();
let lastNumber = 0;

/** Equal for disks with the same files; contents that are the same array are the same. */
function fingerprint(disk: SimulatedDisk): string {
  const files = [...disk.contents()].map(([path, bytes]) => {
    const known = numbers.get(bytes);
    if (known === undefined) {
      lastNumber += 1;
      numbers.set(bytes, lastNumber);
    }
    return `${path} ${known ?? lastNumber}`;
  });
  return files.sort().join('\n');
}

interface Scenario {
  readonly name: string;
  /** What the disk does with transfers past its cache; done, if nothing is said. */
  readonly direct?: SimulatedDisk['direct'];
  /** Blocks are made from the running slot. */
  readonly recipe?: boolean;
  readonly floorSequence: number;
  readonly healthy: boolean;
  readonly end: World['end'];
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'a good release ends confirmed, the old one behind it',
    floorSequence: 0,
    healthy: true,
    end: { order: ['b', 'a'], installed: 2, floor: 0, quarantined: [] },
  },
  {
    name: 'a release that raises the floor takes the old slot out of the order first',
    floorSequence: 2,
    healthy: true,
    end: { order: ['b'], installed: 2, floor: 2, quarantined: [] },
  },
  {
    name: 'a file system that refuses direct transfers ends as any other',
    direct: 'refused-at-transfer',
    floorSequence: 0,
    healthy: true,
    end: { order: ['b', 'a'], installed: 2, floor: 0, quarantined: [] },
  },
  {
    name: 'blocks made from the running slot and a recipe end as any other',
    recipe: true,
    floorSequence: 0,
    healthy: true,
    end: { order: ['b', 'a'], installed: 2, floor: 0, quarantined: [] },
  },
  {
    name: 'a failing health check ends on the old slot, quarantined',
    floorSequence: 0,
    healthy: false,
    end: { order: ['a'], installed: 1, floor: 0, quarantined: [2] },
  },
];

const POLICIES: readonly CutPolicy[] = ['drop', 'keep', 'random'];

async function collectCuts(world: World, direct: SimulatedDisk['direct']): Promise<Cut[]> {
  const disk = await factoryDisk(world.maker);
  disk.direct = direct;
  const cuts: Cut[] = [];
  const { rest } = await runChecked(disk, world, ({ number, text }) => {
    if (ONLY_CUT !== undefined && number !== ONLY_CUT) return;
    const random = seededRandom(SEED + number);
    for (const policy of POLICIES) cuts.push({ number, text: `${policy}: ${text}`, disk: disk.cut(policy, random) });
  });
  await checkEnd(disk, world, rest);
  return cuts;
}

async function recipesBetween(old: Images, fresh: Images): Promise<MemoryTransport> {
  const transport = new MemoryTransport();
  for (const [component, image] of Object.entries(fresh)) {
    transport.addImage(image);
    await transport.addRecipe(old[component] ?? new Uint8Array(0), image);
  }
  return transport;
}

async function cutEverywhere({
  name,
  direct = 'done',
  recipe = false,
  floorSequence,
  healthy,
  end,
}: Scenario): Promise<{ cuts: number; disks: number }> {
  const maker = new TestMaker();
  const [old = {}, images = {}] = [RELEASES.get(1), RELEASES.get(2)];
  maker.release({ sequence: 1, version: '1.0.0', images: old });
  const action = maker.release({ sequence: 2, version: '2.0.0', floorSequence, images });
  const transport = recipe ? await recipesBetween(old, images) : undefined;
  const world = { maker, action, healthy, end, ...(transport === undefined ? {} : { transport }) };
  const cuts = await collectCuts(world, direct);
  // Every block came out of a recipe, in the run that was not cut and in all the others.
  if (recipe) expect(transport?.served.every(({ path }) => path.includes('/from/'))).toBe(true);
  let durable: Counted = { installed: 0, floor: 0 };
  const recovered = new Set<string>();
  for (const cut of cuts) {
    try {
      const found = await checkDisk(cut.disk);
      checkNotFallen(durable, found);
      if (cut.text.startsWith('drop')) durable = found;
      // Most operations leave the same disk behind as the one before, once what was not synced is gone.
      const state = fingerprint(cut.disk);
      if (recovered.has(state)) continue;
      recovered.add(state);
      await recoverFrom(cut, world, SEED * 31 + cut.number);
    } catch (error) {
      const replay = `HOLDFAST_SEED=${SEED} HOLDFAST_SIM_CUT=${cut.number} npx vitest run test/sim/update.test.ts -t '${name}'`;
      const message = `seed ${SEED}, cut ${cut.number} (${cut.text}): ${String(error)}\nreplay: ${replay}`;
      throw new Error(message, { cause: error });
    }
  }
  return { cuts: cuts.length, disks: recovered.size };
}

describe('an update cut at every disk operation', { timeout: 600_000 }, () => {
  it.each(SCENARIOS)('$name', async (scenario) => {
    const { cuts, disks } = await cutEverywhere(scenario);
    if (ONLY_CUT === undefined) {
      expect(cuts).toBeGreaterThan(300);
      expect(disks).toBeGreaterThan(100);
    }
    console.log(`${scenario.name}: ${cuts} cuts, ${disks} different disks, each recovered from and cut again`);
  });
});
