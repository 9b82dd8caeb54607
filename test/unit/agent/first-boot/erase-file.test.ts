import { link, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eraseFile } from '../../../../agent/first-boot/erase-file.ts';
import { EpochFolder } from '../../../../agent/first-boot/staging.ts';
import { nodeDisk } from '../../../../platform/disk.ts';

const SECRET = 'k7fm-tq2x-9hcd';
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-erase-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('what was staged is zeros before its name is gone, where it lies', async () => {
  const epochs = new EpochFolder(nodeDisk, folder, eraseFile);
  await epochs.makeStaging(3);
  await epochs.staging(3, 'ssh-host-keys').write('key', new TextEncoder().encode(SECRET));
  // A second name for the same blocks: what is left when the first is removed.
  await link(join(folder, 'epoch-3/ssh-host-keys.key'), join(folder, 'blocks'));
  expect(await readFile(join(folder, 'blocks'), 'utf8')).toBe(SECRET);
  await epochs.discardStaged();
  expect(await readFile(join(folder, 'blocks'))).toEqual(Buffer.alloc(SECRET.length));
  expect(await nodeDisk.list(folder)).toEqual(['blocks']);
});

it('a file that is not there, or is a folder, is nothing to erase', async () => {
  await eraseFile(join(folder, 'none'));
  await eraseFile(folder);
  await writeFile(join(folder, 'empty'), '');
  await eraseFile(join(folder, 'empty'));
  expect(await nodeDisk.list(folder)).toEqual(['empty']);
});
