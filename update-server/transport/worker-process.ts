/**
 * Starts the worker program for one form and waits for its end, watching its memory: above the cap it is killed. It runs
 * with low priority. Whatever happens to it is a value here: the server goes on.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { errorText } from '../../platform/fault.ts';
import type { TransportForm } from '../core/transport-plan.ts';

export interface WorkerRequest {
  readonly form: TransportForm;
  readonly imagePath: string;
  /** For recipes. */
  readonly oldPath?: string;
  readonly outPath: string;
  /** What the encoder may use for comparing, about. */
  readonly memoryBytes: number;
}

export type WorkerMessage =
  | { readonly kind: 'progress'; readonly step: string; readonly done: number; readonly total: number }
  | { readonly kind: 'made' }
  | { readonly kind: 'failed'; readonly what: string };

export type WorkerOutcome = { readonly ok: true } | { readonly ok: false; readonly what: string };

export interface WorkerOptions {
  /** The process is killed above it. */
  readonly memoryCapBytes: number;
  readonly signal: AbortSignal;
  readonly onProgress: (step: string, done: number, total: number) => void;
}

const LOOK_EVERY_MS = 250;
const STDERR_KEPT_CHARACTERS = 2000;
/** The rest is Node itself, and buffers that wait to be collected: docs/DELTA.md, Encoder. */
const COMPARING_SHARE = 0.5;

/** Nothing of the server's environment but where Node keeps compiled code: a worker is started for each form. */
const { NODE_COMPILE_CACHE } = process.env;
const WORKER_ENV = NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE };

/** From the sources the program beside this file; from the server's bundle the bundle beside that (scripts/build.ts). */
const PROGRAM = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './holdfast-transport-worker.mjs', import.meta.url),
);

/** Never rejects. When it returns, the process is gone. */
export async function makeInWorker(
  request: Omit<WorkerRequest, 'memoryBytes'>,
  options: WorkerOptions,
  program = PROGRAM,
): Promise<WorkerOutcome> {
  if (options.signal.aborted) return { ok: false, what: 'the server is ending' };
  const { memoryCapBytes } = options;
  const heapMb = Math.max(64, Math.floor(memoryCapBytes / 2 ** 20));
  const child = fork(program, [], {
    execArgv: [`--max-old-space-size=${heapMb}`],
    env: WORKER_ENV,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const watching = new AbortController();
  let killedFor: string | undefined;
  const kill = (why: string): void => {
    killedFor ??= why;
    child.kill('SIGKILL');
  };
  const onAbort = (): void => kill('the server is ending');
  options.signal.addEventListener('abort', onAbort, { once: true });
  const watched = watchMemory(child, memoryCapBytes, watching.signal, kill);
  try {
    lowerPriority(child);
    const heard = await converse(child, { ...request, memoryBytes: memoryCapBytes * COMPARING_SHARE }, options);
    return killedFor === undefined ? heard : { ok: false, what: killedFor };
  } finally {
    watching.abort();
    options.signal.removeEventListener('abort', onAbort);
    await watched;
  }
}

/** Sends the request, passes progress on, and answers once the process has ended. */
function converse(child: ChildProcess, request: WorkerRequest, options: WorkerOptions): Promise<WorkerOutcome> {
  let heard: WorkerOutcome | undefined;
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-STDERR_KEPT_CHARACTERS);
  });
  child.on('message', (message: WorkerMessage) => {
    if (message.kind === 'progress') return options.onProgress(message.step, message.done, message.total);
    heard = message.kind === 'made' ? { ok: true } : { ok: false, what: message.what };
    // It has nothing left to do but to end, and Node can fail at that for ever: process.exit() waits for a thread that
    // compiles, and that thread for a garbage collection of the one that waits (seen with 24.21).
    child.kill('SIGKILL');
  });
  return new Promise((resolve) => {
    child.once('error', (error) => {
      heard = { ok: false, what: `the worker did not start: ${errorText(error)}` };
      if (child.pid === undefined) resolve(heard);
      else child.kill('SIGKILL');
    });
    child.once('close', (status, signal) => {
      const how = signal === null ? `with status ${status}` : `by ${signal}`;
      const last = complaint.trim().split('\n').slice(-3).join(' ');
      resolve(heard ?? { ok: false, what: `the worker ended ${how}${last === '' ? '' : `: ${last}`}` });
    });
    // One that died at once is heard by `close`.
    child.send(request, () => undefined);
  });
}

function lowerPriority(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // It has ended already, or this system does not do it.
  }
}

/** Linux tells the memory of a process; elsewhere only the heap's own limit holds. */
async function watchMemory(
  child: ChildProcess,
  capBytes: number,
  stop: AbortSignal,
  kill: (why: string) => void,
): Promise<void> {
  while (!stop.aborted && child.pid !== undefined) {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    const residentBytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
    if (residentBytes > capBytes && !stop.aborted) {
      kill(
        `the worker took ${Math.ceil(residentBytes / 2 ** 20)} MiB, more than its ${Math.floor(capBytes / 2 ** 20)}`,
      );
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, LOOK_EVERY_MS);
      function done(): void {
        clearTimeout(timer);
        stop.removeEventListener('abort', done);
        resolve();
      }
      stop.addEventListener('abort', done, { once: true });
    });
  }
}
