import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readHardware } from '../../../../agent/first-boot/read-hardware.ts';
import { nodeDisk } from '../../../../platform/disk.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'hardware-'));
});
afterEach(() => rm(root, { recursive: true }));

async function put(path: string, content: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content);
}

const read = () =>
  readHardware(nodeDisk, [
    { source: 'device-tree-serial', path: join(root, 'serial-number') },
    { source: 'emmc-cid', path: join(root, 'block') },
    { source: 'maker', path: join(root, 'maker') },
  ]);
const sources = async () => (await read()).map(({ source }) => source);

describe('what identifies the board', () => {
  it('is read from the device tree and from a soldered eMMC, and never from a card', async () => {
    await put('serial-number', '10000000a1b2c3d4\0');
    await put('block/mmcblk0/device/type', 'SD\n');
    await put('block/mmcblk0/device/cid', '035344534433324780aabbccdd013a00\n');
    await put('block/sda/device/type', 'MMC\n');
    expect(await sources()).toEqual(['device-tree-serial']);
    await put('block/mmcblk1/device/type', 'MMC\n');
    await put('block/mmcblk1/device/cid', '150100424a544434520aabbccdd01300\n');
    await put('block/mmcblk1boot0/device/type', 'MMC\n');
    expect(await sources()).toEqual(['device-tree-serial', 'emmc-cid']);
  });

  it('says the same whatever ends the value, and something else for another value', async () => {
    await put('serial-number', '10000000a1b2c3d4\0');
    const [first] = await read();
    await put('serial-number', '10000000a1b2c3d4\n');
    expect((await read())[0]).toEqual(first);
    await put('serial-number', '10000000a1b2c3d5\0');
    expect((await read())[0]?.digest).not.toBe(first?.digest);
  });

  it('is not known where a value is missing, empty, all the same digit, or a folder', async () => {
    await put('serial-number', '0000000000000000\0');
    await put('maker', '\n');
    expect(await sources()).toEqual([]);
    await rm(join(root, 'maker'));
    await mkdir(join(root, 'maker'));
    expect(await sources()).toEqual([]);
  });

  it('reads this machine without an error', async () => {
    await expect(readHardware(nodeDisk, [{ source: 'emmc-cid', path: '/sys/block' }])).resolves.toBeInstanceOf(Array);
  });
});
