/**
 * One supervised program of an emulated device, as a systemd unit with `Restart=always` would have it: started again
 * half a second after it ends, given up after five starts within twenty seconds.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type Command, killProgram, type ProgramPlace, startProgram } from './start-program.ts';

const RESTART_PAUSE_MS = 500;
const STARTS_MAX = 5;
const STARTS_WINDOW_MS = 20_000;

export interface UnitDescription extends ProgramPlace {
  readonly name: string;
  readonly command: Command;
  /** One line for the console. */
  readonly say: (line: string) => void;
  /** Asked when the program has ended; false leaves it stopped. */
  readonly restartWanted: () => boolean;
  readonly onGivenUp: () => void;
}

export class Unit {
  readonly name: string;
  readonly #is: UnitDescription;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #startsMs: number[] = [];
  #stopped = false;

  constructor(description: UnitDescription) {
    this.name = description.name;
    this.#is = description;
  }

  start(): void {
    const nowMs = performance.now();
    this.#startsMs = [...this.#startsMs.filter((startMs) => nowMs - startMs < STARTS_WINDOW_MS), nowMs];
    this.#child = startProgram(this.#is.command, this.#is, ({ text }) => this.#ended(text));
  }

  /** Ends the program at once, as a power cut does; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#restart);
    await killProgram(this.#child);
  }

  #ended(how: string): void {
    const { name, say, restartWanted, onGivenUp } = this.#is;
    this.#child = undefined;
    if (this.#stopped) return;
    say(`${name} ended: ${how}`);
    if (!restartWanted()) return;
    const recent = this.#startsMs.filter((startMs) => performance.now() - startMs < STARTS_WINDOW_MS).length;
    if (recent >= STARTS_MAX) {
      say(`${name} is given up after ${recent} starts within ${STARTS_WINDOW_MS / 1000} s`);
      onGivenUp();
      return;
    }
    this.#restart = setTimeout(() => this.start(), RESTART_PAUSE_MS);
  }
}

/**
 * Ends what a boot loop that was itself killed left running. A number alone is not proof: the process must also have
 * `mark` (a path inside this device) on its command line, or it is a stranger that got the same number.
 */
export function endLeftover(pidFile: string, mark: string): void {
  let pid: number;
  try {
    pid = Number(readFileSync(pidFile, 'utf8').trim());
    if (!Number.isSafeInteger(pid) || pid <= 1) return;
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark)) process.kill(pid, 'SIGKILL');
  } catch {
    // No such file or process: nothing is left.
  }
}
