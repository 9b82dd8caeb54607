/** Somebody who types at a serial line of the device: getty, login(1), and a shell if they let him in. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { stripVTControlCharacters } from 'node:util';
import { askUntil } from '../../demo/patience.ts';
import type { Login } from './stranger-logins.ts';

const CONNECT_LIMIT_MS = 60_000;
/** login(1) takes three seconds over each refusal, and getty starts anew after five. */
const ANSWER_LIMIT_MS = 90_000;
/** Then Enter is pressed again. */
const PATIENCE_MS = 15_000;
const NAME_ASKED = /login: $/;
const PASSWORD_ASKED = /Password: $/;
const REFUSED = /Login incorrect/;
const SHELL = /[#$] $/;
const TEXT_CAP = 64 * 1024;

export class ConsoleLogin {
  readonly #socket: Socket;
  #text = '';
  #heard = (): void => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.#text = (this.#text + stripVTControlCharacters(text)).slice(-TEXT_CAP);
      this.#heard();
    });
    // The power may go at any moment; whoever waits for an answer is told then.
    socket.on('error', () => undefined);
  }

  /** The emulator makes its end of the socket some time after it was started. */
  static async at(path: string): Promise<ConsoleLogin> {
    const socket = await askUntil(CONNECT_LIMIT_MS, 100, () => connected(path));
    if (socket === undefined) throw new Error(`nobody made a serial line at ${path}`);
    return new ConsoleLogin(socket);
  }

  /** `accepted`, and logged out again; `refused`, in login's own words; or what else was there to read. */
  async tries(login: Login): Promise<string> {
    const said = await this.#enters(login);
    if (said === 'accepted') this.#socket.write('exit\r');
    return said;
  }

  /** Logged in as this, types a line. What becomes of it is not waited for. Throws when it is not let in. */
  async types(login: Login, line: string): Promise<void> {
    const said = await this.#enters(login);
    if (said !== 'accepted') throw new Error(`the console does not let ${login.user} in: ${said}`);
    this.#socket.write(`${line}\r`);
  }

  end(): void {
    this.#socket.destroy();
  }

  async #enters({ user, password }: Login): Promise<string> {
    if (!(await this.#comesToPrompt())) return this.#unclear();
    if (!(await this.#says(`${user}\r`, PASSWORD_ASKED))) return this.#unclear();
    if (!(await this.#says(`${password}\r`, REFUSED, SHELL))) return this.#unclear();
    return REFUSED.test(this.#text) ? 'refused' : 'accepted';
  }

  async #comesToPrompt(): Promise<boolean> {
    const untilMs = performance.now() + ANSWER_LIMIT_MS;
    // login(1) asks again by itself after a refusal.
    if (await this.#hears(REFUSED.test(this.#text) ? PATIENCE_MS : 0, NAME_ASKED)) return true;
    while (performance.now() < untilMs) {
      if (await this.#says('\r', NAME_ASKED, PATIENCE_MS)) return true;
    }
    return false;
  }

  async #says(typed: string, ...awaited: readonly (RegExp | number)[]): Promise<boolean> {
    this.#text = '';
    this.#socket.write(typed);
    const limitMs = awaited.find((one) => typeof one === 'number') ?? ANSWER_LIMIT_MS;
    return this.#hears(limitMs, ...awaited.filter((one) => typeof one !== 'number'));
  }

  async #hears(limitMs: number, ...awaited: readonly RegExp[]): Promise<boolean> {
    const untilMs = performance.now() + limitMs;
    for (;;) {
      if (awaited.some((pattern) => pattern.test(this.#text))) return true;
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0 || this.#socket.destroyed) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Without what was typed: passwords are not echoed. */
  #unclear(): string {
    return `the line says ${JSON.stringify(this.#text.slice(-80))}`;
  }
}

async function connected(path: string): Promise<Socket | undefined> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return undefined;
  }
}
