/** The board that images are made for: QEMU's, with what its device tree depends on. Its disk and its network are not among it. */
export const EMULATOR = 'qemu-system-aarch64';
const MACHINE = 'virt';
const REST = [
  '-cpu',
  'cortex-a72',
  '-accel',
  'tcg,thread=multi',
  '-smp',
  '2',
  '-m',
  '512',
  '-nodefaults',
  '-display',
  'none',
];

/** QEMU's options; `more`: further properties of the machine. */
export function boardWords(more = ''): string[] {
  return ['-machine', `${MACHINE}${more}`, ...REST];
}
