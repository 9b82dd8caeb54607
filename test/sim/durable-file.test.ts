/**
 * What durable-file.ts and two-copy-record.ts promise, cut at every operation, with everything lost, everything kept,
 * and any part of it torn. And the proof that the test bites: each sync taken away in turn breaks a promise.
 */
import { describe, expect, it } from 'vitest';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../platform/durable-file.ts';
import { readTwoCopy, writeTwoCopy } from '../../platform/two-copy-record.ts';
import { type DiskOperation, SimulatedDisk, seededRandom } from './simulated-disk.ts';

const SEEDS_PER_CUT = 24;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const large = (fill: number): Uint8Array => new Uint8Array(3000).fill(fill);

interface Scenario {
  readonly name: string;
  /** Durable state before. */
  prepare(disk: SimulatedDisk): Promise<void>;
  act(disk: Disk): Promise<void>;
  /** What is found after a cut, as one word; throws for what may never be found. */
  observe(disk: Disk): Promise<string>;
  /** What may be found when cut in the middle, and when cut after `act` returned. */
  readonly during: readonly string[];
  readonly after: string;
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

const SCENARIOS: readonly Scenario[] = [
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
];

/** Every way in which a promise was broken, each with what replays it. */
async function violations(scenario: Scenario, ignored = 0): Promise<string[]> {
  const disk = new SimulatedDisk();
  await scenario.prepare(disk);
  disk.operations = 0;
  disk.ignoresSync = ({ number }) => number === ignored;
  const cuts: { at: string; found: SimulatedDisk; allowed: readonly string[] }[] = [];
  const cutHere = (at: string, allowed: readonly string[]) => {
    cuts.push({ at: `${at}, everything lost`, found: disk.cut('drop'), allowed });
    cuts.push({ at: `${at}, everything kept`, found: disk.cut('keep'), allowed });
    for (let seed = 1; seed <= SEEDS_PER_CUT; seed += 1) {
      cuts.push({ at: `${at}, seed ${seed}`, found: disk.cut('random', seededRandom(seed)), allowed });
    }
  };
  disk.afterOperation = ({ number, text: what }: DiskOperation) => cutHere(`cut ${number} (${what})`, scenario.during);
  await scenario.act(disk);
  cutHere('cut after it returned', [scenario.after]);

  const broken: string[] = [];
  for (const { at, found, allowed } of cuts) {
    const word = await scenario.observe(found);
    if (!allowed.includes(word)) broken.push(`${at}: found ${word}, allowed ${allowed.join(' or ')}`);
  }
  return broken;
}

async function syncsOf(scenario: Scenario): Promise<DiskOperation[]> {
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

const REPLAY = 'replay: npx vitest run test/sim/durable-file.test.ts -t';

for (const scenario of SCENARIOS) {
  describe(scenario.name, () => {
    it('leaves the old or the new, whole, at every cut, and the new once it returned', async () => {
      expect(await violations(scenario), `${REPLAY} '${scenario.name}'`).toEqual([]);
    });

    it('breaks that promise when any one of its syncs is taken away', async () => {
      const syncs = await syncsOf(scenario);
      // The folder of a two-copy record changes only when a copy is made; later syncs of it are a belt on braces.
      const needed = syncs.filter(({ text }) => !(scenario.name.includes('older copy') && text.startsWith('syncdir')));
      expect(needed.length).toBeGreaterThan(0);
      for (const sync of needed) {
        expect(await violations(scenario, sync.number), `without ${sync.text}`).not.toEqual([]);
      }
    });
  });
}
