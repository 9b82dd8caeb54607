/**
 * A small bootloader and init for one emulated device. It knows what firmware knows: the boot environment, two slots,
 * and which programs to start; it never looks at the agent's data, and nothing it does depends on what it did before
 * except what stands on disk. So killing it at any point is a power cut, and starting it again is power coming back.
 *
 * One boot: end leftovers → empty run/ → choose a slot (chooseBoot) → write the attempt down → mount → booted.json →
 * the first boot, to its end → start the slot's programs → wait for a reboot request, or for the watchdog.
 *
 * The units are ordered as systemd orders them (agent/systemd/): the first boot before everything else; the agent after
 * it, however it ended, because a repair comes through the agent; the other programs only once this boot is open.
 */
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeDisk } from '../platform/disk.ts';
import { removeDurably, writeDurably } from '../platform/durable-file.ts';
import {
  type BootChoice,
  chooseBoot,
  type EmulatedSlot,
  emulatedPaths,
  encodeBooted,
  FACTORY_BOOT_ENV,
  readBootEnv,
  writeBootEnv,
} from '../platform/emulated-boot-env.ts';
import { Oneshot } from './oneshot.ts';
import type { Command, ProgramPlace } from './start-program.ts';
import { endLeftover, Unit } from './unit.ts';

/** How long a device that asked for a reboot may take to stop by itself. */
const SHUTDOWN_MS = 5000;
const REBOOT_CHECK_MS = 200;
/** A device without any slot that boots resets itself this often. */
const DEAD_BOARD_PAUSE_MS = 5000;
/** A first boot that is blocked is tried again after so long. */
const FIRST_BOOT_RETRY_MS = 2000;
const AGENT = 'agent';

export type Mounted = { readonly ok: true; readonly version: string } | { readonly ok: false; readonly why: string };

/** What the boot loop cannot know: how images are read on this machine, and which programs a booted slot starts. */
export interface EmulatedUserspace {
  /** Puts what the programs need of a slot's images into `rootDirectory`; `workDirectory` is for passing files. */
  mount(slotDirectory: string, rootDirectory: string, workDirectory: string): Promise<Mounted>;
  /** Status 0 opens this boot. Left out: what is mounted has none, and nothing waits for it. */
  firstBoot?(rootDirectory: string, configFile: string): Command;
  /** By name. `agent` must be one of them: it asks for reboots, and the watchdog watches it. */
  programs(rootDirectory: string, configFile: string): Readonly<Record<string, Command>>;
}

export class EmulatedDevice {
  readonly directory: string;
  readonly #userspace: EmulatedUserspace;
  readonly #run: string;
  readonly #root: string;
  readonly #board: ReturnType<typeof emulatedPaths>;
  #powered = true;
  #firstBoot: Oneshot | undefined;
  #units: Unit[] = [];
  #watchdogFired = false;

  constructor(directory: string, userspace: EmulatedUserspace) {
    this.directory = directory;
    this.#userspace = userspace;
    this.#run = join(directory, 'run');
    this.#root = join(this.#run, 'rootfs');
    this.#board = emulatedPaths(directory);
  }

  /** Boots again and again until `powerOff`. Throws only when the device's own folder cannot be used. */
  async powerOn(): Promise<void> {
    while (this.#powered) {
      await this.#clearRun();
      const choice = await this.#chooseSlot();
      const slot = await this.#mountChosen(choice);
      if (slot === undefined) continue;
      await this.#runSlot(slot, choice.trial);
      await this.#stopUnits();
    }
  }

  /** A power cut: everything ends at once. */
  async powerOff(): Promise<void> {
    this.#powered = false;
    await this.#stopUnits();
  }

