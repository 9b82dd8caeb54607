/** A recipe kept on disk while it is fetched: what is asked for, and what a full, broken or lying disk changes. */
import { randomFillSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  type ReadRecipe,
  RecipeSpool,
  removeSpools,
  SPOOL_CHUNK_BYTES,
  SPOOL_HEAD_BYTES,
} from '../../../../agent/blocks/recipe-spool.ts';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import type { Disk } from '../../../../platform/disk.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const RECIPE = randomFillSync(new Uint8Array(3 * SPOOL_CHUNK_BYTES + 1234));
const MAX = 2 * RECIPE.length;

function source(recipe = RECIPE) {
  const asked: { offset: number; bytes: number }[] = [];
  const state = { asked, cutAfterBytes: Number.POSITIVE_INFINITY };
  const read: ReadRecipe = async (offset, into) => {
    const bytes = recipe.subarray(offset, offset + into.bytes.length);
    into.received = Math.min(bytes.length, state.cutAfterBytes);
    into.bytes.set(bytes.subarray(0, into.received));
    asked.push({ offset, bytes: into.received });
    if (into.received < bytes.length) throw new SourceUnreachable('cut');
    return { found: 'bytes', bytes: into.bytes.subarray(0, into.received), totalBytes: recipe.length };
  };
  return Object.assign(state, { read, bytes: () => asked.reduce((sum, one) => sum + one.bytes, 0) });
}

async function open(disk: Disk, read: ReadRecipe, maxBytes = MAX): Promise<RecipeSpool> {
  const spool = await RecipeSpool.open(read, { disk, directory: '/data/transport', name: 'new-old' }, maxBytes);
  if (!(spool instanceof RecipeSpool)) throw new Error(JSON.stringify(spool));
  return spool;
}

const part = async (spool: RecipeSpool, at: number, length: number): Promise<boolean> =>
  Buffer.from(await spool.read(length, at)).equals(RECIPE.subarray(at, at + length));

/** Everything works but this. */
function failing(disk: SimulatedDisk, name: keyof Disk, code: string): Disk {
  return new Proxy<Disk>(disk, {
    get: (target, asked: keyof Disk) =>
      asked === name
        ? () => Promise.reject(Object.assign(new Error(code), { code }))
        : (target[asked] as (() => unknown) | undefined)?.bind(target),
  });
}

describe('a recipe in ranges', () => {
  it('comes once, in a short range and long ones, whatever is read how often', async () => {
    const from = source();
    const spool = await open(new SimulatedDisk(), from.read);
    for (let at = 0; at < RECIPE.length; at += 100_000)
      expect(await part(spool, at, Math.min(100_000, RECIPE.length - at))).toBe(true);
    expect(await part(spool, 5, 700_000)).toBe(true);
    expect(from.bytes()).toBe(RECIPE.length);
    const last = RECIPE.length - SPOOL_HEAD_BYTES - 2 * SPOOL_CHUNK_BYTES;
    const sizes = from.asked.map(({ bytes }) => bytes);
    expect(sizes).toEqual([SPOOL_HEAD_BYTES, SPOOL_CHUNK_BYTES, SPOOL_CHUNK_BYTES, last]);
  });

  it('is taken up by another process, after a cut anywhere, with not a byte twice', async () => {
    for (const cut of [0, 1, 5_000, SPOOL_CHUNK_BYTES - 1]) {
      const disk = new SimulatedDisk();
      const from = source();
      const spool = await open(disk, from.read);
      from.cutAfterBytes = cut;
      await expect(spool.read(900_000, 0)).rejects.toThrow(SourceUnreachable);
      expect(spool.failure).toBeInstanceOf(SourceUnreachable);
      from.cutAfterBytes = Number.POSITIVE_INFINITY;
      const again = await open(disk, from.read);
      expect(again.isResumed).toBe(true);
      expect(await part(again, 0, RECIPE.length)).toBe(true);
      expect(from.bytes()).toBe(RECIPE.length);
    }
  });

  it('is not wanted when it is longer than it is worth', async () => {
    const from = source();
    const place = { disk: new SimulatedDisk(), directory: '/data/transport', name: 'new-old' };
    expect(await RecipeSpool.open(from.read, place, RECIPE.length - 1)).toEqual({
      found: 'nothing',
      why: 'recipe-too-long',
    });
    expect(from.bytes()).toBe(SPOOL_HEAD_BYTES);
  });

  it('that is another one all of a sudden is no recipe', async () => {
    const disk = new SimulatedDisk();
    await open(disk, source().read);
    const other = await open(disk, source(RECIPE.subarray(1)).read);
    await expect(other.read(10, 100_000)).rejects.toThrow('another one');
  });

  it.each(['ENOSPC', 'EROFS', 'EIO'])(
    'goes on without a file when the disk says %s, resuming where it broke',
    async (code) => {
      const from = source();
      const spool = await open(failing(new SimulatedDisk(), 'open', code), from.read);
      expect(await part(spool, 0, 100)).toBe(true);
      from.cutAfterBytes = 30_000;
      await expect(spool.read(50_000, 200_000)).rejects.toThrow(SourceUnreachable);
      from.cutAfterBytes = Number.POSITIVE_INFINITY;
      expect(await part(spool, 200_000, 50_000)).toBe(true);
      expect(from.bytes()).toBe(SPOOL_HEAD_BYTES + 50_000);
    },
  );

  it('leaves the data partition room for others', async () => {
    const disk = new SimulatedDisk();
    const freeBytes = async () => 17 * 1024 * 1024;
    const proxy = new Proxy<Disk>(disk, {
      get: (target, name: keyof Disk) =>
        name === 'freeBytes' ? freeBytes : (target[name] as (() => unknown) | undefined)?.bind(target),
    });
    expect(await part(await open(proxy, source().read), 600_000, 1000)).toBe(true);
    expect(await disk.list('/data/transport')).toEqual([]);
  });

  it('does not take up a file that is longer than it says, and is removed with all others', async () => {
    const disk = new SimulatedDisk();
    await disk.place('/data/transport/new-old-100.recipe', new Uint8Array(200));
    await disk.place('/data/transport/gone-older-100.recipe', new Uint8Array(100));
    expect((await open(disk, source().read)).isResumed).toBe(false);
    await removeSpools(disk, '/data/transport');
    expect(await disk.list('/data/transport')).toEqual([]);
  });
});
