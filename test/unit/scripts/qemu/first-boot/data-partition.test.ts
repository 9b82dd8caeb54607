import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeDisk } from '../../../../../platform/disk.ts';
import { writeTwoCopy } from '../../../../../platform/two-copy-record.ts';
import { DATA, DISK_BYTES, partitionOf } from '../../../../../scripts/device-image/layout.ts';
import { needProgram } from '../../../../../scripts/programs.ts';
import { keptIn, readKept } from '../../../../../scripts/qemu/first-boot/data-partition.ts';

const HASH = '$6$saltsaltsaltsalt$hash';
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kept-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** As the agent lays it out, below `at`. */
async function keeps(at: string): Promise<void> {
  const firstBoot = join(at, 'first-boot');
  await mkdir(join(firstBoot, 'epoch-3'), { recursive: true });
  await mkdir(join(at, 'own/etc'), { recursive: true });
  const record = { state: 'blocked', resume: 'applied', epoch: 3, applied: ['unix-passwords'] };
  await writeTwoCopy(nodeDisk, join(firstBoot, 'record'), new TextEncoder().encode(JSON.stringify(record)));
  await writeFile(join(firstBoot, 'escrow-2'), 'two');
  await writeFile(join(firstBoot, 'escrow-3'), 'three');
  await writeFile(join(firstBoot, 'escrow-4.new'), 'not whole');
  await writeFile(join(at, 'own/etc/shadow'), `daemon:*:1::::::\nroot:${HASH}:1::::::\n`);
}

const KEPT = {
  record: { state: 'blocked', resume: 'applied', epoch: 3 },
  escrows: new Map([
    [2, Buffer.from('two')],
    [3, Buffer.from('three')],
  ]),
  staged: [3],
  rootHash: HASH,
};

describe('what a device keeps', () => {
  it('is its record, its sealed blobs by epoch, what is staged, and the hash that is in effect', async () => {
    await keeps(folder);
    expect(await keptIn(folder)).toEqual(KEPT);
  });

  it('is nothing on a device whose first boot has not begun', async () => {
    expect(await keptIn(folder)).toEqual({ record: undefined, escrows: new Map(), staged: [], rootHash: undefined });
  });

  it('is read from the disk itself, as a machine leaves it', async () => {
    const [files, data, raw, disk] = ['files', 'data', 'disk.raw', 'disk.qcow2'].map((name) => join(folder, name));
    await keeps(join(files ?? '', 'holdfast'));
    const { sizeBytes, startBytes } = partitionOf(DATA);
    await writeFile(data ?? '', '');
    await truncate(data ?? '', sizeBytes);
    await needProgram('mke2fs', ['-q', '-t', 'ext4', '-d', files ?? '', data ?? '']);
    await writeFile(raw ?? '', '');
    await truncate(raw ?? '', DISK_BYTES);
    const place = [`if=${data}`, `of=${raw}`, 'bs=1M', `seek=${startBytes / 1024 / 1024}`, 'conv=notrunc,sparse'];
    await needProgram('dd', ['status=none', ...place]);
    await needProgram('qemu-img', ['convert', '-q', '-O', 'qcow2', raw ?? '', disk ?? '']);
    expect(await readKept(disk ?? '')).toEqual(KEPT);
  });
});
