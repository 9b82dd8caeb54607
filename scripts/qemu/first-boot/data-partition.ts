/**
 * What a device keeps on its data partition, read by this machine from its disk and not asked of the device. Whatever the
 * file system's journal holds is replayed in a copy: as the device's own next mount does it.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { nodeDisk } from '../../../platform/disk.ts';
import { readTwoCopy } from '../../../platform/two-copy-record.ts';
import { FirstBootState } from '../../../protocol/credentials.ts';
import { DATA, partitionOf } from '../../device-image/layout.ts';
import { needProgram, runProgram } from '../../programs.ts';

/** e2fsck: nothing to correct, or all is corrected. */
const CLEAN = 1;
const RECORD = v.object({ state: FirstBootState, resume: v.nullable(FirstBootState), epoch: v.number() });

export interface KeptByDevice {
  /** Undefined: its first boot has not begun. */
  readonly record: v.InferOutput<typeof RECORD> | undefined;
  /** Sealed blobs, by epoch. */
  readonly escrows: ReadonlyMap<number, Uint8Array>;
  /** Epochs of which something is staged. */
  readonly staged: readonly number[];
  /** Root's hash in the device's own shadow; undefined: the image's is in effect. */
  readonly rootHash: string | undefined;
}

/** Of an overlay, which a machine may be running from: then, what the device has made durable. */
export async function readKept(disk: string): Promise<KeptByDevice> {
  const work = `${disk}.kept`;
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { mode: 0o700 });
  try {
    const data = join(work, 'data');
    await copyPartition(disk, data);
    const { status, stdout } = await runProgram('e2fsck', ['-f', '-y', data]);
    if (status > CLEAN) throw new Error(`the data partition is damaged (e2fsck ${status}): ${stdout.slice(-500)}`);
    for (const folder of ['first-boot', 'own'])
      await runProgram('debugfs', ['-R', `rdump /holdfast/${folder} ${work}`, data]);
    return await keptIn(work);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function copyPartition(disk: string, to: string): Promise<void> {
  const { startBytes, sizeBytes } = partitionOf(DATA);
  const file = { driver: 'qcow2', file: { driver: 'file', filename: disk } };
  const part = { driver: 'raw', offset: startBytes, size: sizeBytes, file };
  await needProgram('qemu-img', ['convert', '-U', '-O', 'raw', `json:${JSON.stringify(part)}`, to]);
}

/** `folder`: copies of the agent's own folders `first-boot` and `own`. */
export async function keptIn(folder: string): Promise<KeptByDevice> {
  const firstBoot = join(folder, 'first-boot');
  const { current } = await readTwoCopy(nodeDisk, join(firstBoot, 'record'));
  const record =
    current === undefined ? undefined : v.parse(RECORD, JSON.parse(new TextDecoder().decode(current.payload)));
  const names = await readdir(firstBoot).catch(() => []);
  const epochsOf = (kind: string): number[] =>
    names.flatMap((name) => new RegExp(`^${kind}-(\\d+)$`).exec(name)?.[1] ?? []).map(Number);
  const escrows = new Map<number, Uint8Array>();
  for (const epoch of epochsOf('escrow')) escrows.set(epoch, await readFile(join(firstBoot, `escrow-${epoch}`)));
  const shadow = await readFile(join(folder, 'own/etc/shadow'), 'utf8').catch(() => '');
  return { record, escrows, staged: epochsOf('epoch'), rootHash: /^root:([^:]*)/m.exec(shadow)?.[1] };
}
