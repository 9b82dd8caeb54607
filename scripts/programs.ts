/**
 * Runs another program to its end and keeps what it said. Nothing goes through a shell.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';

/** More output than this of one program is a mistake, not a message. */
const OUTPUT_CAP_BYTES = 16 * 1024 * 1024;

export interface ProgramOptions {
  readonly cwd?: string;
  /** Added to this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called with every piece of stdout as it comes. */
  readonly onStdout?: (text: string) => void;
  readonly onStderr?: (text: string) => void;
  readonly signal?: AbortSignal;
}

export interface ProgramResult {
  /** Exit status; 128 + signal number when a signal ended it, as a shell says it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const running = new Set<ChildProcess>();
let ended = false;

/** Ends every program that `runProgram` started and that still runs; none starts afterwards. Resolves when all are gone. */
export async function endPrograms(): Promise<void> {
  ended = true;
  const gone = [...running].map((child) => new Promise<void>((resolve) => child.once('close', () => resolve())));
  for (const child of running) child.kill('SIGTERM');
  await Promise.all(gone);
}

/** Resolves whatever the exit status is; a program that cannot be started at all is a Fault. */
export function runProgram(
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    if (ended) throw new Error(`${file} is not started: this run was ended`);
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      env: { ...process.env, ...options.env },
    });
    running.add(child);
    const said = { stdout: '', stderr: '' };
    const keep = (name: 'stdout' | 'stderr', tell: ((text: string) => void) | undefined) => (chunk: string) => {
      if (said[name].length < OUTPUT_CAP_BYTES) said[name] += chunk;
      tell?.(chunk);
    };
    child.stdout.setEncoding('utf8').on('data', keep('stdout', options.onStdout));
    child.stderr.setEncoding('utf8').on('data', keep('stderr', options.onStderr));
    // A program that ends before it has read its input breaks the pipe; its exit status says why.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.once('error', (error) => {
      if (child.pid === undefined) running.delete(child);
      reject(startFault(file, error));
    });
    child.once('close', (code, signal) => {
      running.delete(child);
      resolve({ ...said, status: code ?? (signal === 'SIGKILL' ? 137 : 143) });
    });
  });
}

/** As `runProgram`, for programs that must succeed: any other exit status is a Fault that quotes them. */
export async function needProgram(
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const result = await runProgram(file, args, options);
  if (result.status === 0) return result;
  const words = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-3).join(' | ');
  throw new Fault({
    code: 'program-failed',
    what: `${file} ended with status ${result.status}: ${words}`,
    where: [file, ...args].join(' '),
    cure: 'Read its message; run the command by hand to see more.',
    exitStatus: EXIT.environment,
  });
}

function startFault(file: string, error: Error): Error {
  if (systemErrorCode(error) !== 'ENOENT') return error;
  return new Fault({
    code: 'program-missing',
    what: `the program ${file} is not installed`,
    cure: 'sh scripts/setup.sh --images',
    exitStatus: EXIT.environment,
    cause: error,
  });
}
