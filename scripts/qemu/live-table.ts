/**
 * What a person watching sees: findings as they come, and, on a terminal, a table of the devices below them that is
 * drawn again and again. Elsewhere (a log, a pipe) there are only the lines.
 */
import { renderTable, say, sayResult } from '../demo/terminal.ts';
import type { GuestView } from './guest.ts';
import type { Finding, LabWatcher } from './scenario.ts';

const REDRAW_MS = 250;
const LAST_CHARACTERS = 60;

export class LiveTable implements LabWatcher {
  readonly #everyLine: boolean;
  readonly #stream: NodeJS.WriteStream;
  readonly #views = new Map<string, GuestView>();
  #drawnLines = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `everyLine`: print what devices say on their consoles. */
  constructor(everyLine: boolean, stream: NodeJS.WriteStream = process.stdout) {
    this.#everyLine = everyLine;
    this.#stream = stream;
  }

  finding({ holds, text }: Finding): void {
    this.above(() => sayResult(holds, text));
  }

  line(id: string, text: string): void {
    if (this.#everyLine) this.above(() => say(`${id} | ${text}`));
  }

  changed(view: GuestView): void {
    this.#views.set(view.id, view);
    if (this.#stream.isTTY !== true || this.#everyLine) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#erase();
      this.#draw();
    }, REDRAW_MS);
  }

  /** A scenario has ended: its devices are gone. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#erase();
    this.#views.clear();
  }

  /** Prints something that stays, above the table. */
  above(print: () => void): void {
    const drawn = this.#drawnLines > 0;
    this.#erase();
    print();
    if (drawn) this.#draw();
  }

  #draw(): void {
    const rows = [...this.#views.values()].map(({ id, stage, slot, version, last }) => [
      id,
      stage,
      slot,
      version,
      last.slice(0, LAST_CHARACTERS),
    ]);
    if (rows.length === 0) return;
    const table = renderTable(['device', 'stage', 'slot', 'version', 'last'], rows);
    this.#stream.write(`${table}\n`);
    this.#drawnLines = table.split('\n').length;
  }

  #erase(): void {
    if (this.#drawnLines > 0) this.#stream.write(`\u001b[${this.#drawnLines}A\u001b[J`);
    this.#drawnLines = 0;
  }
}
