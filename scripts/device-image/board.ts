/**
 * The board that images are made for: QEMU's, with what its device tree depends on: with firmware it has other devices than
 * without, and under KVM another processor and interrupt controller. Its disk and its network are not among it.
 */
export const EMULATOR = 'qemu-system-aarch64';
const FIRMWARE = '/usr/lib/u-boot/qemu_arm64/u-boot.bin';

export type Accelerator = 'kvm' | 'tcg';

const PROCESSORS: Readonly<Record<Accelerator, { readonly machine: string; readonly words: readonly string[] }>> = {
  kvm: { machine: 'virt,gic-version=host', words: ['-cpu', 'host', '-accel', 'kvm'] },
  tcg: { machine: 'virt', words: ['-cpu', 'cortex-a72', '-accel', 'tcg,thread=multi'] },
};

/** QEMU's options; `more`: further properties of the machine, each after a comma. */
export function boardWords(accelerator: Accelerator, more = ''): string[] {
  const { machine, words } = PROCESSORS[accelerator];
  const rest = ['-smp', '2', '-m', '512', '-nodefaults', '-display', 'none', '-bios', FIRMWARE];
  return ['-machine', `${machine}${more}`, ...words, ...rest];
}
