/** What a maker's console suggests when a device did not do what was waited for. */

const KERNEL_STARTS = /^Starting kernel/;
const BOOTLOADER = /^U-Boot 20/;

export function adviceOn(lines: readonly string[]): string {
  if (!lines.some((line) => BOOTLOADER.test(line)))
    return 'the emulator itself does not work: npm run qemu -- --prepare';
  if (!lines.some((line) => /^holdfast: slot \w/.test(line))) {
    return "the boot script did not choose a slot: is boot.scr on the first partition, with Holdfast's boot.cmd in it (docs/BOARDS.md)?";
  }
  const started = lines.findLastIndex((line) => KERNEL_STARTS.test(line));
  if (started < 0)
    return "U-Boot did not start a kernel: look at holdfast_load and holdfast_start, and the files of the slot's boot partition";
  const since = lines.slice(started + 1).filter((line) => line.trim() !== '');
  if (since.length === 0) {
    return 'the kernel says nothing on the serial console: it needs console=ttyAMA0 in holdfast_args, and drivers for this board (docs/QEMU.md)';
  }
  if (since.some((line) => /Kernel panic - not syncing/.test(line))) {
    return 'the kernel panicked: a slot on trial is tried again only when panic=10, or a watchdog, resets the board (docs/SAFETY.md)';
  }
  return 'the kernel runs: the network must come up by DHCP on virtio-net, the agent must start, and a trial that hangs needs a watchdog (docs/SAFETY.md)';
}
