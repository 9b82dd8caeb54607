/**
 * One executable of the image's (a health check, a hook), run once. Exit status 0 is healthy; anything else, a signal, or the
 * deadline is not. It runs in a process group of its own, and the whole group is killed when it is done: a check must
 * not leave anything behind, nor outlive its deadline through a child.
 */
import { spawn } from 'node:child_process';
import { errorText } from '../../platform/fault.ts';

/** More output is thrown away as it comes. */
const OUTPUT_CAP_BYTES = 4096;
export const DETAIL_CAP_CHARACTERS = 512;

export interface CheckSettings {
  readonly deadlineMs: number;
  readonly workingDirectory: string;
  /** Added to a PATH and nothing else: checks do not inherit the agent's environment. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface CheckOutcome {
  readonly healthy: boolean;
  /** Exit status; null when a signal or the deadline ended it, or it did not start. */
  readonly status: number | null;
  /** What it printed last, one line. */
  readonly detail: string;
}

export function runExecutableCheck(path: string, settings: CheckSettings): Promise<CheckOutcome> {
  return new Promise((resolve) => {
    const child = spawn(path, [], {
      cwd: settings.workingDirectory,
      env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', ...settings.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const output = new CappedOutput();
    child.stdout.on('data', (chunk: Buffer) => output.add(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.add(chunk));
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, settings.deadlineMs);
    let settled = false;
    const settle = (status: number | null, why: string): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      killGroup(child.pid);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ healthy: status === 0, status, detail: (output.lastLine() || why).slice(0, DETAIL_CAP_CHARACTERS) });
    };
    child.once('error', (error) => settle(null, errorText(error)));
    // `exit`, not `close`: a grandchild that holds the pipe open must not delay the verdict.
    child.once('exit', (status, signal) => {
      if (timedOut) return settle(null, `no answer within ${settings.deadlineMs} ms`);
      settle(status, signal === null ? `exit status ${status}` : `ended by ${signal}`);
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The group is gone already.
  }
}

class CappedOutput {
  #text = '';

  add(chunk: Buffer): void {
    this.#text = (this.#text + chunk.toString('utf8')).slice(-OUTPUT_CAP_BYTES);
  }

  lastLine(): string {
    const lines = this.#text.split('\n').map((line) => line.replaceAll(/[^\x20-\x7e\u00a0-\uffff]/g, ' ').trim());
    return lines.findLast((line) => line !== '') ?? '';
  }
}
