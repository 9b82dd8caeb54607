/** Which partitions of a maker's disk are which: by what agent.json names, by name, else by the numbers of docs/BOARDS.md. */
import { BOOT, COMMON, DATA, ROOT } from '../../device-image/layout.ts';
import type { MakerConfig } from './maker-config.ts';
import { type DiskPartition, imageFault } from './partition-table.ts';

export type Slot = 'a' | 'b';
/** By component of a release. */
export type SlotPartitions = ReadonlyMap<string, DiskPartition>;

type Part = 'common' | 'boot-a' | 'root-a' | 'data';
const PARTS: Readonly<Record<Part, { readonly names: readonly string[]; readonly number: number }>> = {
  common: { names: ['common', 'boot'], number: COMMON },
  'boot-a': { names: ['boot-a', 'boot_a'], number: BOOT.a },
  'root-a': { names: ['root-a', 'root_a', 'rootfs-a', 'rootfs_a'], number: ROOT.a },
  data: { names: ['data'], number: DATA },
};

export function findPartition(image: string, table: readonly DiskPartition[], part: Part): DiskPartition {
  const { names, number } = PARTS[part];
  const found =
    table.find(({ name }) => names.includes(name.toLowerCase())) ?? table.find((one) => one.number === number);
  if (found !== undefined) return found;
  const there = table.map((one) => `${one.number} ${one.name}`.trim()).join(', ');
  throw imageFault(
    image,
    'partition-missing',
    `the disk has no partition called ${names.join(' or ')}, and none with the number ${number}; it has ${there || 'none'}`,
  );
}

/** The partition that a path of agent.json means on the emulated board. */
function partitionAt(image: string, table: readonly DiskPartition[], path: string): DiskPartition {
  const [, number] = /^\/dev\/vda(\d+)$/.exec(path) ?? [];
  const [, label] = /^\/dev\/disk\/by-partlabel\/(.+)$/.exec(path) ?? [];
  const [, uuid] = /^\/dev\/disk\/by-partuuid\/(.+)$/.exec(path) ?? [];
  if ((number ?? label ?? uuid) === undefined) {
    const cure =
      'On the emulated board the disk is /dev/vda: name slots /dev/vda5, or /dev/disk/by-partlabel/root-a, which is right on every board.';
    throw imageFault(
      image,
      'slot-elsewhere',
      `agent.json has a slot at ${path}, which is not on the emulated board`,
      cure,
    );
  }
  const found = table.find(
    (one) =>
      one.number === Number(number) ||
      one.name === label ||
      (uuid !== undefined && one.uuid.toLowerCase() === uuid.toLowerCase()),
  );
  if (found !== undefined) return found;
  throw imageFault(image, 'partition-missing', `agent.json has a slot at ${path}, and the disk has no such partition`);
}

/** Both slots, as agent.json names them. Throws a Fault for another board than U-Boot, and for slots that differ in size. */
export function slotsOf(
  image: string,
  table: readonly DiskPartition[],
  { board }: MakerConfig,
): Readonly<Record<Slot, SlotPartitions>> {
  const { kind, slots: paths } = board;
  if (kind !== 'u-boot' || paths === undefined) {
    const cure = 'The emulated board has U-Boot: use "board": { "kind": "u-boot", … } as docs/BOARDS.md says.';
    throw imageFault(image, 'board-not-emulated', `agent.json says the board is ${kind}`, cure);
  }
  const slot = (letter: Slot): SlotPartitions =>
    new Map(Object.entries(paths[letter]).map(([component, path]) => [component, partitionAt(image, table, path)]));
  const slots = { a: slot('a'), b: slot('b') };
  for (const [component, { sizeBytes }] of slots.a) {
    const other = slots.b.get(component)?.sizeBytes ?? 0;
    if (other === sizeBytes) continue;
    throw imageFault(
      image,
      'slots-differ',
      `${component} has ${sizeBytes} bytes in slot a and ${other} in slot b`,
      'Give both slots partitions of the same size: an image must fit into either.',
    );
  }
  return slots;
}
