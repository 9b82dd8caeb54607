/** What is dear is made once, and again when it is no longer what it was made of. */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOfSources, madeOnce } from '../../bench/made.ts';

const USED = { wallS: 1, cpuS: 2, peakMb: 3 };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-made-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const make = (text: string) => async (into: string) => {
  await writeFile(join(into, 'delta'), text);
  return USED;
};

describe('what is made once', () => {
  it('is kept with what making it used, until an ingredient changes', async () => {
    const place = join(folder, 'pair/subject');
    await madeOnce(place, { old: 'a' }, make('first'));
    const kept = await madeOnce(place, { old: 'a' }, make('second'));
    expect(kept).toEqual({ folder: place, usage: USED });
    expect(await readFile(join(place, 'delta'), 'utf8')).toBe('first');
    await madeOnce(place, { old: 'b' }, make('third'));
    expect(await readFile(join(place, 'delta'), 'utf8')).toBe('third');
  });

  it('is not believed when making it broke off', async () => {
    const place = join(folder, 'subject');
    const broken = madeOnce(place, {}, async (into) => {
      await writeFile(join(into, 'delta'), 'half');
      throw new Error('killed');
    });
    await expect(broken).rejects.toThrow('killed');
    await madeOnce(place, {}, make('whole'));
    expect(await readFile(join(place, 'delta'), 'utf8')).toBe('whole');
  });

  it('by our own code is made again when a source changes', async () => {
    await writeFile(join(folder, 'a.ts'), 'one');
    const before = await digestOfSources(folder);
    expect(await digestOfSources(folder)).toBe(before);
    await writeFile(join(folder, 'a.ts'), 'two');
    expect(await digestOfSources(folder)).not.toBe(before);
  });
});
