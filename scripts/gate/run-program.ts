/**
 * Starts a program of the gate and collects what it prints. A program that hangs is ended with everything it started;
 * nothing else is ever ended.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface ProgramRun {
  /** Exit status; null when the guard ended it or a signal did. */
  readonly status: number | null;
  /** Standard output and standard error, in the order they came. */
  readonly output: string;
  readonly standardOutput: string;
  readonly hung: boolean;
}

export interface ProgramOptions {
  readonly directory?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** A guard against a hang, not an expectation. */
  readonly hangMs?: number;
  readonly onLine?: (line: string) => void;
}

const HANG_MS = 15 * 60_000;
/** How long a group may take to end after SIGTERM. */
const PATIENCE_MS = 10_000;
const POLL_MS = 50;
const OUTPUT_CAP_CHARACTERS = 4 * 1024 * 1024;

/** Ends what runs when this process is told to end: groups of their own hear nothing of a Ctrl-C. */
export function endWithSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));
}

/** Runs to the end; never throws for a program that fails. */
export function runProgram(
  program: string,
  options: readonly string[],
  settings: ProgramOptions = {},
): Promise<ProgramRun> {
  return new Promise((resolve) => {
    const child = spawn(program, options, {
      cwd: settings.directory ?? ROOT,
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', ...settings.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own, so that the guard reaches grandchildren too.
      detached: true,
    });
    let output = '';
    let standardOutput = '';
    let rest = '';
    let hung = false;
    const guard = setTimeout(() => {
      hung = true;
      void endGroup(child.pid);
    }, settings.hangMs ?? HANG_MS);
    const endWithUs = (): void => void signalGroup(child.pid, 'SIGTERM');
    process.once('exit', endWithUs);
    const take = (chunk: string): void => {
      output = (output + chunk).slice(-OUTPUT_CAP_CHARACTERS);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) settings.onLine?.(line);
    };
    const finish = (status: number | null): void => {
      clearTimeout(guard);
      process.removeListener('exit', endWithUs);
      if (rest !== '') settings.onLine?.(rest);
      resolve({ status, output, standardOutput, hung });
    };
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      standardOutput += chunk;
      take(chunk);
    });
    child.stderr.setEncoding('utf8').on('data', take);
    child.once('error', (error) => {
      output += `${error.message}\n`;
      finish(null);
    });
    // What it started in the background and left behind ends with it; only then are its pipes closed.
    child.once('exit', () => void endGroup(child.pid));
    child.once('close', finish);
  });
}

/** SIGTERM first: an emulator that is killed outright leaves its devices running. Resolves when the group is gone, or killed. */
async function endGroup(pid: number | undefined): Promise<void> {
  for (let waitedMs = 0; signalGroup(pid, waitedMs === 0 ? 'SIGTERM' : 0); waitedMs += POLL_MS) {
    if (waitedMs >= PATIENCE_MS) {
      signalGroup(pid, 'SIGKILL');
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** False when no process of the group is left. */
function signalGroup(pid: number | undefined, signal: NodeJS.Signals | 0): boolean {
  if (pid === undefined) return false;
  try {
    return process.kill(-pid, signal);
  } catch {
    return false;
  }
}

/** Runs a JavaScript program of node_modules, or a TypeScript file of ours, under this very Node. */
export function runNode(options: readonly string[], settings: ProgramOptions = {}): Promise<ProgramRun> {
  return runProgram(process.execPath, options, settings);
}
