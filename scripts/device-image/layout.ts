/** Where everything lies on the lab's disk. The numbers are those of docs/BOARDS.md: slots have a boot and a root partition each. */
const MIB = 1024 * 1024;

export interface Partition {
  readonly number: number;
  readonly name: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** GPT partition type. */
  readonly type: string;
}

const BASIC_DATA = 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7';
const LINUX = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

/** U-Boot finds its script here; it is in no slot, because what chooses between slots is updated with none. */
export const COMMON = 1;
export const BOOT = { a: 2, b: 3 } as const;
export const ROOT = { a: 5, b: 6 } as const;
export const DATA = 7;
/** Two copies of U-Boot's environment. */
export const ENVIRONMENT = 8;

const SIZES_MIB: readonly (readonly [number: number, name: string, sizeMib: number, type: string])[] = [
  [COMMON, 'common', 16, BASIC_DATA],
  [BOOT.a, 'boot-a', 48, BASIC_DATA],
  [BOOT.b, 'boot-b', 48, BASIC_DATA],
  [ROOT.a, 'root-a', 160, LINUX],
  [ROOT.b, 'root-b', 160, LINUX],
  [DATA, 'data', 128, LINUX],
  [ENVIRONMENT, 'environment', 1, LINUX],
];

/** In the order in which they lie, one after another from the first MiB on. */
export const PARTITIONS: readonly Partition[] = layOut();
export const DISK_BYTES = SIZES_MIB.reduce((sum, [, , sizeMib]) => sum + sizeMib, 2) * MIB;

function layOut(): Partition[] {
  let startBytes = MIB;
  return SIZES_MIB.map(([number, name, sizeMib, type]) => {
    const partition = { number, name, startBytes, sizeBytes: sizeMib * MIB, type };
    startBytes += partition.sizeBytes;
    return partition;
  });
}

export function partitionOf(number: number): Partition {
  const found = PARTITIONS.find((one) => one.number === number);
  if (found === undefined) throw new Error(`the disk has no partition ${number}`);
  return found;
}

/** Each slot's partitions, by component of a release. */
export const SLOTS = {
  a: new Map([
    ['boot', partitionOf(BOOT.a)],
    ['rootfs', partitionOf(ROOT.a)],
  ]),
  b: new Map([
    ['boot', partitionOf(BOOT.b)],
    ['rootfs', partitionOf(ROOT.b)],
  ]),
} as const;
