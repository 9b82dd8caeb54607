/**
 * Long-running programs of a run: started, watched, killed on purpose, and all of them ended when the run ends.
 *
 * Invariant: nothing is ended that this run did not start, and only by the handle of its own child.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { EXIT, Fault } from './fault.ts';

/** How long a program may take to end after SIGTERM before it is killed. */
const STOP_PATIENCE_MS = 10_000;

export interface ProcessRequest {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  /** stderr is appended here. */
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class Process {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  readonly #ended: Promise<void>;
  #stdout = '';
  #wanted = true;

  constructor(request: ProcessRequest) {
    this.name = request.name;
    this.#logFile = request.logFile;
    const log = openSync(request.logFile, 'a', 0o600);
    const env = { ...process.env, ...request.env };
    this.#child = spawn(request.file, request.args, { stdio: ['ignore', 'pipe', log], env });
    closeSync(log);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#stdout.length < 1024 * 1024) this.#stdout += text;
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.once('error', () => resolve());
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** True when it ended and nobody here asked it to. */
  get endedByItself(): boolean {
    return this.#wanted && !this.running;
  }

  /** The first whole line of stdout, as JSON. A Fault when the program ends before it has said anything. */
  async firstLine(): Promise<unknown> {
    while (!this.#stdout.includes('\n')) {
      if (!this.running) throw this.#endedEarly();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return JSON.parse(this.#stdout.slice(0, this.#stdout.indexOf('\n')));
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#wanted = false;
    this.signal('SIGKILL');
    if (this.#child.pid !== undefined) await this.#ended;
  }

  /** SIGTERM, and SIGKILL for a program that does not listen. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.#wanted = false;
    this.signal('SIGTERM');
    const patience = setTimeout(() => this.signal('SIGKILL'), STOP_PATIENCE_MS);
    if (this.#child.pid !== undefined) await this.#ended;
    clearTimeout(patience);
  }

  #endedEarly(): Fault {
    const said = readFileSync(this.#logFile, 'utf8').trim().split('\n').slice(-4).join('\n    ');
    return new Fault({
      code: 'program-ended',
      what: `${this.name} ended before it was ready: ${said === '' ? 'it said nothing' : said}`,
      where: this.#logFile,
      cure: 'Read its log; start the printed command by hand.',
      exitStatus: EXIT.environment,
    });
  }
}

/** Every program of one run. */
export class ProcessGroup {
  readonly #all: Process[] = [];

  start(request: ProcessRequest): Process {
    const started = new Process(request);
    this.#all.push(started);
    return started;
  }

  /** Those that ended although nobody asked: a reason for a run to fail. */
  get endedByThemselves(): readonly Process[] {
    return this.#all.filter((one) => one.endedByItself);
  }

  /** Last started, first ended. */
  async stopAll(): Promise<void> {
    for (const one of this.#all.toReversed()) await one.stop();
  }
}
