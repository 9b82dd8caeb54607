/**
 * What a scenario is made of: a maker with releases, a server that wants them installed in turn, a device, and how it may
 * end. Images are small: three blocks, one of them of zeros; with `fullBlock` one image has a full block and a short one.
 */
import type { BootFlags } from '../../../agent/core/ports.ts';
import type { EngineStatus } from '../../../agent/update-engine.ts';
import type { Action } from '../../../protocol/device-api.ts';
import { BLOCK_BYTES } from '../../../trust/blocks.ts';
import type { MachineKind } from '../machines/machine.ts';
import { MemorySource, TestMaker } from '../release-fixture.ts';
import { DEVICE, type Images, makeFactoryDevice, type SimulatedDevice } from '../simulated-device.ts';
import { type CutPolicy, SimulatedDisk, seededRandom } from '../simulated-disk.ts';
import { WatchedDevice } from './write-ahead.ts';

/** How a device came to rest, as far as it must not depend on when the power was cut. */
export interface End {
  readonly rest: 'idle' | `held: ${string}`;
  readonly order: BootFlags['order'];
  readonly installed: number;
  readonly floor: number;
  readonly quarantined: readonly number[];
}

export interface World {
  readonly kind: MachineKind;
  readonly maker: TestMaker;
  /** The releases that there are beyond the factory's. */
  readonly updates: readonly Action[];
  /** What the server wants, one after the other; the last one for ever. */
  readonly actions: readonly Action[];
  readonly releases: ReadonlyMap<number, Images>;
  readonly ends: readonly End[];
  /** Changes a factory-new device before anything is counted. */
  readonly prepare?: (disk: SimulatedDisk, world: World) => Promise<void>;
  /** Changes a device before it boots: what its releases and its server are like. */
  readonly arrange?: ((device: SimulatedDevice, world: World, disk: SimulatedDisk) => void) | undefined;
  readonly direct?: SimulatedDisk['direct'];
  readonly fullBlock?: boolean;
  /** How a cut may leave the disk, if not in every way. */
  readonly policies?: readonly CutPolicy[];
  /** `agent`: after a cut the agent starts again, in the same boot; else the machine does. */
  readonly restarts?: 'machine' | 'agent';
  /** The agent finds records that it cannot use. */
  readonly expectsDamage?: boolean;
  /** The device begins below its floor: that, and what follows from it, is no rule broken. */
  readonly belowFloor?: boolean;
  /** What befalls a device after a cut, before it can recover; another disk. */
  readonly beforeRecovery?: (disk: SimulatedDisk, world: World) => Promise<SimulatedDisk>;
}

function filled(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 512) bytes.fill(1 + Math.floor(random() * 255), at, at + 512);
  return bytes;
}

/** Parts of 4096 bytes are written past the cache, the rest through it. */
function imagesOf(sequence: number, fullBlock: boolean): Images {
  const rootfs = filled(sequence * 7, fullBlock ? BLOCK_BYTES + 5000 : 9000);
  return { boot: filled(sequence, 3000), rootfs, assets: new Uint8Array(4000 + sequence) };
}

/** `wishes`: releases beyond the factory's, by sequence. */
export function makeWorld(
  wishes: Readonly<Record<number, { readonly floorSequence?: number }>>,
  rest: Omit<World, 'maker' | 'updates' | 'actions' | 'releases'> & {
    /** Sequences that the server wants, if not all of them. */
    readonly wants?: readonly number[];
    /** In the end it offers the release that runs, as a new action. */
    readonly offerAgain?: boolean;
  },
): World {
  const maker = new TestMaker();
  const images = (sequence: number) => imagesOf(sequence, rest.fullBlock === true);
  const releases = new Map([[1, images(1)]]);
  // The factory's release is published too: what a device runs is known to whoever makes recipes.
  maker.release({ sequence: 1, version: '1.0.0', images: images(1) });
  const updates: Action[] = [];
  for (const [key, wish] of Object.entries(wishes)) {
    const sequence = Number(key);
    releases.set(sequence, images(sequence));
    updates.push(maker.release({ sequence, version: `${sequence}.0.0`, images: images(sequence), ...wish }));
  }
  const wanted = updates.filter(({ sequence }) => rest.wants?.includes(sequence) ?? true);
  const last = wanted.at(-1);
  const again = rest.offerAgain && last !== undefined ? [{ ...last, actionId: 'the-same-again' }] : [];
  return { maker, updates, actions: [...wanted, ...again], releases, ...rest };
}

export async function factoryDisk(world: World): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, world.releases.get(1) ?? {}, world.maker.factoryRoot, world.kind);
  disk.direct = world.direct ?? 'done';
  await world.prepare?.(disk, world);
  disk.operations = 0;
  disk.calls = 0;
  return disk;
}

export function deviceOn(disk: SimulatedDisk, world: World): WatchedDevice {
  const device = new WatchedDevice(disk, new MemorySource(world.maker), DEVICE, world.kind);
  device.expectsDamage = world.expectsDamage === true;
  world.arrange?.(device, world, disk);
  return device;
}

/** What the server wants now, going by what the device says of itself; null: nothing. */
export function wantedNow(world: World, status: EngineStatus): Action | null {
  const failed = status.quarantined.map(({ sequence }) => sequence);
  const open = world.actions.find(({ sequence }) => sequence > status.installed.sequence && !failed.includes(sequence));
  return open ?? world.actions.at(-1) ?? null;
}
