/** A guest's serial console: kept in a file, read line by line, waited for. */
import { createWriteStream, type WriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';

export interface SerialLine {
  /** Since power on. */
  readonly atMs: number;
  readonly text: string;
}

/** A guest that prints without end is broken; its log need not fill the disk. */
const LINES_AT_MOST = 200_000;
const LINE_CHARACTERS_AT_MOST = 2000;

export class SerialLog {
  readonly lines: SerialLine[] = [];
  readonly #startedMs = performance.now();
  readonly #file: WriteStream;
  readonly #waiting = new Set<() => void>();
  readonly #onLine: (line: SerialLine) => void;
  #rest = '';
  #ended = false;
  /** Lines before this one were taken by an earlier wait. */
  #taken = 0;

  constructor(source: Readable, path: string, onLine: (line: SerialLine) => void) {
    this.#onLine = onLine;
    this.#file = createWriteStream(path, { flags: 'a' });
    source.setEncoding('utf8');
    source.on('data', (text: string) => this.#take(text));
    source.once('close', () => this.#end());
  }

  get sinceStartMs(): number {
    return performance.now() - this.#startedMs;
  }

  /**
   * The first line from the last one taken on that matches, and everything before it is taken too. Undefined when the
   * limit has passed, or the machine is off.
   */
  async waitFor(pattern: RegExp, limitMs: number): Promise<RegExpExecArray | undefined> {
    const untilMs = performance.now() + limitMs;
    for (;;) {
      for (; this.#taken < this.lines.length; this.#taken += 1) {
        const found = pattern.exec(this.lines[this.#taken]?.text ?? '');
        if (found === null) continue;
        this.#taken += 1;
        return found;
      }
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0 || this.#ended) return undefined;
      await this.#news(leftMs);
    }
  }

  /** The last lines, for a message. */
  tail(count: number): string[] {
    return this.lines.slice(-count).map(({ text }) => text);
  }

  #news(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, limitMs);
      this.#waiting.add(wake);
    });
  }

  #take(text: string): void {
    this.#file.write(text);
    const parts = (this.#rest + text).split(/\r*\n/);
    this.#rest = (parts.pop() ?? '').slice(-LINE_CHARACTERS_AT_MOST);
    const atMs = Math.round(this.sinceStartMs);
    for (const part of parts) {
      if (this.lines.length >= LINES_AT_MOST) break;
      const line = { atMs, text: plainLine(part) };
      this.lines.push(line);
      this.#onLine(line);
    }
    for (const wake of [...this.#waiting]) wake();
  }

  #end(): void {
    this.#ended = true;
    this.#file.end();
    for (const wake of [...this.#waiting]) wake();
  }
}

/** Without what only a terminal understands, which U-Boot prints a lot of. */
export function plainLine(text: string): string {
  return stripVTControlCharacters(text)
    .replaceAll(/[^\t -\u{10ffff}]/gu, '')
    .slice(0, LINE_CHARACTERS_AT_MOST);
}
