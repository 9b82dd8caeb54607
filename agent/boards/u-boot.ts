/**
 * U-Boot, through libubootenv's fw_printenv and fw_setenv. The other half is u-boot/boot.cmd, the boot script: it reads
 * BOOT_ORDER, counts BOOT_x_LEFT down while a trial is pending (and writes at no other time), and says on the kernel's
 * command line which slot it booted, whether on trial, and which canary it read.
 *
 * Invariants: every change is one call of fw_setenv, which writes the older of two checksummed copies, so that a cut
 * leaves old or new; each write is read back. A confirmed slot has no try count. The slot marked good outside the
 * environment is never the one being written: it is set before a slot is retired, and after one is confirmed.
 * No slot is retired or armed before the canary proved that bootloader and userspace see the same environment.
 * May not: write an environment without U-Boot's own defaults in it; it would have no bootcmd.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import type { Board, BootFacts, BootFlags, Slot } from '../core/ports.ts';
import { boardFault, mustSucceed, type RunProgram, runProgram } from './board-program.ts';
import {
  bootedSlotUnknown,
  imagePathIn,
  isSlot,
  readBootId,
  readCapped,
  readText,
  reboot,
  rewriteInPlace,
  SLOTS,
  type SlotPaths,
  withConfirmed,
  withoutSlot,
} from './machine.ts';

export interface UBootSettings {
  readonly slots: SlotPaths;
  /** fw_env.config(5), naming two redundant copies. */
  readonly environmentConfig: string;
  /** U-Boot's built-in environment as text: what a damaged one is made anew from. */
  readonly defaultEnvironment: string;
  /** The slot marked good outside the environment: `holdfast_good=a`, read by the boot script. */
  readonly goodSlotFile: string;
  readonly procDirectory: string;
}

type Variables = ReadonlyMap<string, string>;

const CANARY = 'holdfast_canary';
const DEFAULTS_CAP_BYTES = 256 * 1024;
/** Given as default environment when reading, so that a damaged one is seen as damaged. */
const NO_DEFAULTS = '/nonexistent';

const leftName = (slot: Slot): string => `BOOT_${slot.toUpperCase()}_LEFT`;

export class UBootBoard implements Board {
  readonly kind = 'u-boot';
  readonly trialAttempts = 3;
  readonly #disk: Disk;
  readonly #settings: UBootSettings;
  readonly #run: RunProgram;

  constructor(disk: Disk, settings: UBootSettings, run: RunProgram = runProgram) {
    this.#disk = disk;
    this.#settings = settings;
    this.#run = run;
  }

