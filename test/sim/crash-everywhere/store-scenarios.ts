/**
 * The storage code by itself, cut at every operation: what it promises of each file, with everything lost, everything kept,
 * and any part of it torn. Also where the names of a folder are kept as FAT keeps them.
 */

import { Adopter, type Adoption } from '../../../agent/adopt/adoption.ts';
import { rewriteInPlace } from '../../../agent/boards/machine.ts';
import { DurableReporter } from '../../../agent/reports/durable-reporter.ts';
import { DiskMetadataStore } from '../../../agent/storage/metadata-store.ts';
import type { Disk } from '../../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../../platform/durable-file.ts';
import { readTwoCopy, writeTwoCopy } from '../../../platform/two-copy-record.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import { refreshMetadata } from '../../../trust/tuf/client.ts';
import { MemorySource, NOW_UNIX_S, TestMaker } from '../release-fixture.ts';
import { type DiskOperation, SimulatedDisk, seededRandom } from '../simulated-disk.ts';
import { digestOf } from './durable-records.ts';

const SEEDS_PER_CUT = 24;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const large = (fill: number): Uint8Array => new Uint8Array(3000).fill(fill);

export interface StoreScenario {
  readonly name: string;
  /** Durable state before. */
  prepare(disk: SimulatedDisk): Promise<void>;
  act(disk: Disk): Promise<void>;
  /** What is found after a cut, as one word; throws for what may never be found. */
  observe(disk: SimulatedDisk): Promise<string>;
  /** What may be found when cut in the middle, and when cut after `act` returned. */
  readonly during: readonly string[];
  readonly after: string;
  /** Made of parts that stand above: not each of its syncs is needed, because the next part syncs the same folder. */
  readonly madeOfOthers?: boolean;
}

async function fileWord(disk: Disk, path: string, words: Record<string, Uint8Array>): Promise<string> {
  const bytes = await disk.readFile(path, 1 << 20);
  if (bytes === undefined) return 'none';
  const word = Object.entries(words).find(([, content]) => Buffer.from(content).equals(bytes));
  return word?.[0] ?? `torn (${bytes.length} bytes)`;
}

const WORDS = { old: large(1), fresh: large(2) };

async function recordWord(disk: Disk): Promise<string> {
  const { current } = await readTwoCopy(disk, '/data/record');
  return current === undefined ? 'none' : new TextDecoder().decode(current.payload);
}

/** Fits one sector, as autoboot.txt does. */
const small = (fill: number): Uint8Array => new Uint8Array(256).fill(fill);

const makers = [1, 2].map((rotations) => {
  const maker = new TestMaker();
  for (let done = 0; done < rotations; done += 1) maker.rotateOnlineKey();
  return maker;
});

function metadataAt(step: 0 | 1): TestMaker {
  return makers[step] ?? new TestMaker();
}

const METADATA = '/data/state/metadata';
const SILENT = { info: () => {}, warn: () => {} };

async function refreshFrom(disk: Disk, maker: TestMaker): Promise<void> {
  if (disk instanceof SimulatedDisk && disk.contentOf('/factory/root.json') === undefined) {
    await disk.place('/factory/root.json', maker.factoryRoot);
    await disk.place('/data/other', text('other'));
  }
  const facts = { disk, stateDirectory: '/data/state', factoryRootPath: '/factory/root.json', log: SILENT };
  const refreshed = await refreshMetadata({
    store: await DiskMetadataStore.open(facts),
    source: new MemorySource(maker),
    time: { floorUnixS: 0, synchronisedUnixS: NOW_UNIX_S },
    mode: { offline: false, environment: 'rehearsal', canonicalForm: 'required' },
  });
  if (!refreshed.ok) throw new Error(`${refreshed.code}: ${refreshed.detail}`);
}

/** No file is ever damaged, root and targets are there for good, and from any point the refresh ends with the new. */
async function metadataWord(disk: SimulatedDisk): Promise<string> {
  const found = disk.contents();
  const whole = ['root', 'timestamp', 'snapshot', 'targets'].map((role) => {
    const bytes = found.get(`${METADATA}/${role}.json`);
    if (bytes === undefined) return role === 'root' || role === 'targets' ? `${role} is lost` : '';
    const content = bytes.subarray(65);
    return new TextDecoder().decode(bytes.subarray(0, 65)) === `${sha256Hex(content)}\n` ? '' : `${role} is damaged`;
  });
  const lost = whole.find((one) => one !== '');
  if (lost !== undefined) return lost;
  const isNew = () =>
    ['root', 'timestamp', 'snapshot', 'targets'].every((role) => {
      const wanted = metadataAt(1).metadata.get(role === 'timestamp' ? 'timestamp.json' : `3.${role}.json`);
      const bytes = disk.contentOf(`${METADATA}/${role}.json`)?.bytes.subarray(65);
      return wanted !== undefined && bytes !== undefined && Buffer.from(bytes).equals(wanted);
    });
  const word = isNew() ? 'new' : 'whole';
  await refreshFrom(disk, metadataAt(1));
  return isNew() ? word : 'not new after another refresh';
}

