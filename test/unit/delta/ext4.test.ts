import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ext4, readExt4 } from '../../../delta/encode/ext4.ts';
import { ImageFile } from '../../../delta/encode/image-file.ts';
import { matchNew, SeedIndex } from '../../../delta/encode/matcher.ts';

const directory = mkdtempSync(join(tmpdir(), 'holdfast-ext4-'));
const image = join(directory, 'fs.img');
let tree: Ext4 | undefined;

/** What debugfs says; `stat` and `blocks` are its own reading of the same image. */
function debugfs(request: string): string {
  return execFileSync('debugfs', ['-R', request, image], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

beforeAll(() => {
  const root = join(directory, 'root');
  mkdirSync(join(root, 'etc/deep/er'), { recursive: true });
  mkdirSync(join(root, 'many'));
  for (let i = 0; i < 700; i += 1) writeFileSync(join(root, 'many', `entry-${i}-${'x'.repeat(i % 50)}`), `${i}`);
  writeFileSync(join(root, 'etc/deep/er/large'), Buffer.alloc(3_000_000, 'large'));
  writeFileSync(join(root, 'empty'), '');
  writeFileSync(join(root, 'sparse'), 'start');
  truncateSync(join(root, 'sparse'), 9_000_000);
  symlinkSync('etc/deep', join(root, 'link'));
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-b', '4096', '-d', root, image, '48M']);
  const file = new ImageFile(image);
  tree = readExt4(file);
  file.close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('reading ext4', () => {
  test('finds every path, with the inode that debugfs names', () => {
    const paths = [
      '/',
      '/etc',
      '/etc/deep/er/large',
      '/empty',
      '/sparse',
      '/link',
      '/many',
      '/many/entry-699-'.padEnd(65, 'x'),
    ];
    for (const path of paths) {
      const said = /Inode: (\d+)/.exec(debugfs(`stat "${path}"`))?.[1];
      const found = tree?.files.find((file) => file.path === path);
      expect(String(found?.inode), path).toBe(said);
    }
    expect(tree?.files.filter((file) => file.path.startsWith('/many/'))).toHaveLength(700);
  });

  test('gives the blocks of files and directories as debugfs does', () => {
    let compared = 0;
    for (const file of tree?.files ?? []) {
      // debugfs takes the text of a short link for block numbers.
      if (file.kind === 'other' || file.path.startsWith('<') || (file.path.startsWith('/many/') && compared > 60))
        continue;
      const said = debugfs(`blocks "${file.path}"`).trim().split(/\s+/).filter(Boolean).map(Number);
      const found = file.extents.flatMap(({ block, count }) => Array.from({ length: count }, (_, i) => block + i));
      expect(
        [...file.metadataBlocks, ...found].sort((a, b) => a - b),
        file.path,
      ).toEqual(said.sort((a, b) => a - b));
      compared += 1;
    }
    expect(compared).toBeGreaterThan(60);
  });

  test('says where inodes stand as debugfs does', () => {
    const large = tree?.files.find((file) => file.path === '/etc/deep/er/large');
    const said = /located at block (\d+), offset 0x([0-9a-f]+)/.exec(debugfs('imap "/etc/deep/er/large"'));
    expect(tree?.inodeOffset(large?.inode ?? 0)).toBe(Number(said?.[1]) * 4096 + Number.parseInt(said?.[2] ?? '', 16));
    expect(tree?.inodeOffset(0)).toBeUndefined();
    expect(tree?.inodeOffset(2 ** 31)).toBeUndefined();
  });

  test('says no to anything else, and survives damage anywhere in its tables', () => {
    const noise = join(directory, 'noise');
    const open = (bytes: Uint8Array) => {
      writeFileSync(noise, bytes);
      const file = new ImageFile(noise);
      try {
        return readExt4(file);
      } finally {
        file.close();
      }
    };
    expect(open(Buffer.alloc(100))).toBeUndefined();
    expect(open(Buffer.alloc(1_000_000, 'hsqs'))).toBeUndefined();
    const whole = new ImageFile(image);
    const bytes = whole.read(0, 8 * 2 ** 20);
    whole.close();
    for (let seed = 1; seed < 60; seed += 1) {
      const damaged = bytes.slice();
      for (let i = 0; i < 200; i += 1)
        damaged[1024 + ((seed * 7919 + i * 104729) % (damaged.length - 1024))] = seed * i;
      damaged.set([0x53, 0xef], 1024 + 0x38);
      open(damaged);
    }
  });
});

test('the matcher tells all of the new, in order, and nothing beyond the old', () => {
  const old = Buffer.alloc(50_000, 'the quick brown fox jumps over the lazy dog 0123456789');
  for (let i = 0; i < old.length; i += 113) old[i] = i & 255;
  const fresh = Buffer.concat([old.subarray(20_000, 40_000), Buffer.from('something else'), old.subarray(100, 9000)]);
  let told = 0;
  let near = 0;
  const step = (start: number, length: number) => {
    expect(start).toBe(told);
    told += length;
  };
  matchNew(new SeedIndex(old), fresh, 0, {
    near(start, length, source) {
      step(start, length);
      near += length;
      expect(source >= 0 && source + length <= old.length).toBe(true);
    },
    fresh: step,
  });
  expect(told).toBe(fresh.length);
  expect(near).toBeGreaterThan(28_000);
});