  readonly #say = (line: string): void => {
    appendFileSync(join(this.#run, 'console.log'), `[boot] ${new Date().toISOString()} ${line}\n`);
  };

  /** run/ is a tmpfs: nothing in it survives. The console is the wire at the other end, so it does. */
  async #clearRun(): Promise<void> {
    await mkdir(this.#run, { recursive: true, mode: 0o700 });
    const names = await readdir(this.#run);
    // Each of them has a path inside this device on its command line.
    for (const name of names) if (name.endsWith('.pid')) endLeftover(join(this.#run, name), `${this.directory}/`);
    for (const name of names) {
      if (name !== 'console.log') await rm(join(this.#run, name), { recursive: true, force: true });
    }
    await removeDurably(nodeDisk, this.#board.rebootRequest);
  }

  async #chooseSlot(): Promise<BootChoice> {
    const env = await readBootEnv(nodeDisk, this.directory);
    if (env === undefined) this.#say('both copies of the boot environment are damaged: factory order');
    const choice = chooseBoot(env ?? FACTORY_BOOT_ENV);
    // Before the slot starts: an attempt that crashes the board must have been counted.
    if (env !== undefined && choice.env !== env) await writeBootEnv(nodeDisk, this.directory, choice.env);
    return choice;
  }

  /** The slot that is mounted; undefined when this boot came to nothing and the board must reset. */
  async #mountChosen(choice: BootChoice): Promise<EmulatedSlot | undefined> {
    const candidates = choice.trial ? [choice.slot] : choice.env.order;
    for (const slot of candidates) {
      const mounted = await this.#userspace.mount(join(this.#board.slots, slot), this.#root, this.#run);
      if (mounted.ok) {
        this.#say(`slot ${slot}${choice.trial ? ' on trial' : ''}: release ${mounted.version}`);
        const facts = { bootId: randomUUID(), slot, trial: choice.trial };
        await writeDurably(nodeDisk, this.#board.booted, encodeBooted(facts));
        return slot;
      }
      this.#say(`slot ${slot}${choice.trial ? ' on trial' : ''} does not boot: ${mounted.why}`);
    }
    if (!choice.trial) await this.#pause(DEAD_BOARD_PAUSE_MS);
    return undefined;
  }

  async #runSlot(slot: EmulatedSlot, trial: boolean): Promise<void> {
    this.#watchdogFired = false;
    const configFile = join(this.directory, 'factory/agent.json');
    const first = this.#userspace.firstBoot?.(this.#root, configFile);
    this.#firstBoot = first === undefined ? undefined : new Oneshot(first, this.#place('firstboot', slot));
    let isOpen = await this.#opens();
    const programs = this.#userspace.programs(this.#root, configFile);
    this.#units = Object.entries(programs).map(([name, command]) => this.#unit(name, slot, trial, command));
    this.#start(({ name }) => name === AGENT || isOpen);
    let retryMs = performance.now() + FIRST_BOOT_RETRY_MS;
    while (this.#runs()) {
      await sleep(REBOOT_CHECK_MS);
      if (isOpen || performance.now() < retryMs || !this.#runs()) continue;
      isOpen = await this.#opens();
      if (isOpen) this.#start(({ name }) => name !== AGENT);
      retryMs = performance.now() + FIRST_BOOT_RETRY_MS;
    }
    if (this.#powered && !this.#watchdogFired) await this.#waitForAgent();
  }

  /** Runs the first boot; true when this boot is open, or has none. */
  async #opens(): Promise<boolean> {
    if (this.#firstBoot === undefined) return true;
    if (!this.#runs()) return false;
    const isOpen = await this.#firstBoot.run();
    if (!isOpen && this.#runs()) this.#say('the first boot did not open: the agent alone may run');
    return isOpen;
  }

  #start(which: (unit: Unit) => boolean): void {
    if (this.#runs()) for (const unit of this.#units.filter(which)) unit.start();
  }

  #runs(): boolean {
    return this.#powered && !this.#watchdogFired && !this.#rebootAsked();
  }

  #unit(name: string, slot: EmulatedSlot, trial: boolean, command: Command): Unit {
    return new Unit({
      ...this.#place(name, slot),
      name,
      command,
      say: this.#say,
      restartWanted: () => this.#powered && !this.#rebootAsked(),
      onGivenUp: () => {
        if (name !== AGENT || !trial) return;
        this.#say('the watchdog resets the board');
        this.#watchdogFired = true;
      },
    });
  }

  #place(name: string, slot: EmulatedSlot): ProgramPlace {
    return {
      workingDirectory: this.#root,
      env: {
        // `node` in the image's scripts is the one that runs here, whatever this machine calls node.
        PATH: [dirname(process.execPath), process.env.PATH ?? '/usr/bin:/bin'].join(delimiter),
        HOLDFAST_DEVICE: this.directory,
        HOLDFAST_RUN: this.#run,
        HOLDFAST_SLOT: slot,
      },
      pidFile: join(this.#run, `${name}.pid`),
      consoleFile: join(this.#run, 'console.log'),
    };
  }

  #rebootAsked(): boolean {
    return existsSync(this.#board.rebootRequest);
  }

  async #waitForAgent(): Promise<void> {
    const untilMs = performance.now() + SHUTDOWN_MS;
    while (existsSync(join(this.#run, 'agent.pid')) && performance.now() < untilMs) await this.#pause(20);
    this.#say('reboot');
  }

  async #stopUnits(): Promise<void> {
    const running = [...this.#units, ...(this.#firstBoot === undefined ? [] : [this.#firstBoot])];
    this.#units = [];
    this.#firstBoot = undefined;
    await Promise.all(running.map((one) => one.stop()));
  }

  async #pause(ms: number): Promise<void> {
    const untilMs = performance.now() + ms;
    while (this.#powered && performance.now() < untilMs) await sleep(Math.min(ms, 100));
  }
}
