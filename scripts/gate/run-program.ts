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

const HANG_MS = 10 * 60_000;
const OUTPUT_CAP_CHARACTERS = 4 * 1024 * 1024;

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
      endGroup(child.pid);
    }, settings.hangMs ?? HANG_MS);
    const endWithUs = (): void => endGroup(child.pid);
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
    child.once('close', finish);
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself in the meantime.
  }
}

/** Runs a JavaScript program of node_modules, or a TypeScript file of ours, under this very Node. */
export function runNode(options: readonly string[], settings: ProgramOptions = {}): Promise<ProgramRun> {
  return runProgram(process.execPath, options, settings);
}
