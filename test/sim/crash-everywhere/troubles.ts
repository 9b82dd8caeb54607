/**
 * Everything but power cuts: a disk that fails, lies or rots, a source that goes away or lies, a clock that jumps. Each
 * trouble at each call, file or fetch of a whole update, one at a time.
 *
 * What must come of it: no slot boots that holds no verified release, no byte of the running slot changes, the counters
 * do not fall (a lie and a flipped bit may take back the last write of a record, never more), and once the world is well again
 * the device ends where it would have, or is held with a reason.
 */
import type { EngineRest } from '../../../agent/core/ports.ts';
import { SourceUnreachable } from '../../../agent/core/ports.ts';
import { UpdateEngine } from '../../../agent/update-engine.ts';
import { systemErrorCode } from '../../../platform/fault.ts';
import { DEVICE } from '../simulated-device.ts';
import { type DiskCall, type DiskFault, type SimulatedDisk, seededRandom } from '../simulated-disk.ts';
import { asFound, recordIn, releaseIn } from './durable-records.ts';
import { InvariantBroken } from './invariants.ts';
import { deviceOn, factoryDisk, type World, wantedNow } from './world.ts';
import type { WatchedDevice } from './write-ahead.ts';

/** An agent that ends is started again by systemd; a device that does not start is switched off and on. */
const MOST_STARTS = 12;
/** Pauses after failures that the trouble lasts. */
const TURNS = 4;

/** One trouble, to be told and replayed by its name. */
export interface Trouble {
  readonly name: string;
  /** Begins it; answers what ends it. */
  begin(device: WatchedDevice, disk: SimulatedDisk): () => void;
  /** It may cost the newest copy of the boot flags: the device then ends on a whole release above the floor. */
  readonly mayFallBack?: boolean;
}

export interface Outcome {
  readonly rest: EngineRest | 'would not start';
  readonly slot: string;
  readonly installed: number;
}

/** Lives through the trouble, then without it; throws InvariantBroken. */
export async function liveThrough(disk: SimulatedDisk, world: World, trouble: Trouble): Promise<Outcome> {
  const device = deviceOn(disk, world);
  const rules = new RulesUnderTrouble(disk, world, device);
  const end = trouble.begin(device, disk);
  try {
    await untilQuiet(device, world, TURNS);
  } finally {
    end();
  }
  const rest = await untilQuiet(device, world, 50);
  rules.check();
  const engine = rest.engine;
  if (rest.rest === undefined || engine === undefined)
    throw new InvariantBroken('does not come to rest once the trouble is over');
  const status = engine.status();
  const outcome = { rest: rest.rest, slot: status.bootedSlot ?? '', installed: status.installed.sequence };
  const well =
    trouble.mayFallBack === true ||
    world.ends.some((one) => one.order[0] === outcome.slot && one.installed === outcome.installed);
  if (rest.rest.rest === 'held' || (rest.rest.rest === 'idle' && well)) return outcome;
  throw new InvariantBroken(`ended as ${JSON.stringify(outcome)} once the trouble was over`);
}

/** Boots and starts the agent until it rests; what the disk throws ends the agent, and it is started again. */
async function untilQuiet(
  device: WatchedDevice,
  world: World,
  turns: number,
): Promise<{ rest?: EngineRest; engine?: UpdateEngine }> {
  let booted = false;
  let engine: UpdateEngine | undefined;
  for (let starts = 0; starts < MOST_STARTS; starts += 1) {
    try {
      if (!booted) await device.boot();
      booted = true;
      engine = await UpdateEngine.open(device.ports(), device.settings);
      const rest = await untilRest(device, engine, world, turns);
      if (rest?.rest !== 'reboot') return rest === undefined ? { engine } : { rest, engine };
      booted = false;
    } catch (error) {
      // An error of the disk, or a Fault that names one; anything else is a bug.
      if (systemErrorCode(error) === undefined && !(error instanceof Error && 'exitStatus' in error)) throw error;
      // Every other time the whole device is started anew.
      booted = booted && starts % 2 === 0;
    }
  }
  return {};
}

async function untilRest(
  device: WatchedDevice,
  engine: UpdateEngine,
  world: World,
  turns: number,
): Promise<EngineRest | undefined> {
  for (let turn = 0; turn < turns; turn += 1) {
    const wanted = wantedNow(world, engine.status());
    await engine.offer(wanted);
    const rest = await engine.run();
    if (rest.rest === 'retry') await device.clock.sleep(rest.afterMs);
    else if (rest.rest !== 'idle' || wantedNow(world, engine.status())?.actionId === wanted?.actionId) return rest;
  }
  return undefined;
}

class RulesUnderTrouble {
  readonly #disk: SimulatedDisk;
  readonly #world: World;
  readonly #broken: string[] = [];
  readonly #countersBefore: number;
  #active: string | undefined;

