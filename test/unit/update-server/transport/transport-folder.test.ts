import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Disk, nodeDisk } from '../../../../platform/disk.ts';
import { formName, type TransportForm } from '../../../../update-server/core/transport-plan.ts';
import { TransportFolder } from '../../../../update-server/transport/transport-folder.ts';

const form: TransportForm = { kind: 'pieces', imageSha256: 'a'.repeat(64) };
const name = formName(form);

let directory: string;
beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'holdfast-transport-')), 'transport');
});
afterEach(() => rm(join(directory, '..'), { recursive: true }));

/** The machine's disk, which tells in which order it is asked for what lasts. */
function toldDisk(told: string[]): Disk {
  return {
    ...nodeDisk,
    async open(path, mode, permissions) {
      const file = await nodeDisk.open(path, mode, permissions);
      const sync = async (): Promise<void> => {
        told.push('sync file');
        await file.sync();
      };
      return Object.assign(Object.create(file), {
        sync,
        sizeBytes: () => file.sizeBytes(),
        close: () => file.close(),
      });
    },
    async rename(from, to) {
      told.push('rename');
      await nodeDisk.rename(from, to);
    },
    async syncDirectory(path) {
      told.push('sync folder');
      await nodeDisk.syncDirectory(path);
    },
  };
}

test('a part becomes a form whole and durably: synced, named, the name synced', async () => {
  const told: string[] = [];
  const folder = await TransportFolder.open(toldDisk(told), directory);
  const part = folder.newPart();
  await writeFile(part, 'the index');
  expect(folder.find(form)).toBeUndefined();
  told.length = 0;
  expect(await folder.take(part, form)).toBe(9);
  expect(told).toEqual(['sync file', 'rename', 'sync folder']);
  expect(await readFile(join(directory, name), 'utf8')).toBe('the index');
  expect(folder.find(form)).toMatchObject({ sizeBytes: 9 });
});

test('a start finds what is whole, empties what is not, and leaves strange files alone', async () => {
  await mkdir(join(directory, 'parts'), { recursive: true });
  await writeFile(join(directory, name), '12345');
  await writeFile(join(directory, 'note.txt'), 'somebody was here');
  await writeFile(join(directory, 'parts/0011.part'), 'cut off');
  const folder = await TransportFolder.open(nodeDisk, directory);
  expect(folder.list()).toEqual([{ form, sizeBytes: 5, lastUse: 0 }]);
  expect(folder.totalBytes).toBe(5);
  expect(await readdir(join(directory, 'parts'))).toEqual([]);
  expect((await readdir(directory)).sort()).toEqual([name, 'note.txt', 'parts'].sort());
});

test('who reads an open form reads it to its end, though it is removed meanwhile', async () => {
  const folder = await TransportFolder.open(nodeDisk, directory);
  const part = folder.newPart();
  await writeFile(part, '0123456789');
  await folder.take(part, form);
  const open = await folder.open(form);
  await folder.remove(form);
  const pieces: Buffer[] = [];
  for await (const piece of open?.read(2, 8) ?? []) pieces.push(piece as Buffer);
  expect(Buffer.concat(pieces).toString()).toBe('2345678');
  expect(await folder.open(form)).toBeUndefined();
  expect(await readdir(directory)).toEqual(['parts']);
});

test('another making of a form has another tag', async () => {
  const folder = await TransportFolder.open(nodeDisk, directory);
  const tags = [];
  for (const text of ['first', 'second']) {
    const part = folder.newPart();
    await writeFile(part, text);
    await folder.take(part, form);
    const open = await folder.open(form);
    tags.push(open?.etag);
    await open?.close();
  }
  expect(new Set(tags).size).toBe(2);
});
