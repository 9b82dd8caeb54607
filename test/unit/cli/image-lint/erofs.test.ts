/** erofs images by the real mkfs.erofs, in each layout that it makes: read as the folder that they were made of. */
import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openImage } from '../../../../cli/image-lint/volumes.ts';
import { inFolder, lint, makeErofs, makeSquashfs, type Planted, rootWith, told } from './image-maker.ts';
import { PLANTS } from './plants.ts';

const CAP_BYTES = 2 * 1024 * 1024;
const words = Array.from({ length: 60_000 }, (_, index) => `line ${index * 7919} of a text that packs\n`).join('');
const noise = randomBytes(70_000);
const CONTENT: Planted = {
  ...Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`many/a-rather-long-name-${index}`, `${index}`])),
  'text/long': words.slice(0, 1_300_000),
  'text/one-cluster': words.slice(0, 4096),
  'text/and-a-byte': words.slice(0, 4097),
  'text/two-and-some': words.slice(0, 9000),
  zeros: { text: new Uint8Array(600_000) },
  noise: { text: noise },
  mixed: { text: Buffer.concat([Buffer.from(words.slice(0, 50_000)), noise, Buffer.from(words.slice(9, 80_000))]) },
  empty: '',
  'set-id': { text: 'x', mode: 0o4755 },
  'long-link': { link: `../${'deep/'.repeat(200)}end` },
};

describe('erofs', () => {
  it.each([
    ['nothing packed', []],
    ['long inodes and no attributes', ['-Eforce-inode-extended', '-x-1']],
    ['no ends in inodes', ['-Enoinline_data']],
    ['chunks', ['--chunksize=4096']],
    ['LZ4', ['-zlz4']],
    ['LZ4HC in runs of 64 KiB', ['-zlz4hc,9', '-C65536']],
    ['the older index', ['-zlz4', '-Elegacy-compress']],
    ['the older index in runs of 16 KiB', ['-zlz4hc', '-C16384', '-Elegacy-compress']],
    ['packed ends in inodes', ['-zlz4hc', '-Eztailpacking']],
    ['packed ends in inodes, runs of 32 KiB', ['-zlz4hc', '-C32768', '-Eztailpacking']],
  ])('with %s reads as the folder that it was made of', async (_, options) => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeErofs(rootWith(CONTENT, {}), folder, image, options);
      const [fromImage, fromFolder] = [openImage(image), openImage(join(folder, 'tree'))];
      try {
        expect(fromImage.volumes[0]?.format).toBe('erofs');
        const [left, right] = [fromImage, fromFolder].map(({ volumes }) => volumes[0]?.view?.tree);
        expect(left?.troubles).toEqual([]);
        const paths = [...(right?.entries.keys() ?? [])].sort();
        expect([...(left?.entries.keys() ?? [])].sort()).toEqual(paths);
        for (const path of paths) {
          const entry = left?.entries.get(path);
          expect(entry).toEqual({ ...right?.entries.get(path), uid: 0, gid: 0 });
          if (entry?.kind !== 'file') continue;
          for (const cap of [CAP_BYTES, 5000]) {
            const bytes = Buffer.from(left?.read(entry, cap) ?? []);
            expect(bytes.equals(Buffer.from(right?.read(entry, cap) ?? [])), `${path} ${cap}`).toBe(true);
          }
        }
      } finally {
        fromImage.close();
        fromFolder.close();
      }
    });
  });

  it('with what is planted in it, packed: it is found, as in a squashfs of the same', async () => {
    // Every rule is tried alone in squashfs and ext4; here they show that it is these files which are read.
    const seen = new Set<string>();
    const apart = PLANTS.filter((_, index) => index % 5 === 0).filter(({ planted }) => {
      const paths = Object.keys(planted);
      const isNew = paths.every((path) => !seen.has(path));
      if (isNew) for (const path of paths) seen.add(path);
      return isNew;
    });
    await inFolder(async (folder) => {
      const clean = join(folder, 'clean');
      await makeErofs(rootWith({}), join(folder, 'a'), clean, ['-zlz4hc']);
      expect(told(await lint(clean))).toEqual([]);
      const image = join(folder, 'image');
      const planted = Object.assign({}, ...apart.map((plant) => plant.planted)) as Planted;
      await makeErofs(rootWith(planted), join(folder, 'b'), image, ['-zlz4hc']);
      expect(apart.length).toBeGreaterThan(4);
      const found = told(await lint(image));
      for (const line of apart.flatMap((plant) => plant.found)) expect(found).toContain(line);
      const twin = join(folder, 'twin');
      await makeSquashfs(rootWith(planted), join(folder, 'c'), twin);
      expect(found).toEqual(told(await lint(twin)));
    });
  });

  it.each([
    ['features of tomorrow', 80, 0x40],
    ['another compressor', 84, 0x2],
    ['a second device', 86, 0x1],
    ['blocks of an impossible size', 12, 0xff],
  ])('with %s is an error that says so, whatever else is in it', async (_, offset, value) => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeErofs(rootWith({}), folder, image, ['-zlz4', '-C65536']);
      const file = await open(image, 'r+');
      await file.write(Uint8Array.of(value), 0, 1, 1024 + offset);
      await file.close();
      expect((await lint(image)).map(({ code }) => code)).toContain('filesystem-unread');
    });
  });
});
