/** A slot's root file system on a maker's disk: found, taken out into a file, opened. */
import { open, rm, truncate } from 'node:fs/promises';
import { copyRange } from '../../device-image/disk.ts';
import { Ext4Tree } from '../../root-tree/ext4-tree.ts';
import type { RootTree } from '../../root-tree/root-tree.ts';
import { SquashfsTree } from '../../root-tree/squashfs-tree.ts';
import { type DiskPartition, imageFault } from './partition-table.ts';

const PAGE_BYTES = 4096;
const SUPERBLOCKS_BYTES = 2048;

interface FileSystem {
  readonly kind: 'squashfs' | 'ext4';
  readonly sizeBytes: number;
}

/** What a file system's first 2048 bytes say of it; undefined: it is neither. */
export function fileSystemOf(head: Buffer): FileSystem | undefined {
  if (head.toString('latin1', 0, 4) === 'hsqs') {
    return { kind: 'squashfs', sizeBytes: Math.ceil(Number(head.readBigUInt64LE(40)) / PAGE_BYTES) * PAGE_BYTES };
  }
  const ext4 = head.subarray(1024);
  if (ext4.readUInt16LE(0x38) !== 0xef53) return undefined;
  const blockBytes = 1024 * 2 ** Math.min(ext4.readUInt32LE(0x18), 6);
  return { kind: 'ext4', sizeBytes: ext4.readUInt32LE(4) * blockBytes };
}

export async function headOf(disk: string, { startBytes, sizeBytes }: DiskPartition): Promise<FileSystem | undefined> {
  const file = await open(disk, 'r');
  try {
    const head = Buffer.alloc(SUPERBLOCKS_BYTES);
    await file.read(head, 0, head.length, startBytes);
    const found = fileSystemOf(head);
    return found !== undefined && found.sizeBytes <= sizeBytes ? found : undefined;
  } finally {
    await file.close();
  }
}

/** The beginning of a partition as a file. */
export async function takeOut(
  disk: string,
  { startBytes }: DiskPartition,
  sizeBytes: number,
  outFile: string,
): Promise<void> {
  await rm(outFile, { force: true });
  const from = await open(disk, 'r');
  const to = await open(outFile, 'w');
  try {
    await copyRange(from, startBytes, to, 0, sizeBytes, { ontoHoles: true });
  } finally {
    await from.close();
    await to.close();
  }
  await truncate(outFile, sizeBytes);
}

/** Puts a file where a partition begins, over what is there. */
export async function putBack(disk: string, { startBytes }: DiskPartition, file: string): Promise<void> {
  const from = await open(file, 'r');
  const to = await open(disk, 'r+');
  try {
    await copyRange(from, 0, to, startBytes, (await from.stat()).size);
  } finally {
    await from.close();
    await to.close();
  }
}

export async function openRoot(
  image: string,
  disk: string,
  partition: DiskPartition,
  outFile: string,
): Promise<RootTree> {
  const found = await headOf(disk, partition);
  if (found === undefined) {
    const where = `the partition ${partition.number} ${partition.name}`.trim();
    const cure = 'Make the root file system squashfs or ext4, and put it into slot a.';
    throw imageFault(image, 'root-unknown', `${where} holds neither squashfs nor ext4`, cure);
  }
  await takeOut(disk, partition, found.sizeBytes, outFile);
  return openTree(found.kind, outFile);
}

export function openTree(kind: RootTree['kind'], file: string): Promise<RootTree> {
  return kind === 'squashfs' ? SquashfsTree.open(file) : Ext4Tree.open(file);
}
