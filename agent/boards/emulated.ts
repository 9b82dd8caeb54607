/**
 * The emulated board: slots are folders of files, boot flags a two-copy record, the bootloader emulator/boot-loop.ts.
 *
 * Invariants: every change of flags is one write of the environment: it happened whole, or not at all. The booted slot
 * is never taken out of the order, and never handed out as a target.
 * May not: start or stop anything; it only leaves a reboot request.
 */
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import {
  decodeBooted,
  EMULATED_TRIAL_ATTEMPTS,
  type EmulatedBootEnv,
  type EmulatedPaths,
  emulatedPaths,
  otherSlot,
  readBootEnv,
  writeBootEnv,
} from '../../platform/emulated-boot-env.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { Board, BootFacts, BootFlags, Slot } from '../core/ports.ts';

const COMPONENT = /^[a-z0-9][a-z0-9._-]{0,63}$/;

export class EmulatedBoard implements Board {
  readonly kind = 'emulated';
  readonly trialAttempts = EMULATED_TRIAL_ATTEMPTS;
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #paths: EmulatedPaths;

  /** `directory` is the DEVICE folder. */
  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
    this.#paths = emulatedPaths(directory);
  }

  async bootFacts(): Promise<BootFacts> {
    const bytes = await this.#disk.readFile(this.#paths.booted, 1024);
    const facts = bytes === undefined ? undefined : decodeBooted(bytes);
    if (facts !== undefined) return facts;
    throw new Fault({
      code: 'booted-slot-unknown',
      what: 'the boot loop has not said which slot it booted',
      where: this.#paths.booted,
      cure: 'Start the device through its boot loop, which writes this file at every boot.',
      exitStatus: EXIT.environment,
    });
  }

  /** With both copies damaged, all that is known is what runs; the next change writes a whole environment again. */
  async bootFlags(): Promise<BootFlags> {
    const env = await readBootEnv(this.#disk, this.#directory);
    return env ?? { order: [(await this.bootFacts()).slot], trial: null };
  }

  imagePath(slot: Slot, component: string): string {
    if (!COMPONENT.test(component)) throw new RangeError(`not a component name: ${component}`);
    return `${this.#paths.slots}/${slot}/${component}.img`;
  }

  async retireSlot(slot: Slot): Promise<void> {
    const { slot: booted } = await this.bootFacts();
    if (slot === booted) throw new RangeError(`slot ${slot} is booted and cannot be taken out of the order`);
    await this.#change(({ order, trial }) => {
      const left = order.filter((one) => one !== slot);
      return { order: left.length > 0 ? left : [booted], trial: trial?.slot === slot ? null : trial };
    });
  }

  armTrial(slot: Slot): Promise<void> {
    return this.#change(({ order }) => ({ order, trial: { slot, attemptsLeft: this.trialAttempts } }));
  }

  disarmTrial(): Promise<void> {
    return this.#change(({ order }) => ({ order, trial: null }));
  }

  confirmSlot(slot: Slot): Promise<void> {
    return this.#change(({ order }) => ({
      order: order.includes(otherSlot(slot)) ? [slot, otherSlot(slot)] : [slot],
      trial: null,
    }));
  }

  async requestReboot(): Promise<void> {
    await writeDurably(this.#disk, this.#paths.rebootRequest, new TextEncoder().encode('reboot\n'));
  }

  /** One write, and none when nothing changes: flags are also on media that wear out. */
  async #change(change: (env: EmulatedBootEnv) => EmulatedBootEnv): Promise<void> {
    const stored = await readBootEnv(this.#disk, this.#directory);
    const env = stored ?? (await this.bootFlags());
    const changed = change(env);
    if (stored !== undefined && JSON.stringify(changed) === JSON.stringify({ order: env.order, trial: env.trial }))
      return;
    await writeBootEnv(this.#disk, this.#directory, changed);
  }
}
