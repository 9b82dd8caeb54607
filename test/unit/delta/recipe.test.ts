import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BlockOutcome, DeltaDecoder, readRecipeIndex } from '../../../delta/decode/decoder.ts';
import { encodeDelta } from '../../../delta/encode/encode.ts';
import { PACK_PLAIN_CAP_BYTES, RECIPE_HEADER_BYTES } from '../../../delta/format.ts';
import { BLOCK_BYTES, type BlockMap, BlockMapBuilder } from '../../../trust/blocks.ts';
import { equalBytes } from '../../../trust/bytes.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-delta-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Bytes that a seed decides: half of them random, half in runs. */
function bytesOf(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = (i >> 13) % 2 === 0 ? state >>> 24 : (i >> 9) & 255;
  }
  return bytes;
}

const Edit = fc.oneof(
  fc.record({ kind: fc.constant('change' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 9000 }) }),
  fc.record({ kind: fc.constant('insert' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 9000 }) }),
  fc.record({ kind: fc.constant('remove' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 90_000 }) }),
  fc.record({ kind: fc.constant('zero' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 90_000 }) }),
  fc.record({ kind: fc.constant('nudge' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 90_000 }) }),
);
type Edit = typeof Edit extends fc.Arbitrary<infer T> ? T : never;

function edited(image: Uint8Array, edits: readonly Edit[]): Uint8Array {
  let bytes = Buffer.from(image);
  for (const { kind, at, length } of edits) {
    const start = bytes.length === 0 ? 0 : at % bytes.length;
    const end = Math.min(bytes.length, start + length);
    const [before, middle, after] = [bytes.subarray(0, start), bytes.subarray(start, end), bytes.subarray(end)];
    if (kind === 'remove') bytes = Buffer.concat([before, after]);
    else if (kind === 'insert') bytes = Buffer.concat([before, bytesOf(at, length), middle, after]);
    else if (kind === 'zero') bytes = Buffer.concat([before, Buffer.alloc(middle.length), after]);
    else if (kind === 'change') bytes = Buffer.concat([before, bytesOf(at + 7, middle.length), after]);
    else bytes = Buffer.concat([before, middle.map((byte, place) => (place % 37 === 0 ? byte + 64 : byte)), after]);
  }
  return bytes;
}

interface Pair {
  readonly old: Uint8Array;
  readonly fresh: Uint8Array;
  readonly recipe: Uint8Array;
  /** Of `fresh`. */
  readonly map: BlockMap;
}

