/** Whole updates, each a line: what the server wants, what the device is like, and how it may end. */

import { SourceUnreachable } from '../../../agent/core/ports.ts';
import { writeBootEnv } from '../../../platform/emulated-boot-env.ts';
import { EMULATED } from '../machines/emulated.ts';
import { COMPONENTS, type MachineKind } from '../machines/machine.ts';
import { TRYBOOT } from '../machines/tryboot.ts';
import { U_BOOT } from '../machines/u-boot.ts';
import { MemoryTransport } from '../memory-transport.ts';
import { DEVICE, STATE } from '../simulated-device.ts';
import type { SimulatedDisk } from '../simulated-disk.ts';
import { releaseIn } from './durable-records.ts';
import { live } from './life.ts';
import { NewerAgentDisk } from './newer-agent.ts';
import { deviceOn, type End, makeWorld, type World } from './world.ts';

export interface Scenario {
  readonly name: string;
  makeWorld(): World;
}

const idle = (order: End['order'], installed: number, more: Partial<End> = {}): End => ({
  rest: 'idle',
  order,
  installed,
  floor: 0,
  quarantined: [],
  ...more,
});

function failsItsChecks(sequence: number): NonNullable<World['arrange']> {
  return (device, world, disk) => {
    device.healthy = (slot) => releaseIn(disk, slot, world.releases) !== sequence;
  };
}

/** A server that is there, and is lost once the new slot runs. */
const losesItsServer: NonNullable<World['arrange']> = (device) => {
  device.onBoot = ({ trial }) => {
    device.serverReachable = () => !trial;
  };
};

/** One attempt: a cut between the reboot and the confirmation has used it up. */
const onTryboot = (installed: End): End[] => [installed, idle(['a'], 1, { quarantined: [2] })];

async function setOrder(disk: SimulatedDisk, order: End['order']): Promise<void> {
  for (let copies = 0; copies < 2; copies += 1) await writeBootEnv(disk, DEVICE, { order, trial: null });
}

async function emptySlotB(disk: SimulatedDisk): Promise<void> {
  for (const name of COMPONENTS) await disk.remove(`${DEVICE}/board/slots/b/${name}.img`);
  await disk.remove(`${DEVICE}/board/slots/b`);
  await disk.syncDirectory(`${DEVICE}/board/slots`);
  await setOrder(disk, ['a']);
}

/** Release 2 is installed, and then the bootloader loses its environment and boots slot a, with release 1. */
async function backInTheOldSlot(disk: SimulatedDisk, world: World): Promise<void> {
  const [action] = world.updates;
  if (action === undefined) throw new Error('this world has no update to fall back from');
  await live(disk, { ...world, actions: [action], belowFloor: false });
  await setOrder(disk, ['a']);
}

/** No copy of any record checks out. */
async function damagedRecords(disk: SimulatedDisk): Promise<void> {
  for (const name of ['journal', 'counters', 'slots', 'quarantine']) {
    for (const copy of [0, 1]) await disk.place(`${STATE}/${name}.${copy}`, new Uint8Array(100).fill(165));
  }
}

/**
 * Every block is made from the running slot and a recipe; a block that is fetched after all is an error, whatever was cut:
 * what a cut leaves of a recipe is fetched again.
 */
function fromARecipe(): Pick<World, 'prepare' | 'arrange'> {
  const transport = new MemoryTransport();
  return {
    prepare: async (_, { releases }) => {
      if (transport.files.size > 0) return;
      const old = releases.get(1) ?? {};
      for (const [component, image] of Object.entries(releases.get(2) ?? {})) {
        await transport.addRecipe(old[component] ?? new Uint8Array(0), image);
      }
    },
    arrange: ({ source }) => {
      source.transport = transport;
      source.beforeRange = (path) => {
        throw new Error(`${path} was fetched as it is, beside a recipe`);
      };
    },
  };
}

/** The source goes away once, when the second block of an image is asked for. */
const losesItsSource: NonNullable<World['arrange']> = (device) => {
  let lost = false;
  device.source.beforeRange = (path, offset) => {
    if (lost || offset === 0) return;
    lost = true;
    throw new SourceUnreachable(`away at ${path}`);
  };
};

/** The power is cut three times, each time when the bootloader has done its work and userspace has not begun. */
async function threeCutsBeforeUserspace(disk: SimulatedDisk, world: World): Promise<SimulatedDisk> {
  let found = disk;
  for (let cuts = 0; cuts < 3; cuts += 1) {
    await deviceOn(found, world).boot();
    found = found.cut('keep');
  }
  return found;
}

/** The agent lives in the slot: where release 2 runs, a newer one does. */
function newerAgentInRelease2(alsoInTrial = false): NonNullable<World['arrange']> {
  return (device, world, disk) => {
    let runs = false;
    const told = device.onBoot;
    device.onBoot = (facts) => {
      told(facts);
      runs = releaseIn(disk, facts.slot, world.releases) === 2;
    };
    device.disk = new NewerAgentDisk(disk, () => runs, alsoInTrial);
  };
}

