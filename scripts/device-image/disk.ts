/** Puts partitions onto one disk image, the same bytes for the same parts; and reads a partition back out of one. */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { EXIT, Fault } from '../../platform/fault.ts';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';
import { DISK_BYTES, PARTITIONS, type Partition, partitionOf } from './layout.ts';

const MIB = 1024 * 1024;
const NOTHING = Buffer.alloc(MIB);
/** Of the disk and its partitions: nothing on the device asks for them, and random ones would make each build another. */
const DISK_ID = '48464C42-0000-4000-8000-000000000000';
const partitionId = (number: number): string => `48464C42-0000-4000-8000-00000000000${number}`;

/** `parts`: by partition number, the file that fills its beginning. */
export async function assembleDisk(outFile: string, parts: ReadonlyMap<number, string>): Promise<void> {
  await rm(outFile, { force: true });
  const disk = await open(outFile, 'wx');
  try {
    await disk.truncate(DISK_BYTES);
    await needProgram('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', outFile], {
      input: partitionTable(),
      env: IMAGE_TOOL_ENV,
    });
    for (const [number, file] of parts) await copyInto(disk, partitionOf(number), file);
  } finally {
    await disk.close();
  }
}

function partitionTable(): string {
  const lines = PARTITIONS.map(({ number, name, startBytes, sizeBytes, type }) => {
    const place = `start=${startBytes / 512}, size=${sizeBytes / 512}`;
    return `${number} : ${place}, type=${type}, name="${name}", uuid=${partitionId(number)}`;
  });
  return ['label: gpt', `label-id: ${DISK_ID}`, 'unit: sectors', '', ...lines, ''].join('\n');
}

async function copyInto(disk: FileHandle, partition: Partition, file: string): Promise<void> {
  const source = await open(file, 'r');
  try {
    const { size } = await source.stat();
    if (size > partition.sizeBytes) throw tooLarge(file, size, partition);
    await copyRange(source, 0, disk, partition.startBytes, size, { ontoHoles: true });
  } finally {
    await source.close();
  }
}

/** A copy in which holes are holes, and which takes no room at all where the file system can share it. */
export async function copySparse(from: string, to: string): Promise<void> {
  await needProgram('cp', ['--sparse=always', '--reflink=auto', '--', from, to]);
}

/** `ontoHoles`: where it goes there is nothing yet, so that zeros need not be written: most of a fresh disk is one hole. */
export async function copyRange(
  from: FileHandle,
  fromBytes: number,
  to: FileHandle,
  toBytes: number,
  sizeBytes: number,
  { ontoHoles = false } = {},
): Promise<void> {
  const chunk = Buffer.alloc(MIB);
  for (let at = 0; at < sizeBytes; ) {
    const { bytesRead } = await from.read(chunk, 0, Math.min(chunk.length, sizeBytes - at), fromBytes + at);
    if (bytesRead === 0) throw new Error('a file became shorter while it was copied');
    const isHole = ontoHoles && chunk.subarray(0, bytesRead).equals(NOTHING.subarray(0, bytesRead));
    if (!isHole) await to.write(chunk, 0, bytesRead, toBytes + at);
    at += bytesRead;
  }
}

function tooLarge(file: string, sizeBytes: number, { name, sizeBytes: room }: Partition): Fault {
  return new Fault({
    code: 'image-too-large',
    what: `${sizeBytes} bytes do not fit into the partition ${name} of ${room}`,
    where: file,
    cure: 'Make the image smaller, or the partition larger in scripts/device-image/layout.ts.',
    exitStatus: EXIT.input,
  });
}
