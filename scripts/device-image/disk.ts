/** Puts partitions onto one disk image, the same bytes for the same parts; and reads a partition back out of one. */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { EXIT, Fault } from '../../platform/fault.ts';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';
import { DISK_BYTES, PARTITIONS, type Partition, partitionOf } from './layout.ts';

const MIB = 1024 * 1024;
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
    const chunk = Buffer.alloc(MIB);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await source.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw new Error(`${file} became shorter`);
      const bytes = chunk.subarray(0, bytesRead);
      // Holes stay holes: most of a fresh disk is one.
      if (bytes.some((byte) => byte !== 0)) await disk.write(bytes, 0, bytesRead, partition.startBytes + at);
      at += bytesRead;
    }
  } finally {
    await source.close();
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
