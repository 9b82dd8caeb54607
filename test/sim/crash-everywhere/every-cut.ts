/**
 * Cuts a scenario at each operation, under each policy, and every recovery again at each operation: all pairs.
 *
 * A cut leaves a disk; disks that are equal to a device (equal-disks.ts) are recovered from once, and that one run stands
 * for every cut and every pair that leads there. `pairs` counts the pairs whose second disk was checked and recovered
 * from, itself or by an equal one; `possible` counts them from the lengths of the recoveries alone. They must agree.
 */
import type { CutPolicy, DiskOperation, SimulatedDisk } from '../simulated-disk.ts';
import { seededRandom } from '../simulated-disk.ts';
import { DiskKeys, readNever } from './equal-disks.ts';
import { type Counted, checkDisk, checkEnd, checkNotFallen, InvariantBroken, NOTHING_COUNTED } from './invariants.ts';
import { live } from './life.ts';
import { factoryDisk, type World } from './world.ts';

export interface CutOptions {
  readonly seed: number;
  /** Replays one cut, or one pair: numbers of operations. */
  readonly only?: readonly number[];
  /** Which share of the pairs is tried, chosen by the seed: 1 for all of them. */
  readonly share: number;
  readonly progress?: (line: string) => void;
  /** Told of every disk whose life begins: a removal takes its fsync or its write away there. */
  readonly alter?: (disk: SimulatedDisk) => void;
}

export interface CutCounts {
  operations: number;
  cuts: number;
  /** Different disks among those that the cuts left. */
  disks: number;
  pairs: number;
  possible: number;
  /** Pairs whose recovery ran itself; the others left a disk equal to one of these, or to one that a cut left. */
  recoveries: number;
}

/** A rule was broken; says where, so that it can be replayed. */
export class CutFailed extends Error {
  override readonly name = 'CutFailed';
  readonly cut: readonly number[];

  constructor(cut: readonly number[], what: string, cause: unknown) {
    super(`cut ${cut.join(', then ')} (${what}): ${toldOf(cause)}`, { cause });
    this.cut = cut;
  }
}

/** A broken rule says enough; anything else is a bug whose place counts. */
function toldOf(cause: unknown): string {
  if (cause instanceof InvariantBroken) return cause.message;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}

interface Cut {
  readonly number: number;
  readonly text: string;
  readonly policy: CutPolicy;
  readonly disk: SimulatedDisk;
}

/** Drawn twice where it was the first cut: what is torn differs from draw to draw. */
const FIRST: readonly CutPolicy[] = ['drop', 'keep', 'random', 'random'];
const SECOND: readonly CutPolicy[] = ['drop', 'keep', 'random'];

export class EveryCut {
  readonly counts: CutCounts = { operations: 0, cuts: 0, disks: 0, pairs: 0, possible: 0, recoveries: 0 };
  readonly #world: World;
  readonly #options: CutOptions;
  readonly #keys: DiskKeys;
  /** By key of a disk that a first cut left: how many second cuts were tried in its recovery, of how many. */
  readonly #first = new Map<string, { readonly pairs: number; readonly possible: number }>();
  /** Keys of disks that were recovered from. */
  readonly #recovered = new Set<string>();

  constructor(world: World, options: CutOptions) {
    this.#world = world;
    this.#options = options;
    this.#keys = new DiskKeys(world);
  }

  /** Throws CutFailed at the first rule that is broken. */
  async run(): Promise<CutCounts> {
    const { counts } = this;
    const cuts: Cut[] = [];
    const disk = await factoryDisk(this.#world);
    await this.#guard([], 'no cut at all', async () => {
      await this.#liveAndCollect(disk, cuts, FIRST);
      counts.operations = disk.operations;
    });
    let durable: Counted = NOTHING_COUNTED;
    let toldAt = Date.now();
    for (const cut of cuts) {
      counts.cuts += 1;
      await this.#guard([cut.number], `${cut.policy}: ${cut.text}`, async () => {
        const found = await checkDisk(cut.disk, this.#world);
        checkNotFallen(durable, found);
        if (cut.policy === 'drop') durable = found;
        await this.#recoverFrom(cut, found);
      });
      if (Date.now() - toldAt < 5000) continue;
      toldAt = Date.now();
      this.#options.progress?.(`cut ${cut.number} of ${counts.operations}, ${counts.pairs} pairs`);
    }
    counts.disks = this.#first.size;
    return counts;
  }

  /** Recovers from a first cut, and from every second one in that recovery. */
  async #recoverFrom(first: Cut, before: Counted): Promise<void> {
    const { counts } = this;
    const key = this.#keys.keyOf(first.disk);
    const known = this.#first.get(key);
    if (known !== undefined) {
      counts.pairs += known.pairs;
      counts.possible += known.possible;
      return;
    }
    this.#recovered.add(key);
    const cuts: Cut[] = [];
    const disk = (await this.#world.beforeRecovery?.(first.disk, this.#world)) ?? first.disk;
    await this.#liveAndCollect(disk, cuts, SECOND, first.number);
    const possible = disk.operations * this.#policies(SECOND).length;
    let durable = before;
    for (const cut of cuts) {
      await this.#guard(
        [first.number, cut.number],
        `${first.policy}: ${first.text}; ${cut.policy}: ${cut.text}`,
        async () => {
          const key = this.#keys.keyOf(cut.disk);
          if (this.#recovered.has(key) && cut.policy !== 'drop') return;
          const found = await checkDisk(cut.disk, this.#world);
          checkNotFallen(durable, found);
          if (cut.policy === 'drop') durable = found;
          if (this.#recovered.has(key)) return;
          this.#recovered.add(key);
          counts.recoveries += 1;
          const disk = (await this.#world.beforeRecovery?.(cut.disk, this.#world)) ?? cut.disk;
          await this.#liveAndCollect(disk, [], [], cut.number);
        },
      );
    }
    counts.pairs += cuts.length;
    counts.possible += possible;
    this.#first.set(key, { pairs: cuts.length, possible });
  }

  /** `first`: the number of the cut that this life recovers from; undefined for the life that has the first cuts. */
  async #liveAndCollect(
    disk: SimulatedDisk,
    cuts: Cut[],
    policies: readonly CutPolicy[],
    first?: number,
  ): Promise<void> {
    const { seed, share, alter } = this.#options;
    const [onlyFirst, onlySecond] = this.#options.only ?? [];
    const only = first === undefined ? onlyFirst : onlySecond;
    const choose = seededRandom(seed * 7919 + (first ?? 0));
    disk.operations = 0;
    disk.fault = readNever;
    alter?.(disk);
    const observe = ({ number, text }: DiskOperation): void => {
      if (only !== undefined && number !== only) return;
      for (const [draw, policy] of this.#policies(policies).entries()) {
        if (first !== undefined && only === undefined && choose() >= share) continue;
        const random = seededRandom(seed * 31 + (first ?? 0) * 100_003 + number * 17 + draw);
        cuts.push({ number, text, policy, disk: disk.cut(policy, random) });
      }
    };
    const agentOnly = first !== undefined && this.#world.restarts === 'agent';
    const { rest, bootId } = await live(disk, this.#world, observe, agentOnly);
    await checkEnd(disk, this.#world, rest, bootId);
  }

  #policies(all: readonly CutPolicy[]): readonly CutPolicy[] {
    return this.#world.policies ?? all;
  }

  async #guard(cut: readonly number[], what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      throw error instanceof CutFailed ? error : new CutFailed(cut, what, error);
    }
  }
}
