/** QEMU's machine protocol (docs/interop/qmp-spec.rst), over its unix socket: one command, one answer; events are passed by. */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { createInterface, type Interface } from 'node:readline';

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly desc?: string };
}

export class Qmp {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#reader = createInterface({ input: socket });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  static async connect(path: string): Promise<Qmp> {
    const socket = createConnection(path);
    await once(socket, 'connect');
    const qmp = new Qmp(socket);
    await qmp.#lines.next();
    await qmp.command('qmp_capabilities');
    return qmp;
  }

  /** Throws with QEMU's own words when it refuses, or goes away. */
  async command(name: string, words: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: name, arguments: words })}\n`);
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done === true) throw new Error(`QEMU went away during ${name}`);
      const answer: Answer = JSON.parse(value);
      if (answer.error !== undefined) throw new Error(`QEMU refuses ${name}: ${answer.error.desc ?? value}`);
      if ('return' in answer) return answer.return;
    }
  }

  /** A command of the human monitor; it has no errors but words. Throws when it says any. */
  async monitor(line: string): Promise<void> {
    const said = await this.command('human-monitor-command', { 'command-line': line });
    if (typeof said === 'string' && said.trim() !== '') throw new Error(`QEMU says to ${line}: ${said.trim()}`);
  }

  close(): void {
    this.#reader.close();
    this.#socket.destroy();
  }
}
