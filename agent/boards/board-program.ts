/**
 * A program of the machine's (fw_setenv, reboot, a maker's executable), run once: bounded in time and output, in a
 * process group of its own that is killed when it is done, with nothing of the agent's environment but PATH.
 *
 * May not: judge what the program said; the board that called it does.
 */
import { spawn } from 'node:child_process';
import { EXIT, errorText, Fault, systemErrorCode } from '../../platform/fault.ts';

export const OUTPUT_CAP_BYTES = 64 * 1024;
export const PROGRAM_DEADLINE_MS = 30_000;

export interface ProgramEnd {
  /** Exit status; null when a signal or the deadline ended it, or it printed more than OUTPUT_CAP_BYTES. */
  readonly status: number | null;
  readonly stdout: string;
  /** What it said on stderr, one line, at most 300 characters; or how it ended. */
  readonly said: string;
}

export type RunProgram = (
  path: string,
  words: readonly string[],
  given?: {
    readonly input?: string;
    readonly deadlineMs?: number;
    /** Besides PATH. */
    readonly environment?: Readonly<Record<string, string>>;
  },
) => Promise<ProgramEnd>;

/** Throws a Fault (exit 5) when the program cannot be started. */
export const runProgram: RunProgram = (
  path,
  words,
  { input = '', deadlineMs = PROGRAM_DEADLINE_MS, environment } = {},
) =>
  new Promise((resolve, reject) => {
    const child = spawn(path, [...words], {
      env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`, ...environment },
      detached: true,
    });
    const output = { stdout: '', stderr: '' };
    let ended = '';
    const end = (why: string): void => {
      ended ||= why;
      killGroup(child.pid);
      // One that left the group may hold its output open for ever.
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => end(`no answer within ${deadlineMs} ms`), deadlineMs);
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        output[name] += chunk.toString('utf8');
        if (output[name].length > OUTPUT_CAP_BYTES) end(`printed more than ${OUTPUT_CAP_BYTES} bytes`);
      });
    }
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(notStarted(path, error));
    });
    // `exit` ends the group, `close` has read what it printed: a child left behind cannot hold the answer back.
    child.once('exit', () => killGroup(child.pid));
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      const said =
        ended || oneLine(output.stderr) || (signal === null ? `exit status ${status}` : `ended by ${signal}`);
      resolve({ status: ended === '' ? status : null, stdout: output.stdout, said });
    });
    // A program that does not read its input is no error of ours.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });

/** The same for a program that a machine may do without: undefined when it cannot be started. */
export const askProgram = (...asked: Parameters<RunProgram>): Promise<ProgramEnd | undefined> =>
  runProgram(...asked).catch((error: unknown) => {
    if (error instanceof Fault) return undefined;
    throw error;
  });

/** The program ended as it should; otherwise a Fault (exit 5) with what it said. */
export function mustSucceed(path: string, end: ProgramEnd): string {
  if (end.status === 0) return end.stdout;
  throw boardFault(
    'board-program-failed',
    `the board's program failed (${end.said})`,
    path,
    'Run it by hand and cure what it says; holdfast-agent doctor tells what it needs.',
  );
}

export function boardFault(code: string, what: string, where: string, cure: string): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.environment });
}

function notStarted(path: string, error: unknown): Fault {
  const missing = systemErrorCode(error) === 'ENOENT';
  return boardFault(
    missing ? 'board-program-missing' : 'board-program-failed',
    missing
      ? 'a program that the board needs is not installed'
      : `the board's program cannot be started (${errorText(error)})`,
    path,
    'Install it in the image (fw_printenv and fw_setenv: package libubootenv-tool), or correct the path in agent.json.',
  );
}

function oneLine(text: string): string {
  return text
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(-300);
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // The group is gone already.
  }
}
