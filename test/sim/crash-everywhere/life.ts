/**
 * One power-on of a device to the next rest, through reboots and pauses, for a server that wants one release after the
 * other; checked on the way.
 */
import type { EngineRest, Slot } from '../../../agent/core/ports.ts';
import { UpdateEngine } from '../../../agent/update-engine.ts';
import { emulatedPaths } from '../../../platform/emulated-boot-env.ts';
import { DEVICE } from '../simulated-device.ts';
import type { DiskOperation, SimulatedDisk } from '../simulated-disk.ts';
import { releaseIn } from './durable-records.ts';
import { InvariantBroken } from './invariants.ts';
import { deviceOn, type World, wantedNow } from './world.ts';
import type { WatchedDevice } from './write-ahead.ts';

const MOST_BOOTS = 24;
const MOST_ROUNDS = 12;

export interface Life {
  readonly rest: EngineRest;
  readonly device: WatchedDevice;
  readonly bootId: string;
}

/** Runs to rest; `agentOnly`: from a start of the agent in the boot that the disk tells of. Throws InvariantBroken, and what the agent throws. */
export async function live(
  disk: SimulatedDisk,
  world: World,
  observe: (operation: DiskOperation) => void = () => {},
  agentOnly = false,
): Promise<Life> {
  const device = deviceOn(disk, world);
  const watch = new ActiveSlotWatch(disk, world);
  const told = device.onBoot;
  let bootId = '';
  device.onBoot = (facts) => {
    told(facts);
    bootId = facts.bootId;
    watch.booted(facts.slot);
  };
  disk.afterOperation = (operation) => {
    watch.afterOperation(operation);
    device.afterOperation(operation);
    observe(operation);
  };
  try {
    const stillUp = agentOnly && disk.contentOf(emulatedPaths(DEVICE).booted) !== undefined;
    if (stillUp) device.onBoot(await device.machine.board.bootFacts());
    const rest = await untilRest(device, world, stillUp);
    const [broken] = [...watch.broken, ...device.broken];
    if (broken !== undefined) throw new InvariantBroken(broken);
    return { rest, device, bootId };
  } finally {
    disk.afterOperation = () => {};
  }
}

async function untilRest(device: WatchedDevice, world: World, stillUp: boolean): Promise<EngineRest> {
  for (let boots = 0; boots < MOST_BOOTS; boots += 1) {
    if (boots > 0 || !stillUp) await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    const rest = await untilRebootOrRest(device, engine, world);
    if (rest.rest !== 'reboot') return rest;
  }
  throw new InvariantBroken(`still rebooting after ${MOST_BOOTS} boots`);
}

async function untilRebootOrRest(device: WatchedDevice, engine: UpdateEngine, world: World): Promise<EngineRest> {
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const wanted = wantedNow(world, engine.status());
    const rest = await device.runEngine(engine, wanted);
    if (rest.rest === 'reboot') return rest;
    if (wantedNow(world, engine.status())?.actionId === wanted?.actionId) return rest;
  }
  throw new InvariantBroken('the server never runs out of wishes');
}

/** No byte of the slot that runs changes, and no slot boots that holds no verified release. */
class ActiveSlotWatch {
  readonly broken: string[] = [];
  readonly #disk: SimulatedDisk;
  readonly #world: World;
  #active: Slot | undefined;

  constructor(disk: SimulatedDisk, world: World) {
    this.#disk = disk;
    this.#world = world;
  }

  booted(slot: Slot): void {
    this.#active = slot;
    if (releaseIn(this.#disk, slot, this.#world.releases) !== undefined) return;
    this.broken.push(`booted slot ${slot}, which holds no verified release`);
  }

  afterOperation({ path, text, kind }: DiskOperation): void {
    if (this.#active === undefined || kind === 'sync' || kind === 'syncdir') return;
    if (path.startsWith(`${DEVICE}/board/slots/${this.#active}/`)) {
      this.broken.push(`slot ${this.#active} runs, and was written to: ${text}`);
    }
  }
}
