import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fitSource, makeBootloaderKey, signFit } from '../../../../scripts/device-image/signed-fit.ts';
import { appendVerityTree, VERITY_BLOCK_BYTES, verityLine } from '../../../../scripts/device-image/verity.ts';

/** `npm run qemu -- --prepare` installs them. */
const present = ['veritysetup', 'mkimage', 'dtc', 'openssl'].every(
  (name) => spawnSync(name, ['--version']).error === undefined,
);
/** More than one block of hashes, so that the tree has two levels. */
const BLOCKS = 200;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-verity-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function content(seed: number): Buffer {
  const bytes = Buffer.alloc(BLOCKS * VERITY_BLOCK_BYTES);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761 + seed) % 2 ** 32, at);
  return bytes;
}

/** The kernel's rule, written down a second time: SHA-256 of salt and block, packed into blocks, until one is left. */
function rootHashOf(data: Buffer, salt: Buffer): string {
  const hashes: Buffer[] = [];
  for (let at = 0; at < data.length; at += VERITY_BLOCK_BYTES) {
    const block = data.subarray(at, at + VERITY_BLOCK_BYTES);
    hashes.push(createHash('sha256').update(salt).update(block).digest());
  }
  if (hashes.length === 1) return (hashes[0] as Buffer).toString('hex');
  const level = Buffer.concat(hashes);
  const whole = Math.ceil(level.length / VERITY_BLOCK_BYTES) * VERITY_BLOCK_BYTES;
  return rootHashOf(Buffer.concat([level, Buffer.alloc(whole - level.length)]), salt);
}

async function image(name: string, bytes: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

describe.skipIf(!present)("a root file system's hash tree", () => {
  it('stands behind the data, which stays as it was; its root is the one that the kernel computes', async () => {
    const data = content(1);
    const path = await image('root', data);
    const root = await appendVerityTree(path);
    const found = await readFile(path);
    expect(found.subarray(0, data.length).equals(data)).toBe(true);
    // Two blocks of leaves and one above them.
    expect(found.length).toBe(data.length + 3 * VERITY_BLOCK_BYTES);
    expect(root.dataBlocks).toBe(BLOCKS);
    expect(root.rootHash).toBe(rootHashOf(data, Buffer.from(root.salt, 'hex')));
  });

  it('is the same for the same image, and another for another', async () => {
    const paths = [await image('one', content(1)), await image('same', content(1)), await image('other', content(2))];
    const roots = [];
    for (const path of paths) roots.push(await appendVerityTree(path));
    expect(roots[1]).toEqual(roots[0]);
    expect((await readFile(paths[1] as string)).equals(await readFile(paths[0] as string))).toBe(true);
    expect(roots[2]?.rootHash).not.toBe(roots[0]?.rootHash);
    expect(roots[2]?.salt).not.toBe(roots[0]?.salt);
  });

  it('is not made of an image that ends inside a block', async () => {
    await expect(appendVerityTree(await image('odd', Buffer.alloc(5000)))).rejects.toThrow('whole blocks');
  });
});

describe.skipIf(!present)('a signed FIT', () => {
  /** What dtc reads of it. */
  const textOf = (path: string): string =>
    spawnSync('dtc', ['-I', 'dtb', '-O', 'dts', path], { encoding: 'utf8', maxBuffer: 2 ** 24 }).stdout;

  /** What the signature covers; dtc parts strings in one of two ways. */
  const signedNodesOf = (path: string): string[] => {
    const list = /hashed-nodes = "(.*)";/.exec(textOf(path))?.[1];
    return list === undefined ? [] : list.split(/\\0|", "/);
  };

  it('carries a signature over both images, and its key becomes one that the device tree requires', async () => {
    const [kernel, ramDisk] = [
      await image('kernel', Buffer.from('kernel')),
      await image('ramdisk', Buffer.from('files')),
    ];
    const keyFolder = join(folder, 'key');
    await makeBootloaderKey(keyFolder);
    expect((await stat(join(keyFolder, 'bootloader.key'))).mode & 0o777).toBe(0o600);
    expect((await stat(keyFolder)).mode & 0o777).toBe(0o700);
    const deviceTree = join(folder, 'board.dtb');
    const source = await image('board.dts', Buffer.from('/dts-v1/;\n/ { };\n'));
    spawnSync('dtc', ['-I', 'dts', '-O', 'dtb', '-p', '8192', '-o', deviceTree, source]);
    const outFile = join(folder, 'kernel.itb');
    await signFit({ kernel, ramDisk, outFile, keyFolder, deviceTree });
    expect(/key-bootloader \{\s+required = "(\w+)"/.exec(textOf(deviceTree))?.[1]).toBe('conf');
    const first = await readFile(outFile);
    expect(signedNodesOf(outFile)).toEqual([
      '/',
      '/configurations/holdfast',
      '/images/kernel',
      '/images/kernel/hash-1',
      '/images/ramdisk',
      '/images/ramdisk/hash-1',
    ]);
    await signFit({ kernel, ramDisk, outFile, keyFolder });
    expect((await readFile(outFile)).equals(first)).toBe(true);
    await signFit({ kernel, ramDisk, outFile });
    expect(signedNodesOf(outFile)).toEqual([]);
  });

  it('is not taken for signed when the key is not there, or is no key', async () => {
    const [kernel, ramDisk] = [
      await image('kernel', Buffer.from('kernel')),
      await image('ramdisk', Buffer.from('files')),
    ];
    const [keyFolder, outFile] = [join(folder, 'key'), join(folder, 'kernel.itb')];
    await mkdir(keyFolder);
    // mkimage ends well here.
    const unusable = { code: 'bootloader-key-unusable', where: keyFolder };
    await expect(signFit({ kernel, ramDisk, outFile, keyFolder })).rejects.toMatchObject(unusable);
    await writeFile(join(keyFolder, 'bootloader.key'), 'no key');
    await expect(signFit({ kernel, ramDisk, outFile, keyFolder })).rejects.toMatchObject({ code: 'program-failed' });
  });
});

it('names what the initial RAM disk reads, in its order', () => {
  expect(verityLine({ dataBlocks: 7, rootHash: 'ab', salt: 'cd' })).toBe('7 ab cd\n');
});

it('asks mkimage to sign kernel and initial RAM disk together', () => {
  expect(fitSource({ kernel: 'K', ramDisk: 'R' })).toContain('sign-images = "kernel", "ramdisk"');
});
