/**
 * A model of Raspberry Pi's firmware as its documentation has it. It stands in for hardware, which these tests never saw.
 * Each rule names the page and section that it is taken from, so that it can be checked against a newer one:
 *   [autoboot]   https://www.raspberrypi.com/documentation/computers/config_txt.html#autoboot-txt
 *   [filters]    https://www.raspberrypi.com/documentation/computers/config_txt.html#conditional-filters
 *   [tryboot]    https://www.raspberrypi.com/documentation/computers/raspberry-pi.html#fail-safe-os-updates-tryboot
 *   [chosen]     https://www.raspberrypi.com/documentation/computers/configuration.html, "Common bootloader properties
 *                /chosen/bootloader"
 */
export interface FirmwareBoot {
  readonly partition: number;
  /** What the device tree's chosen/bootloader/tryboot says to this boot. */
  readonly tryboot: 0 | 1;
}

export class TrybootFirmware {
  /** The one-shot flag; lost with the power, like every register. */
  #flag = false;

  /** [tryboot] "To set the tryboot flag add tryboot after the partition number in the reboot command". */
  rebootCommand(argument: string | undefined): void {
    this.#flag = argument === '0 tryboot';
  }

  powerCut(): void {
    this.#flag = false;
  }

  boot(autoboot: Uint8Array): FirmwareBoot {
    // [tryboot] "a one-shot flag which, if set, is cleared": a reset after this boots without it.
    const tryboot = this.#flag;
    this.#flag = false;
    // [autoboot] "autoboot.txt is limited to 512 bytes"
    if (autoboot.length > 512) throw new Error('the firmware reads no autoboot.txt of more than 512 bytes');
    const settings = new Map<string, string>();
    let passes = true;
    for (const line of new TextDecoder().decode(autoboot).split('\n')) {
      // [autoboot] "supports the [all], [none] and [tryboot] conditional filters". [filters] [none] never passes.
      // [autoboot] "[tryboot]: this filter passes if the system was booted with the tryboot flag set".
      if (line === '[all]') passes = true;
      else if (line === '[none]') passes = false;
      else if (line === '[tryboot]') passes = tryboot;
      else if (passes && line.includes('=')) settings.set(line.split('=')[0] ?? '', line.split('=')[1] ?? '');
    }
    // [autoboot] tryboot_a_b=1: config.txt, not tryboot.txt, is loaded from the chosen partition; without it the switch
    // would be one of files, and this board's slots would not be switched at all.
    if (settings.get('tryboot_a_b') !== '1') throw new Error('tryboot_a_b is not set');
    // [autoboot] "boot_partition specifies the partition number for booting"; 0 and none mean the first bootable one.
    const partition = Number(settings.get('boot_partition') ?? '0');
    // [chosen] "partition: the partition number used during boot"; "tryboot: set to 1 if the tryboot flag was set".
    return { partition, tryboot: tryboot ? 1 : 0 };
  }
}
