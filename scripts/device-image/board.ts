/**
 * The board that images are made for: QEMU's, with what its device tree depends on: with firmware it has other devices than
 * without. Its disk and its network are not among it.
 */
export const EMULATOR = 'qemu-system-aarch64';
const FIRMWARE = '/usr/lib/u-boot/qemu_arm64/u-boot.bin';
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
  '-bios',
  FIRMWARE,
];

/** QEMU's options; `more`: further properties of the machine. */
export function boardWords(more = ''): string[] {
  return ['-machine', `${MACHINE}${more}`, ...REST];
}
