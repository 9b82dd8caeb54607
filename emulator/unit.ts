/**
 * One supervised program of an emulated device, as a systemd unit with `Restart=always` would have it: started again
 * half a second after it ends, given up after five starts within twenty seconds.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const RESTART_PAUSE_MS = 500;
const STARTS_MAX = 5;
const STARTS_WINDOW_MS = 20_000;

export interface UnitDescription {
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly [string, ...string[]];
  readonly workingDirectory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Holds the process id while the program runs. */
  readonly pidFile: string;
  /** Its output is appended to this file. */
  readonly consoleFile: string;
  /** One line for the console. */
  readonly say: (line: string) => void;
  /** Asked when the program has ended; false leaves it stopped. */
  readonly restartWanted: () => boolean;
  readonly onGivenUp: () => void;
}

export class Unit {
  readonly #is: UnitDescription;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #startsMs: number[] = [];
  #stopped = false;

  constructor(description: UnitDescription) {
    this.#is = description;
  }

  start(): void {
    const nowMs = performance.now();
    this.#startsMs = [...this.#startsMs.filter((startMs) => nowMs - startMs < STARTS_WINDOW_MS), nowMs];
    const { name, command, workingDirectory, env, pidFile, consoleFile, say } = this.#is;
    const [file, ...args] = command;
    const output = openSync(consoleFile, 'a', 0o600);
    const child = spawn(file, args, { cwd: workingDirectory, env: { ...env }, stdio: ['ignore', output, output] });
    closeSync(output);
    this.#child = child;
    if (child.pid !== undefined) writeFileSync(pidFile, `${child.pid}\n`);
    child.once('error', (error) => say(`${name} cannot start: ${error.message}`));
    child.once('exit', (code, signal) => this.#ended(signal ?? `status ${code ?? 0}`));
  }

  /** Ends the program at once, as a power cut does; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }

  #ended(how: string): void {
    const { name, pidFile, say, restartWanted, onGivenUp } = this.#is;
    this.#child = undefined;
    rmSync(pidFile, { force: true });
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
