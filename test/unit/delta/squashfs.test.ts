import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeDelta } from '../../../delta/encode/encode.ts';
import { ImageFile } from '../../../delta/encode/image-file.ts';
import { readSquashfs, type Squashfs } from '../../../delta/encode/squashfs.ts';

const directory = mkdtempSync(join(tmpdir(), 'holdfast-squashfs-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Text that compresses, different for each seed. */
function prose(seed: number, length: number): Buffer {
  let state = seed;
  const words: string[] = [];
  for (let size = 0; size < length; size += words.at(-1)?.length ?? 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words.push(`w${(state >>> 8) % 5000} `);
  }
  return Buffer.from(words.join('')).subarray(0, length);
}

function makeTree(name: string): string {
  const root = join(directory, name);
  mkdirSync(join(root, 'etc/deep/er'), { recursive: true });
  mkdirSync(join(root, 'many'));
  for (let i = 0; i < 700; i += 1)
    writeFileSync(join(root, 'many', `entry-${i}-${'x'.repeat(i % 50)}`), prose(i, i * 7));
  writeFileSync(join(root, 'etc/deep/er/large'), prose(1, 1_500_000));
  writeFileSync(
    join(root, 'etc/noise'),
    Buffer.from(Array.from({ length: 300_000 }, (_, i) => Math.imul(i, i * 40_503) >>> 11)),
  );
  writeFileSync(join(root, 'etc/same'), prose(1, 1_500_000));
  writeFileSync(join(root, 'empty'), '');
  writeFileSync(join(root, 'sparse'), 'start');
  truncateSync(join(root, 'sparse'), 900_000);
  symlinkSync('etc/deep', join(root, 'link'));
  return root;
}

function pack(root: string, name: string, ...options: string[]): string {
  const image = join(directory, name);
  execFileSync('mksquashfs', [root, image, '-noappend', '-no-progress', '-quiet', '-all-time', '1', ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return image;
}

function read(path: string): Squashfs | undefined {
  const file = new ImageFile(path);
  try {
    return readSquashfs(file);
  } finally {
    file.close();
  }
}

/** Compares what the recipe makes with the new image: encodeDelta does, block by block, or throws. */
async function recipeBytes(oldPath: string, newPath: string): Promise<number> {
  const outPath = join(directory, 'recipe');
  const { sizeBytes } = await encodeDelta({ oldPath, newPath, outPath, memoryBytes: 64 * 2 ** 20 });
  return sizeBytes;
}

let root = '';
let changed = '';
/** Of `root`, as mksquashfs packs it when it is asked for nothing: with zlib. */
let plain = '';
beforeAll(() => {
  root = makeTree('v1');
  plain = pack(root, 'plain.squashfs');
  changed = makeTree('v2');
  const large = prose(1, 1_500_000);
  large.write('CHANGED', 700_000);
  writeFileSync(
    join(changed, 'etc/deep/er/large'),
    Buffer.concat([large.subarray(0, 300_000), Buffer.from('more'), large.subarray(300_000)]),
  );
  writeFileSync(join(changed, 'many/entry-300-'), 'an entry that was not there');
});

describe('reading squashfs', () => {
  test('finds every file, its size and its blocks, as unsquashfs lists them', () => {
    const tree = read(plain);
    const listing = execFileSync('unsquashfs', ['-lls', plain], { encoding: 'utf8' });
    const said = listing.split('\n').flatMap((line) => {
      const [, sizeBytes, path] = /^-\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+squashfs-root(.*)$/.exec(line) ?? [];
      return path === undefined ? [] : [`${path} ${sizeBytes}`];
    });
    expect(said.length).toBeGreaterThan(700);
    expect(tree?.files.map(({ path, sizeBytes }) => `${path} ${sizeBytes}`).sort()).toEqual(said.sort());
    const bytes = readFileSync(plain);
    for (const name of ['etc/deep/er/large', 'etc/noise']) {
      const file = tree?.files.find(({ path }) => path === `/${name}`);
      const blocks = file?.blocks.map(({ offset, length, compressed }) => {
        const stored = bytes.subarray(offset, offset + length);
        return compressed ? inflateSync(stored) : stored;
      });
      const whole = Buffer.concat(blocks ?? []);
      expect(whole.equals(readFileSync(join(root, name)).subarray(0, whole.length)), name).toBe(true);
      expect(whole.length).toBeGreaterThan(250_000);
    }
  });

  test('says no to anything else, and survives damage anywhere', () => {
    const noise = join(directory, 'noise');
    const open = (bytes: Uint8Array): Squashfs | undefined => {
      writeFileSync(noise, bytes);
      return read(noise);
    };
    expect(open(Buffer.alloc(50))).toBeUndefined();
    expect(open(Buffer.alloc(1_000_000, 'hsqs'))).toBeUndefined();
    const bytes = readFileSync(plain);
    const used = Number(bytes.readBigUInt64LE(40));
    let refused = 0;
    for (let seed = 1; seed < 80; seed += 1) {
      const damaged = Buffer.from(bytes);
      for (let i = 0; i < 20; i += 1) {
        // The superblock's later fields, and the tables at the end.
        const at = i % 4 === 0 ? 12 + ((seed * 31 + i * 7) % 84) : used - 1 - ((seed * 7919 + i * 104_729) % 20_000);
        damaged[at] = seed * (i + 1);
      }
      if (open(damaged) === undefined) refused += 1;
    }
    expect(refused).toBeGreaterThan(40);
  });
});

describe('a recipe between two squashfs', () => {
  test('of zlib takes a small part of the changed blocks', async () => {
    const b = pack(changed, 'b.squashfs');
    const [before, after] = [read(plain), read(b)];
    const stored = (tree: Squashfs | undefined, path: string): number =>
      tree?.files.find((file) => file.path === path)?.blocks.reduce((sum, { length }) => sum + length, 0) ?? 0;
    expect(stored(before, '/etc/deep/er/large')).toBeGreaterThan(300_000);
    expect(stored(after, '/etc/deep/er/large')).toBeGreaterThan(300_000);
    // All blocks of the file after the insertion are other ones.
    expect(await recipeBytes(plain, b)).toBeLessThan(stored(after, '/etc/deep/er/large') / 4);
  });

  // By their quicker ways, where they have some: how well they pack is not what is asked here.
  test.each([
    ['xz', []],
    ['zstd', ['-Xcompression-level', '3']],
    ['lzo', ['-Xalgorithm', 'lzo1x_1']],
    ['lz4', []],
  ])('of %s is one, and copies what is unchanged', async (compressor, options) => {
    const a = pack(root, `a.${compressor}`, '-comp', compressor, ...options);
    const b = pack(changed, `b.${compressor}`, '-comp', compressor, ...options);
    const sizeBytes = readFileSync(b).length;
    expect(await recipeBytes(a, b)).toBeLessThan(sizeBytes * 0.75);
  });

  test('with other block sizes, tables stored as they are, and no fragments is one too', async () => {
    const a = pack(root, 'a.plain', '-b', '4096', '-noI', '-no-fragments');
    const b = pack(changed, 'b.plain', '-b', '1M', '-no-exports', '-always-use-fragments');
    await recipeBytes(a, b);
    await recipeBytes(b, a);
  });
});
