/**
 * Raspberry Pi firmware: autoboot.txt, `tryboot_a_b` and the one-shot flag of `reboot "0 tryboot"`. Not run on hardware.
 * Rules of the vendor's that this stands on, each cited in the model of the tests:
 *   [all] boot_partition is booted; under [tryboot] it is another one, when the reboot asked for it; the flag is cleared
 *   by the firmware before the kernel starts, so that any reset after that boots [all] again; at most 512 bytes;
 *   what booted stands in the device tree under chosen/bootloader/{partition,tryboot}.
 *
 * How the port's words map:
 *   order    the slot of [all], alone: this firmware has no second choice
 *   trial    [tryboot] names another slot than [all]. Its one attempt is used up when the reboot is asked for, because
 *            nothing tells afterwards whether the firmware got that far: `holdfast_attempts_left` under [none], a filter
 *            that never passes
 *   retire   there is no order to leave: neither [all] nor [tryboot] names the slot, so that no reboot can reach it
 *
 * Invariant: a change is one write within one sector, of a file whose size never changes (no FAT entry follows).
 * Residual: a sector torn by the card itself leaves no autoboot.txt that makes sense, and the firmware has no second copy.
 */
import type { Disk } from '../../platform/disk.ts';
import type { Board, BootFacts, BootFlags, Slot } from '../core/ports.ts';
import { boardFault, type RunProgram, runProgram } from './board-program.ts';
import {
  bootedSlotUnknown,
  imagePathIn,
  readBootId,
  readCapped,
  readProc,
  reboot,
  refuseBooted,
  rewriteInPlace,
  SLOTS,
  type SlotPaths,
} from './machine.ts';

export interface TrybootSettings {
  readonly slots: SlotPaths;
  /** On the first FAT partition, mounted for writing. */
  readonly autobootFile: string;
  /** Number of each slot's boot partition. */
  readonly partitions: Readonly<Record<Slot, number>>;
  readonly procDirectory: string;
}

/** Half of what the firmware reads, and within one sector. */
export const AUTOBOOT_BYTES = 256;

interface Autoboot {
  readonly all: Slot;
  readonly tryboot: Slot;
  /** 1 until the reboot into the trial is asked for. */
  readonly attemptsLeft: 0 | 1;
}

export class TrybootBoard implements Board {
  readonly kind = 'tryboot';
  readonly trialAttempts = 1;
  readonly #disk: Disk;
  readonly #settings: TrybootSettings;
  readonly #run: RunProgram;

  constructor(disk: Disk, settings: TrybootSettings, run: RunProgram = runProgram) {
    this.#disk = disk;
    this.#settings = settings;
    this.#run = run;
  }

