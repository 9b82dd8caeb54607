/**
 * No slots yet: the agent enrols, polls, rotates and reports, and installs nothing. Everything that would need a slot is a
 * Fault that says so; the engine refuses an offer before it comes to that. A reboot needs none: new secrets come by it.
 */
import type { Disk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { Board, BootFacts, BootFlags } from '../core/ports.ts';
import { type RunProgram, runProgram } from './board-program.ts';
import { readBootId, reboot } from './machine.ts';

export const NO_SLOTS = 'board-has-no-slots';

function noSlots(): Fault {
  return new Fault({
    code: NO_SLOTS,
    what: 'this device has no slots to install to',
    cure: 'Choose a board adapter in agent.json (board.kind) once the image has A/B slots.',
    exitStatus: EXIT.environment,
  });
}

export class NoBoard implements Board {
  readonly kind = 'none';
  readonly trialAttempts = 0;
  readonly #disk: Disk;
  readonly #run: RunProgram;

  constructor(disk: Disk, run: RunProgram = runProgram) {
    this.#disk = disk;
    this.#run = run;
  }

  /** The slot stands for the only system there is. */
  async bootFacts(): Promise<BootFacts> {
    return { bootId: await readBootId(this.#disk, '/proc'), slot: 'a', trial: false };
  }

  async bootFlags(): Promise<BootFlags> {
    return { order: ['a'], trial: null };
  }

  imagePath(): string {
    throw noSlots();
  }

  async retireSlot(): Promise<void> {
    throw noSlots();
  }

  async armTrial(): Promise<void> {
    throw noSlots();
  }

  async disarmTrial(): Promise<void> {}

  async confirmSlot(): Promise<void> {
    throw noSlots();
  }

  requestReboot(): Promise<void> {
    return reboot(this.#run);
  }
}
