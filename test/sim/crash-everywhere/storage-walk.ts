/**
 * One walk through the shipped storage code, on any disk, in a folder of its own: durable file, record of two copies,
 * journal, metadata store, report queue, boot environment, an image written by a slot file, a sector rewritten in place.
 *
 *   node storage-walk.ts FOLDER       on the machine's own disk, for strace to look on
 */

import { EmulatedBoard } from '../../../agent/boards/emulated.ts';
import { rewriteInPlace } from '../../../agent/boards/machine.ts';
import { DurableReporter } from '../../../agent/reports/durable-reporter.ts';
import { FIRST_JOURNAL, journalRecord } from '../../../agent/storage/journal.ts';
import { DiskMetadataStore } from '../../../agent/storage/metadata-store.ts';
import { openForWriting } from '../../../agent/storage/slot-image.ts';
import { alignedMemory } from '../../../platform/aligned-memory.ts';
import { type Disk, nodeDisk } from '../../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../../platform/durable-file.ts';
import { emulatedPaths, encodeBooted, writeBootEnv } from '../../../platform/emulated-boot-env.ts';

const SILENT = { info: () => {}, warn: () => {} };
const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);

export async function walk(disk: Disk, folder: string): Promise<void> {
  await makeDirectoryDurably(disk, `${folder}/data`);
  await writeDurably(disk, `${folder}/data/file`, bytes(3000, 1));
  await writeDurably(disk, `${folder}/data/file`, bytes(5000, 2));
  await removeDurably(disk, `${folder}/data/file`);

  const journal = journalRecord(disk, `${folder}/data`);
  await journal.write(FIRST_JOURNAL);
  await journal.write({ ...FIRST_JOURNAL, state: 'checking', owed: ['obtain'] });

  const store = await DiskMetadataStore.open({
    disk,
    stateDirectory: `${folder}/data`,
    factoryRootPath: `${folder}/root.json`,
    log: SILENT,
  });
  await store.write('timestamp', bytes(400, 3));
  await store.write('root', bytes(900, 4));
  await store.remove('timestamp');

  const clock = { wallUnixMs: () => undefined };
  const reporter = await DurableReporter.open({ disk, clock, log: SILENT, bootId: 'boot-1' }, `${folder}/data/reports`);
  await reporter.record({ kind: 'notice', code: 'told', detail: 'once' });

  await makeDirectoryDurably(disk, `${folder}/board`);
  await writeBootEnv(disk, folder, { order: ['a', 'b'], trial: null });
  await writeDurably(disk, emulatedPaths(folder).booted, encodeBooted({ bootId: 'boot-1', slot: 'a', trial: false }));
  const board = new EmulatedBoard(disk, folder);
  await board.retireSlot('b');

  await makeDirectoryDurably(disk, emulatedPaths(folder).slots);
  const image = await openForWriting({ disk, board }, 'b', 'rootfs');
  await image.write(alignedMemory(8192).fill(5), 0);
  await image.write(alignedMemory(8192).fill(6).subarray(0, 5000), 8192);
  await image.truncate(13_000);
  await image.sync();
  await image.close();
  await board.armTrial('b');

  await writeDurably(disk, `${folder}/autoboot.txt`, bytes(256, 10));
  await rewriteInPlace(disk, `${folder}/autoboot.txt`, bytes(256, 11));
}

const [folder] = process.argv.slice(2);
if (process.argv[1] === import.meta.filename && folder !== undefined) await walk(nodeDisk, folder);