const ADOPTION: Adoption = {
  format: 'holdfast-adoption-1',
  directories: [
    { path: '/etc/holdfast', mode: 0o755 },
    { path: '/data/holdfast', mode: 0o700 },
  ],
  files: [{ path: '/etc/holdfast/agent.json', text: '{}' }],
  unit: { enabled: false, active: false },
};

/** Its systemd always does as it is told. */
function adopter(disk: Disk): Adopter {
  return new Adopter(disk, '/data/adoption', false, async () => ({ status: 0, stdout: '', said: '' }));
}

async function takeBack(disk: Disk): Promise<void> {
  await adopter(disk).undo(await adopter(disk).standing());
}

/** From any point, taking back again leaves nothing. */
async function adoptionWord(disk: SimulatedDisk): Promise<string> {
  const left = () => [
    ...[...disk.files().keys()].filter((path) => !path.endsWith('/keep')),
    ...disk.folders().filter((path) => path.endsWith('/holdfast')),
  ];
  const word = left().length === 0 ? 'nothing left' : 'in part';
  await takeBack(disk);
  return left().length === 0 ? word : `left behind after another try: ${left().join(', ')}`;
}

const event = (detail: string) => ({ kind: 'notice', code: 'told', detail }) as const;

function openReports(disk: Disk): Promise<DurableReporter> {
  const ports = { disk, clock: { wallUnixMs: () => undefined }, log: SILENT, bootId: 'boot-1' };
  return DurableReporter.open(ports, '/data/reports');
}

/** What waits for the server, in order. */
async function reportsWord(disk: SimulatedDisk): Promise<string> {
  const reporter = await openReports(disk);
  const told: string[] = [];
  await reporter.flush(async (reports) => {
    told.push(
      ...reports.map(({ event: one }) =>
        one.kind !== 'notice' ? one.kind : one.code === 'told' ? one.detail : one.code,
      ),
    );
    return { ok: true, value: { acknowledged: reports.at(-1)?.reportSequence ?? 0 } };
  });
  return told.join(', ') || 'none';
}

export const STORE_SCENARIOS: readonly StoreScenario[] = [
  {
    name: 'writeDurably replaces a file',
    prepare: (disk) => disk.place('/data/file', WORDS.old),
    act: (disk) => writeDurably(disk, '/data/file', WORDS.fresh),
    observe: (disk) => fileWord(disk, '/data/file', WORDS),
    during: ['old', 'fresh'],
    after: 'fresh',
  },
  {
    name: 'writeDurably makes a file',
    prepare: (disk) => disk.place('/data/other', WORDS.old),
    act: (disk) => writeDurably(disk, '/data/file', WORDS.fresh),
    observe: (disk) => fileWord(disk, '/data/file', WORDS),
    during: ['none', 'fresh'],
    after: 'fresh',
  },
  {
    name: 'removeDurably removes a file',
    prepare: (disk) => disk.place('/data/file', WORDS.old),
    act: (disk) => removeDurably(disk, '/data/file'),
    observe: (disk) => fileWord(disk, '/data/file', WORDS),
    during: ['old', 'none'],
    after: 'none',
  },
  {
    name: 'makeDirectoryDurably makes a folder that keeps its files',
    prepare: (disk) => disk.place('/data/other', WORDS.old),
    act: async (disk) => {
      await makeDirectoryDurably(disk, '/data/folder');
      await writeDurably(disk, '/data/folder/file', WORDS.fresh);
    },
    observe: (disk) => fileWord(disk, '/data/folder/file', WORDS),
    during: ['none', 'fresh'],
    after: 'fresh',
  },
  {
    name: 'writeTwoCopy writes its first copy',
    prepare: (disk) => disk.place('/data/other', WORDS.old),
    act: (disk) => writeTwoCopy(disk, '/data/record', text('first')),
    observe: recordWord,
    during: ['none', 'first'],
    after: 'first',
  },
  {
    name: 'writeTwoCopy writes over its older copy',
    prepare: async (disk) => {
      await disk.makeDirectory('/data');
      await disk.syncDirectory('/');
      for (const value of ['older', 'old']) await writeTwoCopy(disk, '/data/record', text(value));
    },
    act: (disk) => writeTwoCopy(disk, '/data/record', text('fresh')),
    observe: recordWord,
    during: ['old', 'fresh'],
    after: 'fresh',
  },
  {
    name: 'a file on FAT, rewritten in place',
    prepare: async (disk) => {
      await disk.mountFat('/boot');
      await disk.place('/boot/file', small(1));
    },
    act: (disk) => rewriteInPlace(disk, '/boot/file', small(2)),
    observe: (disk) => fileWord(disk, '/boot/file', { old: small(1), fresh: small(2) }),
    during: ['old', 'fresh'],
    after: 'fresh',
  },
  {
    name: 'a file on FAT, made',
    prepare: (disk) => disk.mountFat('/boot'),
    act: (disk) => writeDurably(disk, '/boot/file', small(2)),
    observe: (disk) => fileWord(disk, '/boot/file', { fresh: small(2) }),
    during: ['none', 'fresh'],
    after: 'fresh',
  },
  {
    name: 'the metadata store, when a root with another online key comes',
    madeOfOthers: true,
    prepare: (disk) => refreshFrom(disk, metadataAt(0)),
    act: (disk) => refreshFrom(disk, metadataAt(1)),
    observe: metadataWord,
    during: ['whole', 'new'],
    after: 'new',
  },
  {
    name: 'the report queue, when events are recorded',
    madeOfOthers: true,
    prepare: async (disk) => {
      await disk.makeDirectory('/data/reports');
      await disk.syncDirectory('/');
      await disk.syncDirectory('/data');
      await (await openReports(disk)).record(event('first'));
    },
    act: async (disk) => {
      const reporter = await openReports(disk);
      await reporter.record(event('second'));
      await reporter.record(event('third'));
    },
    observe: reportsWord,
    during: ['first', 'first, second', 'first, second, third'],
    after: 'first, second, third',
  },
  {
    name: 'the report queue, found damaged',
    madeOfOthers: true,
    prepare: async (disk) => {
      await disk.place('/data/reports/queue', text('not a queue'));
    },
    act: async (disk) => void (await openReports(disk)),
    observe: reportsWord,
    during: ['none', 'report-queue-damaged'],
    after: 'report-queue-damaged',
  },
  {
    name: 'an adoption, taken back',
    madeOfOthers: true,
    prepare: async (disk) => {
      await disk.place('/etc/keep', text('keep'));
      await disk.place('/data/keep', text('keep'));
      await adopter(disk).adopt(ADOPTION);
    },
    act: takeBack,
    observe: adoptionWord,
    during: ['in part', 'nothing left'],
    after: 'nothing left',
  },
];

