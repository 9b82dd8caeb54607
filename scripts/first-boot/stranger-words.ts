/** What is said to the stranger at the other end of the wire, and by it; and the handle on its process. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export interface Door {
  readonly host: string;
  readonly port: number;
}

/**
 * `banner`: spoke first. `accepted`: took the connection. `refused`: said that nobody is there. `silent`: nothing came.
 * `unreachable`: no way there, said by the stranger's own kernel.
 */
export type Answer = 'banner' | 'accepted' | 'refused' | 'silent' | 'unreachable';

export interface StrangerAnswers {
  readonly tcp: readonly Answer[];
  readonly udp: readonly Answer[];
  /** Connections that the device has made to the server so far. */
  readonly calls: number;
}

export class Stranger {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout });
  }

  static async start(namespace: string): Promise<Stranger> {
    const program = [process.execPath, join(import.meta.dirname, 'stranger.ts')];
    const child = spawn('ip', ['netns', 'exec', namespace, ...program], { stdio: ['pipe', 'pipe', 'inherit'] });
    const stranger = new Stranger(child);
    await stranger.#line();
    return stranger;
  }

  async tries(tcp: readonly Door[], udp: readonly Door[]): Promise<StrangerAnswers> {
    this.#child.stdin.write(`${JSON.stringify({ tcp, udp })}\n`);
    return JSON.parse(await this.#line()) as StrangerAnswers;
  }

  async #line(): Promise<string> {
    const [line] = await Promise.race([
      once(this.#lines, 'line') as Promise<[string]>,
      once(this.#child, 'exit').then(() => Promise.reject(new Error('the stranger ended'))),
    ]);
    return line;
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin.end();
    await ended;
  }
}