  async bootFacts(): Promise<BootFacts> {
    const { procDirectory, partitions } = this.#settings;
    const partition = await this.#property('partition');
    const slot = SLOTS.find((one) => partitions[one] === partition);
    if (slot === undefined) {
      throw bootedSlotUnknown(
        `the firmware booted partition ${partition ?? 'unknown'}, which is no slot`,
        `${procDirectory}/device-tree/chosen/bootloader/partition`,
        'Correct board.partitions in agent.json, or update the firmware (rpi-eeprom-update).',
      );
    }
    const trial = (await this.#property('tryboot')) === 1;
    return { bootId: await readBootId(this.#disk, procDirectory), slot, trial };
  }

  async bootFlags(): Promise<BootFlags> {
    const { all, tryboot, attemptsLeft } = await this.#read();
    return { order: [all], trial: tryboot === all ? null : { slot: tryboot, attemptsLeft } };
  }

  imagePath(slot: Slot, component: string): string {
    return imagePathIn(this.#settings.slots, slot, component);
  }

  async retireSlot(slot: Slot): Promise<void> {
    const { slot: booted } = await this.bootFacts();
    refuseBooted(slot, booted);
    await this.#change(({ all, tryboot, attemptsLeft }) => {
      const stays = all === slot ? booted : all;
      return { all: stays, tryboot: tryboot === slot ? stays : tryboot, attemptsLeft };
    });
  }

  armTrial(slot: Slot): Promise<void> {
    return this.#change(({ all }) => ({ all, tryboot: slot, attemptsLeft: 1 }));
  }

  disarmTrial(): Promise<void> {
    return this.#change(({ all }) => ({ all, tryboot: all, attemptsLeft: 0 }));
  }

  confirmSlot(slot: Slot): Promise<void> {
    return this.#change(() => ({ all: slot, tryboot: slot, attemptsLeft: 0 }));
  }

  async requestReboot(): Promise<void> {
    const { all, tryboot, attemptsLeft } = await this.#read();
    if (tryboot === all || attemptsLeft === 0) return reboot(this.#run);
    await this.#change((standing) => ({ ...standing, attemptsLeft: 0 }));
    return reboot(this.#run, '0 tryboot');
  }

  async #change(change: (standing: Autoboot) => Autoboot): Promise<void> {
    const standing = await this.#read();
    const changed = change(standing);
    const bytes = encodeAutoboot(
      changed.tryboot === changed.all ? { ...changed, attemptsLeft: 0 } : changed,
      this.#settings.partitions,
    );
    const stored = await this.#bytes();
    if (Buffer.from(stored).equals(bytes)) return;
    // A factory's shorter file grows first, by lines that say nothing: a cut there changes no meaning.
    if (stored.length < AUTOBOOT_BYTES) {
      await rewriteInPlace(this.#disk, this.#settings.autobootFile, padded(stored));
    }
    await rewriteInPlace(this.#disk, this.#settings.autobootFile, bytes);
  }

  async #bytes(): Promise<Uint8Array> {
    const { autobootFile } = this.#settings;
    const bytes = await readCapped(this.#disk, autobootFile, AUTOBOOT_BYTES);
    if (bytes instanceof Uint8Array) return bytes;
    throw unreadable(autobootFile, bytes === undefined ? 'there is none' : `it has more than ${AUTOBOOT_BYTES} bytes`);
  }

  async #read(): Promise<Autoboot> {
    const { autobootFile, partitions } = this.#settings;
    const found = decodeAutoboot(await this.#bytes(), partitions);
    if (typeof found !== 'string') return found;
    throw unreadable(autobootFile, found);
  }

  /** A 32-bit big-endian integer of the device tree's chosen/bootloader. */
  async #property(name: string): Promise<number | undefined> {
    const path = `${this.#settings.procDirectory}/device-tree/chosen/bootloader/${name}`;
    const bytes = await readProc(this.#disk, path);
    return bytes?.length === 4 ? Buffer.from(bytes).readUInt32BE() : undefined;
  }
}

function unreadable(path: string, why: string) {
  return boardFault(
    'autoboot-unreadable',
    `autoboot.txt cannot be used: ${why}`,
    path,
    'Write it as docs/BOARDS.md shows: tryboot_a_b=1, and a boot_partition of a slot under [all].',
  );
}

/** One text for one state, always of AUTOBOOT_BYTES. */
export function encodeAutoboot({ all, tryboot, attemptsLeft }: Autoboot, partitions: Record<Slot, number>): Uint8Array {
  const lines = [
    '[all]',
    'tryboot_a_b=1',
    `boot_partition=${partitions[all]}`,
    '[tryboot]',
    `boot_partition=${partitions[tryboot]}`,
    '[none]',
    `holdfast_attempts_left=${attemptsLeft}`,
  ];
  return padded(new TextEncoder().encode(`${lines.join('\n')}\n`));
}

function padded(bytes: Uint8Array): Uint8Array {
  const text = new Uint8Array(AUTOBOOT_BYTES).fill(10);
  text.set(bytes);
  return text;
}

/** The state, or why there is none. A last line without its end counts as the firmware would read it. */
function decodeAutoboot(bytes: Uint8Array, partitions: Readonly<Record<Slot, number>>): Autoboot | string {
  const values = new Map<string, string>();
  let filter = '[all]';
  for (const line of new TextDecoder().decode(bytes).split(/\s+/)) {
    if (line.startsWith('[')) filter = line;
    else if (line !== '') values.set(`${filter}${line.split('=')[0]}`, line.slice(line.indexOf('=') + 1));
  }
  const slotIn = (section: string): Slot | undefined =>
    SLOTS.find((slot) => String(partitions[slot]) === values.get(`${section}boot_partition`));
  const all = slotIn('[all]');
  if (values.get('[all]tryboot_a_b') !== '1') return 'tryboot_a_b=1 is missing under [all]';
  if (all === undefined) return 'boot_partition under [all] is no slot';
  const tryboot = slotIn('[tryboot]') ?? all;
  return { all, tryboot, attemptsLeft: values.get('[none]holdfast_attempts_left') === '1' ? 1 : 0 };
}