export interface StoreRun {
  /** Every way in which a promise was broken. */
  readonly broken: string[];
  readonly operations: number;
  readonly cuts: number;
}

/** `alter` is told of the disk before the scenario acts on it. */
export async function tryStore(
  scenario: StoreScenario,
  { seed = 0, alter = () => {} }: { seed?: number; alter?: (disk: SimulatedDisk) => void } = {},
): Promise<StoreRun> {
  const disk = new SimulatedDisk();
  await scenario.prepare(disk);
  disk.operations = 0;
  alter(disk);
  const cuts: { at: string; found: SimulatedDisk; allowed: readonly string[] }[] = [];
  const cutHere = (at: string, allowed: readonly string[]) => {
    cuts.push({ at: `${at}, everything lost`, found: disk.cut('drop'), allowed });
    cuts.push({ at: `${at}, everything kept`, found: disk.cut('keep'), allowed });
    for (let draw = 1; draw <= SEEDS_PER_CUT; draw += 1) {
      const found = disk.cut('random', seededRandom(seed * SEEDS_PER_CUT + draw));
      cuts.push({ at: `${at}, draw ${draw}`, found, allowed });
    }
  };
  disk.afterOperation = ({ number, text: what }: DiskOperation) => cutHere(`cut ${number} (${what})`, scenario.during);
  await scenario.act(disk);
  const { operations } = disk;
  disk.afterOperation = () => {};
  cutHere('cut after it returned', [scenario.after]);

  const broken: string[] = [];
  const words = new Map<string, string>();
  for (const { at, found, allowed } of cuts) {
    const files = [...found.files()].map(([path, content]) => `${path} ${digestOf(content)}`);
    const key = [...files, ...found.folders()].join('\n');
    const word = words.get(key) ?? (await scenario.observe(found).catch((error: unknown) => `an error: ${error}`));
    words.set(key, word);
    if (!allowed.includes(word)) broken.push(`${at}: found ${word}, allowed ${allowed.join(' or ')}`);
  }
  return { broken, operations, cuts: cuts.length };
}

export async function syncsOf(scenario: StoreScenario): Promise<DiskOperation[]> {
  const disk = new SimulatedDisk();
  await scenario.prepare(disk);
  disk.operations = 0;
  const syncs: DiskOperation[] = [];
  disk.afterOperation = (operation) => {
    if (operation.text.startsWith('sync')) syncs.push(operation);
  };
  await scenario.act(disk);
  return syncs;
}
