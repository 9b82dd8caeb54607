/** A disk image's partition table, as sfdisk reads it. */
import { open } from 'node:fs/promises';
import * as v from 'valibot';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { IMAGE_TOOL_ENV } from '../../images/ext4-image.ts';
import { runProgram } from '../../programs.ts';

export interface DiskPartition {
  readonly number: number;
  /** Empty when it has none. */
  readonly name: string;
  readonly uuid: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
}

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Table = v.object({
  partitiontable: v.object({
    label: v.string(),
    sectorsize: v.optional(Count, 512),
    partitions: v.optional(
      v.array(
        v.object({
          node: v.string(),
          start: Count,
          size: Count,
          name: v.optional(v.string(), ''),
          uuid: v.optional(v.string(), ''),
        }),
      ),
      [],
    ),
  }),
});

const SMALLEST_BYTES = 1024 * 1024;
const LARGEST_BYTES = 64 * 1024 ** 3;
/** What a file begins with that holds a disk, but is none. */
const PACKED: readonly (readonly [magic: string, name: string, unpack: string])[] = [
  ['1f8b', 'gzip', 'gunzip -k'],
  ['fd377a585a00', 'xz', 'unxz -k'],
  ['28b52ffd', 'zstd', 'unzstd'],
  ['425a68', 'bzip2', 'bunzip2 -k'],
  ['504b0304', 'zip', 'unzip'],
  ['514649fb', 'qcow2', 'qemu-img convert -O raw'],
];

/** Throws a Fault for whatever is not a raw disk with a GPT. */
export async function readPartitionTable(image: string): Promise<DiskPartition[]> {
  await refuseOther(image);
  const { status, stdout, stderr } = await runProgram('sfdisk', ['--json', image], { env: IMAGE_TOOL_ENV });
  const said = status === 0 ? v.safeParse(Table, JSON.parse(stdout)) : undefined;
  if (said?.success !== true || said.output.partitiontable.label !== 'gpt') {
    const found = said?.success === true ? `a table of the kind ${said.output.partitiontable.label}` : stderr.trim();
    throw imageFault(image, 'image-without-gpt', `the file has no GPT (${found.split('\n').at(-1) ?? ''})`);
  }
  const { sectorsize, partitions } = said.output.partitiontable;
  const { size } = await sizeOf(image);
  return partitions.map(({ node, start, size: sectors, name, uuid }) => {
    const startBytes = start * sectorsize;
    const sizeBytes = sectors * sectorsize;
    if (startBytes + sizeBytes > size) {
      throw imageFault(image, 'image-cut-short', `the partition ${name || node} ends behind the end of the file`);
    }
    return { number: Number(/(\d+)$/.exec(node)?.[1] ?? 0), name, uuid, startBytes, sizeBytes };
  });
}

/** A fault of the maker's file; the guide says what it should be. */
export function imageFault(
  where: string,
  code: string,
  what: string,
  cure = 'Build it as docs/QEMU.md, "Your own image", says.',
): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.input });
}

async function sizeOf(image: string): Promise<{ size: number; head: Buffer }> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(image, 'r');
  } catch (cause) {
    const cure = 'Give the path of a disk image that you may read.';
    throw new Fault({
      code: 'image-missing',
      what: 'there is no image to read',
      where: image,
      cure,
      exitStatus: EXIT.input,
      cause,
    });
  }
  try {
    const status = await file.stat();
    if (!status.isFile())
      throw imageFault(image, 'image-unusable', 'this is not a file', 'Give a disk image, not a device or a folder.');
    const head = Buffer.alloc(8);
    await file.read(head, 0, head.length, 0);
    return { size: status.size, head };
  } finally {
    await file.close();
  }
}

async function refuseOther(image: string): Promise<void> {
  const { size, head } = await sizeOf(image);
  const packed = PACKED.find(([magic]) => head.toString('hex').startsWith(magic));
  if (packed !== undefined) {
    throw imageFault(
      image,
      'image-packed',
      `the image is ${packed[1]}, not a raw disk`,
      `Unpack it first: ${packed[2]}`,
    );
  }
  if (size < SMALLEST_BYTES) throw imageFault(image, 'image-unusable', `a file of ${size} bytes is no disk`);
  if (size > LARGEST_BYTES) {
    const cure = 'Make a smaller one for the lab: the slots and some room for data are enough.';
    throw imageFault(image, 'image-unusable', `the disk has ${size} bytes, ${LARGEST_BYTES} at most are taken`, cure);
  }
}
