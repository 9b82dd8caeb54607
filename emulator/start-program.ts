/** Starts one program of an emulated device: its output goes to the console, its number into a file while it runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';

/** Program and arguments. */
export type Command = readonly [file: string, ...args: string[]];

export interface ProgramPlace {
  readonly workingDirectory: string;
  /** The whole of it. */
  readonly env: Readonly<Record<string, string>>;
  /** Holds the process id while the program runs. */
  readonly pidFile: string;
  /** Its output is appended to this file. */
  readonly consoleFile: string;
}

/** `ended`: called once, with how; also when it cannot be started. */
export function startProgram(
  [file, ...args]: Command,
  { workingDirectory, env, pidFile, consoleFile }: ProgramPlace,
  ended: (how: { readonly status: number | null; readonly text: string }) => void,
): ChildProcess {
  const output = openSync(consoleFile, 'a', 0o600);
  const child = spawn(file, args, { cwd: workingDirectory, env: { ...env }, stdio: ['ignore', output, output] });
  closeSync(output);
  if (child.pid !== undefined) writeFileSync(pidFile, `${child.pid}\n`);
  const end = (status: number | null, text: string): void => {
    rmSync(pidFile, { force: true });
    ended({ status, text });
  };
  child.once('error', (error) => {
    if (child.pid === undefined) end(null, `cannot start: ${error.message}`);
  });
  child.once('exit', (status, signal) => end(status, signal ?? `status ${status ?? 0}`));
  return child;
}

/** Ends the program at once, as a power cut does; resolves when it is gone. */
export async function killProgram(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGKILL');
  await gone;
}