function both(...arrangements: NonNullable<World['arrange']>[]): NonNullable<World['arrange']> {
  return (device, world, disk) => {
    for (const arrange of arrangements) arrange(device, world, disk);
  };
}

type More = Partial<Omit<World, 'maker' | 'actions' | 'releases' | 'updates'>> & { readonly wants?: readonly number[] };

function update(name: string, kind: MachineKind, ends: readonly End[], more: More = {}): Scenario {
  return { name, makeWorld: () => makeWorld({ 2: {} }, { kind, ends, ...more }) };
}

const failed = idle(['a'], 1, { quarantined: [2] });

/** What a trial of a newer agent that breaks the rule of formats would leave; must turn red. */
export const FORMAT_RULE_BROKEN = update('newer-agent-rolled-back', EMULATED, [failed], {
  arrange: both(failsItsChecks(2), newerAgentInRelease2(true)),
});

export const SCENARIOS: readonly Scenario[] = [
  update('good-update', EMULATED, [idle(['b', 'a'], 2)], { fullBlock: true }),
  update('good-update-into-an-empty-slot', EMULATED, [idle(['b', 'a'], 2)], { prepare: emptySlotB }),
  update('good-update-without-direct-writes', EMULATED, [idle(['b', 'a'], 2)], { direct: 'refused-at-transfer' }),
  update('good-update-from-a-recipe', EMULATED, [idle(['b', 'a'], 2)], { fullBlock: true, ...fromARecipe() }),
  update('first-start', EMULATED, [idle(['a', 'b'], 1)], { wants: [] }),
  update('damaged-records', EMULATED, [idle(['b'], 2, { floor: 1 }), idle(['b', 'a'], 2, { floor: 1 })], {
    prepare: damagedRecords,
    expectsDamage: true,
  }),
  update('source-lost-between-blocks', EMULATED, [idle(['b', 'a'], 2)], { fullBlock: true, arrange: losesItsSource }),
  // Killed at any operation, and started again in the same boot.
  update('agent-killed', EMULATED, [idle(['b', 'a'], 2)], { policies: ['keep'], restarts: 'agent' }),
  update('agent-killed-in-a-rollback', EMULATED, [failed], {
    policies: ['keep'],
    restarts: 'agent',
    arrange: failsItsChecks(2),
  }),
  {
    name: 'floor-raising-update',
    makeWorld: () => makeWorld({ 2: { floorSequence: 2 } }, { kind: EMULATED, ends: [idle(['b'], 2, { floor: 2 })] }),
  },
  update('rollback', EMULATED, [failed], { arrange: failsItsChecks(2) }),
  {
    name: 'repeated-update',
    makeWorld: () =>
      makeWorld({ 2: {}, 3: {}, 4: {} }, { kind: EMULATED, ends: [idle(['b', 'a'], 4)], offerAgain: true }),
  },
  // Each cut uses up attempts: three are left for the good release only before it is armed, and after it is confirmed.
  update('three-cuts-before-userspace', EMULATED, [idle(['b', 'a'], 2), failed], {
    beforeRecovery: threeCutsBeforeUserspace,
  }),
  update('newer-agent-rolled-back', EMULATED, [failed], { arrange: both(failsItsChecks(2), newerAgentInRelease2()) }),
  {
    name: 'older-agent-after-a-newer-one',
    makeWorld: () =>
      makeWorld(
        { 2: {}, 3: {} },
        {
          kind: EMULATED,
          ends: [idle(['b', 'a'], 3)],
          arrange: newerAgentInRelease2(),
          expectsDamage: true,
          wants: [3],
          prepare: backInTheOldSlot,
          belowFloor: true,
        },
      ),
  },
  update('network-return', EMULATED, [idle(['a'], 1)], { arrange: losesItsServer }),
  {
    name: 'held-below-the-floor',
    makeWorld: () =>
      makeWorld(
        { 2: { floorSequence: 2 } },
        {
          kind: EMULATED,
          ends: [idle(['a'], 2, { rest: 'held: booted-below-floor', floor: 2 })],
          prepare: backInTheOldSlot,
          belowFloor: true,
          wants: [],
        },
      ),
  },
  {
    name: 'held-until-an-update',
    makeWorld: () =>
      makeWorld(
        { 2: { floorSequence: 2 }, 3: {} },
        {
          kind: EMULATED,
          ends: [idle(['b'], 3, { floor: 2 })],
          prepare: backInTheOldSlot,
          belowFloor: true,
          wants: [3],
        },
      ),
  },
  update('u-boot-good-update', U_BOOT, [idle(['b', 'a'], 2)]),
  update('u-boot-rollback', U_BOOT, [failed], { arrange: failsItsChecks(2) }),
  update('tryboot-good-update', TRYBOOT, onTryboot(idle(['b'], 2))),
  update('tryboot-rollback', TRYBOOT, [failed], { arrange: failsItsChecks(2) }),
];
