/** What the campaign is made of: parts that run by themselves, each with its counts, its first failure and how to replay it. */
import { type SimulatedDisk, seededRandom } from '../simulated-disk.ts';
import { DiskKeys } from './equal-disks.ts';
import { CutFailed, EveryCut } from './every-cut.ts';
import { live } from './life.ts';
import { SCENARIOS } from './scenarios.ts';
import { STORE_SCENARIOS, tryStore } from './store-scenarios.ts';
import {
  badBlocks,
  bitsToFlip,
  callsOf,
  diskTroubles,
  fetchesOf,
  flipped,
  isState,
  liveThrough,
  networkTroubles,
  restingDisks,
  type Trouble,
} from './troubles.ts';
import { factoryDisk, type World } from './world.ts';

export interface PartOptions {
  readonly seed: number;
  /** Which share of pairs and faults is tried: 1 for all. */
  readonly share: number;
  /** Replays one cut, or a cut and the one in its recovery. */
  readonly cut?: readonly number[] | undefined;
  /** Replays one trouble. */
  readonly trouble?: string | undefined;
  readonly progress: (line: string) => void;
}

export interface PartResult {
  readonly operations: number;
  readonly cuts: number;
  readonly disks: number;
  readonly pairs: number;
  readonly possiblePairs: number;
  readonly recoveries: number;
  readonly faults: number;
  /** What went wrong, and the words that replay it; empty when nothing did. */
  readonly failure: string;
  readonly replay: string;
}

export interface Part {
  readonly name: string;
  run(options: PartOptions): Promise<PartResult>;
}

const NOTHING: PartResult = {
  operations: 0,
  cuts: 0,
  disks: 0,
  pairs: 0,
  possiblePairs: 0,
  recoveries: 0,
  faults: 0,
  failure: '',
  replay: '',
};

async function runCuts(world: World, options: PartOptions): Promise<PartResult> {
  const { seed, share, progress, cut } = options;
  const campaign = new EveryCut(world, { seed, share, progress, ...(cut === undefined ? {} : { only: cut }) });
  let failure = '';
  let replay = '';
  try {
    await campaign.run();
  } catch (error) {
    if (!(error instanceof CutFailed)) throw error;
    failure = error.message;
    replay = error.cut.length === 0 ? '' : `--cut ${error.cut.join(',')}`;
  }
  const { operations, cuts, disks, pairs, possible, recoveries } = campaign.counts;
  return { ...NOTHING, operations, cuts, disks, pairs, possiblePairs: possible, recoveries, failure, replay };
}

async function runStores({ seed }: PartOptions): Promise<PartResult> {
  let [operations, cuts, failure] = [0, 0, ''];
  for (const scenario of STORE_SCENARIOS) {
    const run = await tryStore(scenario, { seed });
    operations += run.operations;
    cuts += run.cuts;
    if (run.broken[0] !== undefined) failure ||= `${scenario.name}: ${run.broken[0]}`;
  }
  return { ...NOTHING, operations, cuts, failure };
}

/** Each trouble on a disk of its own. */
async function runTroubles(
  world: World,
  troubles: readonly (readonly [Trouble, () => Promise<SimulatedDisk>])[],
  { seed, share, trouble: only, progress }: PartOptions,
): Promise<PartResult> {
  const choose = seededRandom(seed);
  let faults = 0;
  let toldAt = Date.now();
  for (const [trouble, makeDisk] of troubles) {
    if (only !== undefined && trouble.name !== only) continue;
    if (only === undefined && choose() >= share) continue;
    faults += 1;
    try {
      await liveThrough(await makeDisk(), world, trouble);
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { ...NOTHING, faults, failure: `${trouble.name}: ${what}`, replay: `--trouble '${trouble.name}'` };
    }
    if (Date.now() - toldAt < 5000) continue;
    toldAt = Date.now();
    progress(`${faults} of about ${Math.ceil(troubles.length * share)} troubles`);
  }
  return { ...NOTHING, faults };
}

type TroublesOf = (world: World) => Promise<(readonly [Trouble, () => Promise<SimulatedDisk>])[]>;

const onAFactoryDisk =
  (troubles: (world: World) => Promise<readonly Trouble[]>): TroublesOf =>
  async (world) =>
    (await troubles(world)).map((trouble) => [trouble, () => factoryDisk(world)] as const);

/** At each boot of the update and at its end, in each file of state. */
const flippedBits: TroublesOf = async (world) => {
  const found: (readonly [Trouble, () => Promise<SimulatedDisk>])[] = [];
  for (const [index, disk] of (await restingDisks(world)).entries()) {
    for (const [path, content] of disk.files()) {
      if (!isState(path)) continue;
      for (const bit of bitsToFlip(content.length, index + 1)) {
        const trouble = flipped(`bit ${bit} of ${path}, at boot ${index + 1}`, path, bit);
        found.push([trouble, async () => disk.cut('keep')]);
      }
    }
  }
  return found;
};

/** Each sync of state or flags that is acknowledged and lost, and the power cut at any later operation. */
const lyingCache: TroublesOf = async (world) => {
  const syncs: { readonly number: number; readonly path: string }[] = [];
  const first = await factoryDisk(world);
  first.ignoresSync = ({ number, path }) => {
    if (!path.includes('/slots/')) syncs.push({ number, path });
    return false;
  };
  await live(first, world);
  const keys = new DiskKeys(world);
  const seen = new Set<string>();
  const found: (readonly [Trouble, () => Promise<SimulatedDisk>])[] = [];
  for (const { number: lie, path } of syncs) {
    const disk = await factoryDisk(world);
    disk.ignoresSync = ({ number }) => number === lie;
    await live(disk, world, ({ number, text }) => {
      if (number < lie) return;
      const cut = disk.cut('drop');
      const key = keys.keyOf(cut);
      if (seen.has(key)) return;
      seen.add(key);
      const name = `sync ${lie} lied, cut ${number} (${text})`;
      const trouble = { name, begin: () => () => {}, mayFallBack: path.includes('/boot-env') };
      found.push([trouble, async () => cut.cut('keep')]);
    }).catch(() => {});
  }
  return found;
};

function worldOf(name: string): World {
  const scenario = SCENARIOS.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario.makeWorld();
}

function troublesIn(kind: string, scenario: string, troublesOf: TroublesOf): Part {
  return {
    name: `${kind}, ${scenario}`,
    run: async (options) => {
      const world = worldOf(scenario);
      return runTroubles(world, await troublesOf(world), options);
    },
  };
}

const failingDisk = onAFactoryDisk(async (world) => diskTroubles(await callsOf(world)));
const badBlock = onAFactoryDisk(async (world) => badBlocks(await callsOf(world)));
const network = onAFactoryDisk(async (world) => networkTroubles(await fetchesOf(world)));

export const PARTS: readonly Part[] = [
  { name: 'stores', run: runStores },
  ...SCENARIOS.map(({ name, makeWorld }) => ({ name, run: (options: PartOptions) => runCuts(makeWorld(), options) })),
  troublesIn('failing disk', 'good-update-into-an-empty-slot', failingDisk),
  troublesIn('failing disk', 'rollback', failingDisk),
  troublesIn('bad blocks', 'repeated-update', badBlock),
  troublesIn('flipped bits', 'good-update', flippedBits),
  troublesIn('flipped bits', 'u-boot-good-update', flippedBits),
  troublesIn('lying cache', 'good-update', lyingCache),
  troublesIn('network and clock', 'good-update', network),
];