  constructor(disk: SimulatedDisk, world: World, device: WatchedDevice) {
    this.#disk = disk;
    this.#world = world;
    this.#countersBefore = this.#counters();
    const told = device.onBoot;
    device.onBoot = (facts) => {
      told(facts);
      this.#active = facts.slot;
      if (releaseIn(this.#disk, facts.slot, this.#world.releases) === undefined) {
        this.#broken.push(`booted slot ${facts.slot}, which holds no verified release`);
      }
    };
    disk.afterOperation = ({ kind, path, text }) => {
      if (kind === 'sync' || kind === 'syncdir' || this.#active === undefined) return;
      if (path.startsWith(`${DEVICE}/board/slots/${this.#active}/`))
        this.#broken.push(`the running slot was written to: ${text}`);
    };
  }

  #counters(): number {
    return recordIn(asFound(this.#disk), 'counters')?.installedSequence ?? 0;
  }

  check(): void {
    this.#disk.afterOperation = () => {};
    const now = this.#counters();
    if (now < this.#countersBefore) this.#broken.push(`the counter fell from ${this.#countersBefore} to ${now}`);
    if (this.#broken[0] !== undefined) throw new InvariantBroken(this.#broken[0]);
  }
}

// --- the disk --------------------------------------------------------------------------------------------------------

/** Each call of a whole update, as it goes without trouble. */
export async function callsOf(world: World): Promise<DiskCall[]> {
  const disk = await factoryDisk(world);
  const calls: DiskCall[] = [];
  disk.fault = (call) => void calls.push(call);
  await untilQuiet(deviceOn(disk, world), world, 50);
  return calls;
}

const WRITES: readonly DiskCall['kind'][] = ['create', 'write', 'truncate', 'mkdir', 'rename', 'sync', 'syncdir'];

/** The failing disk: one call, or every one from there on, until somebody cures it. */
export function diskTroubles(calls: readonly DiskCall[]): Trouble[] {
  return calls.flatMap(({ number, kind, path }) => {
    const at = `call ${number} (${kind} ${path})`;
    const once = (what: string, fault: DiskFault): Trouble =>
      failing(`${what} at ${at}`, (call) => call.number === number, fault);
    const troubles = [once('EIO', { code: 'EIO' })];
    if (!WRITES.includes(kind)) return troubles;
    troubles.push(once('ENOSPC', { code: 'ENOSPC' }));
    troubles.push(
      failing(`ENOSPC from ${at} on`, (call) => call.number >= number && WRITES.includes(call.kind), {
        code: 'ENOSPC',
      }),
      failing(`EROFS from ${at} on`, (call) => call.number >= number && WRITES.includes(call.kind), { code: 'EROFS' }),
    );
    if (kind === 'write') troubles.push(once('a short write, then ENOSPC', { code: 'ENOSPC', keepBytes: 100 }));
    return troubles;
  });
}

function failing(name: string, fails: (call: DiskCall) => boolean, fault: DiskFault): Trouble {
  return {
    name,
    begin: (_, disk) => {
      const begun = disk.calls;
      disk.fault = (call) => (fails({ ...call, number: call.number - begun }) ? fault : undefined);
      return () => {
        disk.fault = () => undefined;
      };
    },
  };
}

/** A bad block in each file that is read: no read of it succeeds until it is written again. It never gets well by itself. */
export function badBlocks(calls: readonly DiskCall[]): Trouble[] {
  const files = [...new Set(calls.filter(({ kind }) => kind === 'read').map(({ path }) => path))];
  const firstRead = (path: string) => calls.find((call) => call.kind === 'read' && call.path === path)?.number ?? 0;
  return files
    .filter((path) => !path.endsWith('/booted.json') && !path.startsWith('/boot/') && !path.includes('/factory/'))
    .map((path) => ({
      name: `a bad block in ${path}`,
      begin: (_, disk) => {
        let bad = true;
        const begun = disk.calls;
        disk.fault = ({ number, kind, path: asked }) => {
          if (asked !== path || number - begun < firstRead(path)) return undefined;
          if (kind === 'create' || kind === 'write' || kind === 'rename') bad = false;
          return bad && kind === 'read' ? { code: 'EIO' } : undefined;
        };
        return () => {};
      },
    }));
}

// --- bits that flip --------------------------------------------------------------------------------------------------

/** Disks of a life, at each reboot and at its end: where a device lies switched off and rots. */
export async function restingDisks(world: World): Promise<SimulatedDisk[]> {
  const disk = await factoryDisk(world);
  const found: SimulatedDisk[] = [];
  const device = deviceOn(disk, world);
  const boot = device.machine.powerOn.bind(device.machine);
  Object.assign(device.machine, {
    powerOn: (bootId: string) => {
      found.push(disk.cut('keep'));
      return boot(bootId);
    },
  });
  await untilQuiet(device, world, 50);
  found.push(disk.cut('keep'));
  return found;
}

const ALL_BITS_UP_TO_BYTES = 64;
const SAMPLED_BITS = 48;

/** Which bits of a file to flip: all of a small one, the first of each field and some by the seed of a large one. */
export function bitsToFlip(lengthBytes: number, seed: number): number[] {
  const bits = lengthBytes * 8;
  if (lengthBytes <= ALL_BITS_UP_TO_BYTES) return Array.from({ length: bits }, (_, bit) => bit);
  const random = seededRandom(seed);
  return [
    ...new Set([0, 32, 96, 128, bits - 1, ...Array.from({ length: SAMPLED_BITS }, () => Math.floor(random() * bits))]),
  ];
}

export function isState(path: string): boolean {
  return (
    path.startsWith(`${DEVICE}/data/`) ||
    path.startsWith(`${DEVICE}/board/boot-env`) ||
    path.startsWith('/environment/')
  );
}

export function flipped(name: string, path: string, bit: number): Trouble {
  return {
    name,
    mayFallBack: !path.startsWith(`${DEVICE}/data/`),
    begin: (_, disk) => {
      const bytes = disk.contentOf(path)?.bytes.slice() ?? new Uint8Array();
      const at = Math.floor(bit / 8);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit % 8));
      disk.rot(path, bytes);
      return () => {};
    },
  };
}

// --- the network and the clock ---------------------------------------------------------------------------------------

type Answer = 'metadata' | 'target' | 'range';

const LIES: Readonly<Record<string, (bytes: Uint8Array, cap: number) => Uint8Array>> = {
  'a short answer': (bytes) => bytes.subarray(0, Math.floor(bytes.length / 2)),
  'an empty answer': () => new Uint8Array(),
  'an endless answer': (_, cap) => new Uint8Array(cap + 1).fill(65),
  'a changed answer': (bytes) => bytes.map((byte, at) => (at === 0 ? byte ^ 1 : byte)),
};

/** How many fetches a whole update makes. */
export async function fetchesOf(world: World): Promise<number> {
  const device = deviceOn(await factoryDisk(world), world);
  let fetches = 0;
  onFetch(device, () => {
    fetches += 1;
  });
  await untilQuiet(device, world, 50);
  return fetches;
}

/** Each fetch: the source is away then, or from then on; it lies; the clock jumps. */
export function networkTroubles(fetches: number): Trouble[] {
  return Array.from({ length: fetches }, (_, index) => index + 1).flatMap((number) => {
    const at = `fetch ${number}`;
    const troubles: Trouble[] = [
      fetching(`away at ${at}`, (count) => (count === number ? 'away' : undefined)),
      fetching(`away from ${at} on`, (count) => (count >= number ? 'away' : undefined)),
      ...Object.entries(LIES).map(([name, lie]) =>
        fetching(`${name} at ${at}`, (count) => (count === number ? lie : undefined)),
      ),
    ];
    const jumps: readonly (readonly [string, number | undefined])[] = [
      ['the clock jumps ten years ahead', 3650 * 86_400_000],
      ['the clock jumps ten years back', -3650 * 86_400_000],
      ['the clock is lost', undefined],
    ];
    return [...troubles, ...jumps.map(([name, jumpMs]) => jumping(`${name} at ${at}`, number, jumpMs))];
  });
}

function onFetch(device: WatchedDevice, count: () => void): void {
  device.source.onFetch = (_, __, bytes) => {
    count();
    return bytes;
  };
}

function fetching(
  name: string,
  comes: (count: number) => 'away' | ((bytes: Uint8Array, cap: number) => Uint8Array) | undefined,
): Trouble {
  return {
    name,
    begin: (device) => {
      let count = 0;
      device.source.onFetch = (_: Answer, capBytes, bytes) => {
        count += 1;
        const trouble = comes(count);
        if (trouble === 'away') throw new SourceUnreachable('away');
        return trouble === undefined ? bytes : trouble(bytes, capBytes);
      };
      return () => {
        device.source.onFetch = (_, __, bytes) => bytes;
      };
    },
  };
}

function jumping(name: string, number: number, jumpMs: number | undefined): Trouble {
  return {
    name,
    begin: (device) => {
      let count = 0;
      onFetch(device, () => {
        count += 1;
        if (count !== number) return;
        if (jumpMs === undefined) device.clock.synchronised = false;
        else device.clock.wallOffsetMs = jumpMs;
      });
      return () => {
        device.clock.synchronised = true;
        device.clock.wallOffsetMs = 0;
        device.source.onFetch = (_, __, bytes) => bytes;
      };
    },
  };
}
