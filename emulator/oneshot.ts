/** A program of an emulated device that runs to its end, as a systemd unit of `Type=oneshot`: it succeeds by status 0. */
import type { ChildProcess } from 'node:child_process';
import { type Command, killProgram, type ProgramPlace, startProgram } from './start-program.ts';

export class Oneshot {
  readonly #command: Command;
  readonly #place: ProgramPlace;
  #child: ChildProcess | undefined;
  #stopped = false;

  constructor(command: Command, place: ProgramPlace) {
    this.#command = command;
    this.#place = place;
  }

  /** To its end; false unless it succeeded, also when it was stopped. Not while it runs already. */
  run(): Promise<boolean> {
    if (this.#stopped) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#child = startProgram(this.#command, this.#place, ({ status }) => resolve(status === 0 && !this.#stopped));
    });
  }

  /** Ends it at once, and for good. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await killProgram(this.#child);
  }
}
