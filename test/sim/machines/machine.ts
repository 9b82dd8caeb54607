/**
 * Where a simulated device's bootloader and board come from: one kind per board. The board is the shipped adapter; the
 * bootloader is a model, checked elsewhere against the real one (U-Boot) or the vendor's page (Raspberry Pi).
 */

import type { SlotPaths } from '../../../agent/boards/machine.ts';
import type { Board, BootFlags, Slot } from '../../../agent/core/ports.ts';
import type { Disk, DiskFile, OpenMode } from '../../../platform/disk.ts';
import { SimulatedDisk } from '../simulated-disk.ts';

/** One power-on after the other, until a power cut makes it another machine. */
export interface Machine {
  readonly board: Board;
  /** The bootloader's work, up to the start of userspace. */
  powerOn(bootId: string): Promise<{ readonly slot: Slot; readonly trial: boolean }>;
}

export interface MachineKind {
  readonly name: 'emulated' | 'u-boot' | 'tryboot';
  /** Boot flags as a factory leaves them: slot a, and b behind it where the board has an order. */
  makeFactory(disk: SimulatedDisk, directory: string): Promise<void>;
  start(disk: Disk, directory: string): Machine;
  /** What the bootloader would go by; undefined when it finds nothing that it can use. */
  flags(disk: SimulatedDisk, directory: string): Promise<BootFlags | undefined>;
}

export const COMPONENTS = ['boot', 'rootfs', 'assets'] as const;

/** The places of the emulated board, named one by one as agent.json would. */
export function slotPaths(directory: string): SlotPaths {
  const place = (slot: Slot) =>
    Object.fromEntries(COMPONENTS.map((name) => [name, `${directory}/board/slots/${slot}/${name}.img`]));
  return { a: place('a'), b: place('b') };
}

/** The same disk with /proc on it, which no power cut leaves and no count knows. */
export class DiskWithProc implements Disk {
  readonly #disk: Disk;
  readonly #proc = new SimulatedDisk();

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  async setProc(files: Readonly<Record<string, Uint8Array | string>>): Promise<void> {
    for (const [name, value] of Object.entries(files)) {
      await this.#proc.place(`/proc/${name}`, typeof value === 'string' ? new TextEncoder().encode(value) : value);
    }
  }

  open = (path: string, mode: OpenMode, permissions?: number): Promise<DiskFile> =>
    this.#of(path).open(path, mode, permissions);
  readFile = (path: string, capBytes: number) => this.#of(path).readFile(path, capBytes);
  rename = (from: string, to: string) => this.#of(from).rename(from, to);
  remove = (path: string) => this.#of(path).remove(path);
  makeDirectory = (path: string, permissions?: number) => this.#of(path).makeDirectory(path, permissions);
  removeDirectory = (path: string) => this.#of(path).removeDirectory(path);
  list = (path: string) => this.#of(path).list(path);
  syncDirectory = (path: string) => this.#of(path).syncDirectory(path);

  #of(path: string): Disk {
    return path.startsWith('/proc/') ? this.#proc : this.#disk;
  }
}
