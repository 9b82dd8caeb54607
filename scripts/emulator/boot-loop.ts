/**
 * A small bootloader and init for one emulated device. It knows what firmware knows: the boot environment, two slots,
 * and which programs to start; it never looks at the agent's data, and nothing it does depends on what it did before
 * except what stands on disk. So killing it at any point is a power cut, and starting it again is power coming back.
 *
 * One boot: end leftovers → empty run/ → choose a slot (chooseBoot) → write the attempt down → mount → booted.json →
 * start app and agent → wait for a reboot request, or for the watchdog.
 */
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeDisk } from '../../platform/disk.ts';
import { removeDurably, writeDurably } from '../../platform/durable-file.ts';
import {
  type BootChoice,
  chooseBoot,
  type EmulatedSlot,
  emulatedPaths,
  encodeBooted,
  FACTORY_BOOT_ENV,
  readBootEnv,
  writeBootEnv,
} from '../../platform/emulated-boot-env.ts';
import { agentFile, mountSlot } from './mount-slot.ts';
import { endLeftover, Unit } from './unit.ts';

/** How long a device that asked for a reboot may take to stop by itself. */
const SHUTDOWN_MS = 5000;
const REBOOT_CHECK_MS = 200;
/** A device without any slot that boots resets itself this often. */
const DEAD_BOARD_PAUSE_MS = 5000;

export class EmulatedDevice {
  readonly directory: string;
  readonly #run: string;
  readonly #root: string;
  readonly #board: ReturnType<typeof emulatedPaths>;
  #powered = true;
  #units: Unit[] = [];
  #watchdogFired = false;

  constructor(directory: string) {
    this.directory = directory;
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
      await this.#userspace(slot, choice.trial);
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
    for (const name of ['agent', 'app']) endLeftover(join(this.#run, `${name}.pid`), this.#run);
    for (const name of await readdir(this.#run)) {
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
      const mounted = await mountSlot(join(this.#board.slots, slot), this.#root, this.#run);
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

  async #userspace(slot: EmulatedSlot, trial: boolean): Promise<void> {
    this.#watchdogFired = false;
    const config = join(this.directory, 'factory/agent.json');
    this.#units = [
      this.#unit('app', slot, trial, [process.execPath, join(this.#root, 'usr/lib/acme/app.mjs')]),
      this.#unit('agent', slot, trial, [process.execPath, agentFile(this.#root), 'run', '--config', config]),
    ];
    if (!this.#powered) return;
    for (const unit of this.#units) unit.start();
    while (this.#powered && !this.#watchdogFired && !this.#rebootAsked()) await sleep(REBOOT_CHECK_MS);
    if (this.#powered && !this.#watchdogFired) await this.#waitForAgent();
  }

  #unit(name: string, slot: EmulatedSlot, trial: boolean, command: [string, ...string[]]): Unit {
    return new Unit({
      name,
      command,
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
      say: this.#say,
      restartWanted: () => this.#powered && !this.#rebootAsked(),
      onGivenUp: () => {
        if (name !== 'agent' || !trial) return;
        this.#say('the watchdog resets the board');
        this.#watchdogFired = true;
      },
    });
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
    const units = this.#units;
    this.#units = [];
    await Promise.all(units.map((unit) => unit.stop()));
  }

  async #pause(ms: number): Promise<void> {
    const untilMs = performance.now() + ms;
    while (this.#powered && performance.now() < untilMs) await sleep(Math.min(ms, 100));
  }
}