  async bootFacts(): Promise<BootFacts> {
    const { procDirectory } = this.#settings;
    const slot = await this.#argument('slot');
    if (!isSlot(slot)) {
      throw bootedSlotUnknown(
        'the boot script has not said which slot it booted',
        `${procDirectory}/cmdline, holdfast.slot`,
        'Boot through the boot script that comes with Holdfast (docs/BOARDS.md).',
      );
    }
    const trial = (await this.#argument('trial')) === '1';
    return { bootId: await readBootId(this.#disk, procDirectory), slot, trial };
  }

  /** With both copies damaged: what stands outside them, else what runs. */
  async bootFlags(): Promise<BootFlags> {
    return this.#flagsOf(await this.readEnvironment());
  }

  imagePath(slot: Slot, component: string): string {
    return imagePathIn(this.#settings.slots, slot, component);
  }

  async retireSlot(slot: Slot): Promise<void> {
    const { slot: booted } = await this.bootFacts();
    await this.#change(
      (flags) => withoutSlot(flags, slot, booted),
      async ({ order }) => {
        await this.#proveShared();
        await this.#markGood(order[0] ?? booted);
      },
    );
  }

  armTrial(slot: Slot): Promise<void> {
    const trial = { slot, attemptsLeft: this.trialAttempts };
    return this.#change(
      ({ order }) => ({ order, trial }),
      () => this.#proveShared(),
    );
  }

  disarmTrial(): Promise<void> {
    return this.#change(({ order }) => ({ order, trial: null }));
  }

  async confirmSlot(slot: Slot): Promise<void> {
    await this.#change((flags) => withConfirmed(flags, slot));
    await this.#markGood(slot);
  }

  requestReboot(): Promise<void> {
    return reboot(this.#run);
  }

  /** Every variable; undefined when neither copy checks out. Throws a Fault when the tools or their configuration fail. */
  async readEnvironment(): Promise<Variables | undefined> {
    const end = await this.#run('fw_printenv', ['-c', this.#settings.environmentConfig, '-f', NO_DEFAULTS]);
    if (end.status !== 0 && /cannot read environment/i.test(end.said)) return undefined;
    const lines = mustSucceed('fw_printenv', end).split('\n');
    return new Map(lines.filter((line) => line.includes('=')).map(splitLine));
  }

  /** The canary as userspace reads it, and as the bootloader read it at this boot. Empty: there is none. */
  async canaries(): Promise<{ readonly here: string; readonly bootloader: string }> {
    const here = (await this.readEnvironment())?.get(CANARY) ?? '';
    return { here, bootloader: (await this.#argument('canary')) ?? '' };
  }

  /** A fresh canary, which the bootloader can only know after the next boot. */
  setCanary(): Promise<void> {
    return this.#write(new Map([[CANARY, randomBytes(8).toString('hex')]]));
  }

  async #proveShared(): Promise<void> {
    const { here, bootloader } = await this.canaries();
    if (here !== '' && here === bootloader) return;
    throw boardFault(
      'boot-environment-unproven',
      `the boot environment that userspace reads (canary ${here || 'none'}) is not shown to be the bootloader's (${bootloader || 'none'})`,
      this.#settings.environmentConfig,
      here === ''
        ? `Run holdfast-agent doctor --self-test, which sets ${CANARY}, and reboot once.`
        : 'Reboot once; if it stays, correct fw_env.config until it names the copies that U-Boot uses.',
    );
  }

  async #flagsOf(env: Variables | undefined): Promise<BootFlags> {
    const order = (env?.get('BOOT_ORDER') ?? '').split(' ').filter(isSlot);
    const slot = SLOTS.find((one) => env?.has(leftName(one)));
    const attemptsLeft = slot === undefined ? 0 : Number(env?.get(leftName(slot)));
    // A count that the boot script does not know, or that it cannot save, is no attempt to it either.
    const unsaved = (await this.#argument('trial')) === 'unsaved';
    const known = [1, 2, 3].includes(attemptsLeft) && !unsaved ? attemptsLeft : 0;
    return {
      order: order.length > 0 ? [...new Set(order)] : [(await this.#goodSlot()) ?? (await this.bootFacts()).slot],
      trial: slot === undefined ? null : { slot, attemptsLeft: known },
    };
  }

  /** `before` runs when something is to be written, before it is. */
  async #change(
    change: (flags: BootFlags) => BootFlags,
    before?: (changed: BootFlags) => Promise<void>,
  ): Promise<void> {
    let env = await this.readEnvironment();
    if (env === undefined) {
      await this.#restore();
      env = await this.readEnvironment();
    }
    const changed = change(await this.#flagsOf(env));
    await before?.(changed);
    const wanted = variablesOf(changed);
    if ([...wanted].every(([name, value]) => (env?.get(name) ?? '') === value)) return;
    await this.#write(wanted);
  }

  /** Neither copy checks out: U-Boot's defaults, what is known of the slots, and a canary that is not proven yet. */
  async #restore(): Promise<void> {
    const { defaultEnvironment } = this.#settings;
    const bytes = await readCapped(this.#disk, defaultEnvironment, DEFAULTS_CAP_BYTES);
    if (!(bytes instanceof Uint8Array) || !/^bootcmd=/m.test(new TextDecoder().decode(bytes))) {
      throw boardFault(
        'boot-environment-damaged',
        'neither copy of the boot environment checks out, and there are no defaults to make it anew from',
        defaultEnvironment,
        "Put U-Boot's built-in environment there (u-boot-initial-env of its build); it must hold bootcmd.",
      );
    }
    const flags = await this.#flagsOf(undefined);
    await this.#write(new Map([...variablesOf(flags), [CANARY, randomBytes(8).toString('hex')]]));
  }

  /** One call, then read back. An empty value removes the variable. */
  async #write(variables: Variables): Promise<void> {
    const { environmentConfig, defaultEnvironment } = this.#settings;
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-fw-'));
    try {
      const script = join(folder, 'script');
      await writeFile(script, [...variables].map(([name, value]) => `${name}=${value}\n`).join(''), { mode: 0o600 });
      mustSucceed(
        'fw_setenv',
        await this.#run('fw_setenv', ['-c', environmentConfig, '-f', defaultEnvironment, '-s', script]),
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    const env = await this.readEnvironment();
    if ([...variables].every(([name, value]) => (env?.get(name) ?? '') === value)) return;
    throw boardFault(
      'boot-environment-damaged',
      'the boot environment does not read back as it was written',
      environmentConfig,
      'Check the medium; holdfast-agent doctor tells which copy is damaged.',
    );
  }

  async #goodSlot(): Promise<Slot | undefined> {
    const bytes = await readCapped(this.#disk, this.#settings.goodSlotFile, 64);
    const slot =
      bytes instanceof Uint8Array ? /^holdfast_good=([ab])\n/.exec(new TextDecoder().decode(bytes))?.[1] : '';
    return isSlot(slot) ? slot : undefined;
  }

  async #markGood(slot: Slot): Promise<void> {
    const { goodSlotFile } = this.#settings;
    const standing = await this.#goodSlot();
    if (standing === slot) return;
    const bytes = new TextEncoder().encode(`holdfast_good=${slot}\n`);
    if (standing === undefined) await writeDurably(this.#disk, goodSlotFile, bytes);
    else await rewriteInPlace(this.#disk, goodSlotFile, bytes);
  }

  /** `holdfast.NAME=` of the kernel's command line. */
  async #argument(name: string): Promise<string | undefined> {
    const words = (await readText(this.#disk, `${this.#settings.procDirectory}/cmdline`)).split(/\s+/);
    const prefix = `holdfast.${name}=`;
    return words.findLast((word) => word.startsWith(prefix))?.slice(prefix.length);
  }
}

function splitLine(line: string): [string, string] {
  const at = line.indexOf('=');
  return [line.slice(0, at), line.slice(at + 1)];
}

function variablesOf({ order, trial }: BootFlags): Variables {
  const left = SLOTS.map((slot) => [leftName(slot), trial?.slot === slot ? String(trial.attemptsLeft) : ''] as const);
  return new Map([['BOOT_ORDER', order.join(' ')], ...left]);
}
