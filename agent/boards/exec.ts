/**
 * A maker's own executable, for slots that something else laid out. One verb a call, JSON in and out; docs/BOARDS.md is
 * the protocol, examples/boards/ has two such executables.
 *
 * Invariants: what it says is decoded strictly; the booted slot is refused here, before it is asked; each change is read
 * back, so that an executable that forgets is found out before an image is written or a trial is owed.
 * May not: guess. An answer that is not understood is a Fault, and the update waits.
 */
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import type { Board, BootFacts, BootFlags, Slot } from '../core/ports.ts';
import { boardFault, type RunProgram, runProgram } from './board-program.ts';
import { imagePathIn, readBootId, refuseBooted, type SlotPaths } from './machine.ts';

export interface ExecSettings {
  readonly slots: SlotPaths;
  readonly executable: string;
  readonly trialAttempts: number;
  /** For each call. */
  readonly deadlineMs: number;
  readonly procDirectory: string;
}

/** Version of the protocol, in every request. */
const PROTOCOL = 1;

const SlotName = v.picklist(['a', 'b']);
const Facts = v.strictObject({ slot: SlotName, trial: v.boolean() });
const Flags = v.strictObject({
  order: v.pipe(
    v.array(SlotName),
    v.minLength(1),
    v.maxLength(2),
    v.check((order) => new Set(order).size === order.length),
  ),
  trial: v.nullable(
    v.strictObject({
      slot: SlotName,
      attemptsLeft: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(100)),
    }),
  ),
});

export class ExecBoard implements Board {
  readonly kind = 'exec';
  readonly trialAttempts: number;
  readonly #disk: Disk;
  readonly #settings: ExecSettings;
  readonly #run: RunProgram;

  constructor(disk: Disk, settings: ExecSettings, run: RunProgram = runProgram) {
    this.#disk = disk;
    this.#settings = settings;
    this.#run = run;
    this.trialAttempts = settings.trialAttempts;
  }

  async bootFacts(): Promise<BootFacts> {
    const facts = await this.#read('boot-facts', Facts);
    return { bootId: await readBootId(this.#disk, this.#settings.procDirectory), ...facts };
  }

  bootFlags(): Promise<BootFlags> {
    return this.#read('boot-flags', Flags);
  }

  imagePath(slot: Slot, component: string): string {
    return imagePathIn(this.#settings.slots, slot, component);
  }

  async retireSlot(slot: Slot): Promise<void> {
    refuseBooted(slot, (await this.bootFacts()).slot);
    await this.#change('retire-slot', { slot }, ({ order, trial }) => !order.includes(slot) && trial?.slot !== slot);
  }

  async armTrial(slot: Slot): Promise<void> {
    const { trialAttempts: attempts } = this;
    await this.#change(
      'arm-trial',
      { slot, attempts },
      ({ trial }) => trial?.slot === slot && trial.attemptsLeft === attempts,
    );
  }

  async disarmTrial(): Promise<void> {
    await this.#change('disarm-trial', {}, ({ trial }) => trial === null);
  }

  async confirmSlot(slot: Slot): Promise<void> {
    await this.#change('confirm-slot', { slot }, ({ order, trial }) => order[0] === slot && trial === null);
  }

  async requestReboot(): Promise<void> {
    await this.#call('reboot', {});
  }

  /** Nothing is asked for that stands already. */
  async #change(verb: string, facts: Record<string, unknown>, stands: (flags: BootFlags) => boolean): Promise<void> {
    if (stands(await this.bootFlags())) return;
    await this.#call(verb, facts);
    if (!stands(await this.bootFlags())) throw this.#wrong(`after ${verb}, boot-flags does not say that it was done`);
  }

  async #read<T>(verb: string, schema: v.GenericSchema<unknown, T>): Promise<T> {
    const answer = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), await this.#call(verb, {}));
    if (answer.success) return answer.output;
    throw this.#wrong(`its answer to ${verb} is not of the protocol: ${answer.issues[0].message}`);
  }

  async #call(verb: string, facts: Record<string, unknown>): Promise<string> {
    const { executable, deadlineMs } = this.#settings;
    const input = `${JSON.stringify({ protocol: PROTOCOL, ...facts })}\n`;
    const { status, stdout, said } = await this.#run(executable, [verb], { input, deadlineMs });
    if (status === 0) return stdout;
    throw this.#wrong(`it failed at ${verb}: ${said}`);
  }

  #wrong(what: string) {
    const cure = 'Call it by hand with the same verb, and correct it; docs/BOARDS.md has the protocol.';
    return boardFault(
      'board-program-failed',
      `the board's executable cannot be relied on: ${what}`.slice(0, 400),
      this.#settings.executable,
      cure,
    );
  }
}