async function makePair(old: Uint8Array, fresh: Uint8Array, packPlainBytes?: number): Promise<Pair> {
  const [oldPath, newPath, outPath] = ['old', 'new', 'out'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(oldPath, old);
  await writeFile(newPath, fresh);
  const packs = packPlainBytes === undefined ? {} : { packPlainBytes };
  const result = await encodeDelta({ oldPath, newPath, outPath, memoryBytes: 8 * 2 ** 20, ...packs });
  const recipe = new Uint8Array(await readFile(outPath));
  expect(result.sizeBytes).toBe(recipe.length);
  return { old, fresh, recipe, map: new BlockMapBuilder().update(fresh).finish().map };
}

const reader = (bytes: Uint8Array) => ({
  read: async (length: number, position: number) => bytes.subarray(position, position + length),
});

/** Every block in the order given; undefined when the index is refused. */
async function produce(
  { fresh, recipe, map }: Pair,
  old: { read(length: number, position: number): Promise<Uint8Array> },
  order?: readonly number[],
): Promise<BlockOutcome[] | undefined> {
  const index = await readRecipeIndex(reader(recipe), recipe.length);
  if (!index.ok || index.value.newSizeBytes !== fresh.length) return undefined;
  const decoder = new DeltaDecoder({ index: index.value, recipe: reader(recipe), old, map });
  const outcomes: BlockOutcome[] = [];
  for (const number of order ?? Array.from({ length: map.count }, (_, place) => place)) {
    const outcome = await decoder.produce(number, new Uint8Array(BLOCK_BYTES));
    outcomes.push(outcome);
    if (outcome.made) {
      const due = fresh.subarray(number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES);
      expect(equalBytes(outcome.bytes, due), `block ${number}`).toBe(true);
    }
  }
  return outcomes;
}

const OLD = bytesOf(1, 3 * BLOCK_BYTES + 4096 * 3 + 17);
const nudge: Edit = { kind: 'nudge', at: 5000, length: 90_000 };
const EDITS: Edit[] = [
  nudge,
  { kind: 'insert', at: 1_100_000, length: 300 },
  { kind: 'change', at: 2_000_000, length: 9000 },
];

/** What most tests look at: they change copies of it. */
let pair: Pair;
beforeAll(async () => {
  pair = await makePair(OLD, edited(OLD, EDITS));
});

describe('a recipe', () => {
  test('makes the new image byte for byte, whatever was edited and whatever its length', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1000),
        fc.nat(2 * BLOCK_BYTES),
        fc.array(Edit, { maxLength: 6 }),
        async (seed, size, edits) => {
          const old = bytesOf(seed, size);
          const outcomes = await produce(await makePair(old, edited(old, edits)), reader(old));
          expect(outcomes?.every((outcome) => outcome.made)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('makes blocks in any order, each alone, from packs of one block', async () => {
    const pair = await makePair(OLD, edited(OLD, EDITS), 1);
    const outcomes = await produce(pair, reader(OLD), [3, 0, 2, 1, 3]);
    expect(outcomes?.map((outcome) => outcome.made)).toEqual([true, true, true, true, true]);
  });

  test('costs little where little changed', async () => {
    const { recipe } = await makePair(OLD, edited(OLD, [nudge]));
    expect(recipe.length).toBeLessThan(2000);
    const same = await makePair(OLD, OLD);
    expect(same.recipe.length).toBeLessThan(300);
  });

  test('of an empty image, and from an empty image, is one too', async () => {
    expect(await produce(await makePair(OLD, new Uint8Array(0)), reader(OLD))).toEqual([]);
    const pair = await makePair(new Uint8Array(0), OLD);
    expect((await produce(pair, reader(new Uint8Array(0))))?.every((outcome) => outcome.made)).toBe(true);
  });
});

describe('an old slot that is not what the recipe was made for', () => {
  test('fails the blocks that need the changed bytes, says so, and no other', async () => {
    const changed = OLD.slice();
    changed[6000] = (changed[6000] ?? 0) ^ 1;
    const outcomes = await produce(pair, reader(changed));
    expect(outcomes?.map((outcome) => (outcome.made ? 'made' : outcome.why))).toEqual([
      'source-changed',
      'made',
      'made',
      'made',
    ]);
  });

  test('that cannot be read in one place fails the blocks that need that place', async () => {
    const torn = {
      read: async (length: number, position: number) => {
        if (position <= 2_500_000 && position + length > 2_500_000) throw new Error('EIO');
        return OLD.subarray(position, position + length);
      },
    };
    const outcomes = await produce(pair, torn);
    expect(outcomes?.map((outcome) => (outcome.made ? 'made' : outcome.why))).toEqual([
      'made',
      'made',
      'source-unreadable',
      'made',
    ]);
  });

  test('that is shorter is unreadable past its end', async () => {
    const outcomes = await produce(pair, reader(OLD.subarray(0, BLOCK_BYTES)));
    expect(outcomes?.slice(1).map((outcome) => (outcome.made ? 'made' : outcome.why))).toEqual([
      'source-unreadable',
      'source-unreadable',
      'source-unreadable',
    ]);
  });
});

describe('a damaged or hostile recipe', () => {
  test('never makes a wrong block and never throws, wherever bytes are changed', async () => {
    const pair = await makePair(OLD, edited(OLD, EDITS), BLOCK_BYTES / 64);
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(pair.recipe.length - 1), fc.integer({ min: 1, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        async (flips) => {
          const recipe = pair.recipe.slice();
          for (const [at, mask] of flips) recipe[at] = (recipe[at] ?? 0) ^ mask;
          const outcomes = await produce({ ...pair, recipe }, reader(OLD));
          if (outcomes === undefined || outcomes.some((outcome) => !outcome.made)) refused += 1;
        },
      ),
      { numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(200);
  });

  test('cut anywhere, or with bytes to spare, is refused with its index', async () => {
    const { recipe } = pair;
    for (const length of [0, 1, RECIPE_HEADER_BYTES - 1, RECIPE_HEADER_BYTES, 120, recipe.length - 1]) {
      const cut = recipe.subarray(0, length);
      expect((await readRecipeIndex(reader(cut), cut.length)).ok).toBe(false);
    }
    const longer = new Uint8Array(recipe.length + 1);
    longer.set(recipe);
    expect((await readRecipeIndex(reader(longer), longer.length)).ok).toBe(false);
  });

  test('is refused before anything is allocated when a pack says more than the cap', async () => {
    const { recipe } = pair;
    const greedy = recipe.slice();
    new DataView(greedy.buffer).setUint32(RECIPE_HEADER_BYTES + 4 + 5, PACK_PLAIN_CAP_BYTES + 1);
    const index = await readRecipeIndex(reader(greedy), greedy.length);
    expect(index).toEqual({ ok: false, detail: 'a pack beyond the cap' });
  });

  test('whose stream unpacks to more than it says fails its blocks only', async () => {
    const pair = await makePair(OLD, edited(OLD, EDITS), 1);
    const recipe = pair.recipe.slice();
    const view = new DataView(recipe.buffer);
    // The literals of the second block's pack: entry 1, stream 6.
    const at = RECIPE_HEADER_BYTES + 85 + 4 + 6 * 9 + 5;
    view.setUint32(at, view.getUint32(at) - 1);
    const outcomes = await produce({ ...pair, recipe }, reader(OLD));
    expect(outcomes?.map((outcome) => (outcome.made ? 'made' : outcome.why))).toEqual([
      'made',
      'recipe-malformed',
      'made',
      'made',
    ]);
  });

  test('that cannot be fetched makes its blocks impossible, not the decoder', async () => {
    const index = await readRecipeIndex(reader(pair.recipe), pair.recipe.length);
    if (!index.ok) throw new Error(index.detail);
    let online = false;
    const recipe = {
      read: (length: number, position: number) =>
        online ? reader(pair.recipe).read(length, position) : Promise.reject(new Error('offline')),
    };
    const decoder = new DeltaDecoder({ index: index.value, recipe, old: reader(OLD), map: pair.map });
    const block = new Uint8Array(BLOCK_BYTES);
    expect(await decoder.produce(0, block)).toMatchObject({ made: false, why: 'recipe-unreachable' });
    online = true;
    expect(await decoder.produce(0, block)).toMatchObject({ made: true });
  });
});
