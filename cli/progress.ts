/**
 * Progress of long steps, on stderr: a bar that redraws itself on a terminal, otherwise a plain line every few seconds
 * (so that a log file stays readable). Silent where nobody looks (`--json`).
 */
import type { WriteStream } from 'node:tty';

const REDRAW_MS = 100;
const PLAIN_LINE_MS = 3000;
const BAR_CELLS = 24;
const CLEAR_LINE = '\r\x1b[2K';

export interface Progress {
  /** `done` of `total` in `unit`s; `note` stands behind the bar. */
  update(done: number, note?: string): void;
  /** Ends the bar: leaves one line that says how it went. */
  finish(summary?: string): void;
}

export type ProgressStyle = 'bar' | 'lines' | 'silent';

export interface ProgressOutput {
  readonly stream: Pick<WriteStream, 'write'>;
  readonly style: ProgressStyle;
  /** Milliseconds that never go back. */
  readonly nowMs: () => number;
}

export function formatBytes(sizeBytes: number): string {
  if (sizeBytes < 1024) return `${sizeBytes} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let size = sizeBytes;
  let unit = -1;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

function bar(done: number, total: number): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const filled = Math.round(share * BAR_CELLS);
  return `[${'#'.repeat(filled)}${'.'.repeat(BAR_CELLS - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %`;
}

/** Starts a step of `total` units (bytes unless `format` says otherwise). */
export function startProgress(
  output: ProgressOutput,
  label: string,
  total: number,
  format: (amount: number) => string = formatBytes,
): Progress {
  const startedMs = output.nowMs();
  let drawnMs = output.style === 'lines' ? startedMs : Number.NEGATIVE_INFINITY;
  const render = (done: number, note: string): string =>
    `${label} ${bar(done, total)} ${format(done)} of ${format(total)}${note === '' ? '' : ` · ${note}`}`;
  return {
    update(done, note = '') {
      const nowMs = output.nowMs();
      const pauseMs = output.style === 'bar' ? REDRAW_MS : PLAIN_LINE_MS;
      if (output.style === 'silent' || nowMs - drawnMs < pauseMs) return;
      drawnMs = nowMs;
      output.stream.write(output.style === 'bar' ? CLEAR_LINE + render(done, note) : `${render(done, note)}\n`);
    },
    finish(summary) {
      if (output.style === 'silent') return;
      const seconds = ((output.nowMs() - startedMs) / 1000).toFixed(1);
      const line = `${summary ?? `${label}: ${format(total)} in ${seconds} s`}\n`;
      output.stream.write(output.style === 'bar' ? CLEAR_LINE + line : line);
    },
  };
}

/** Progress without a known total, such as waiting for a device: the latest line, redrawn or repeated. */
export interface StatusLine {
  /** Where there is no terminal, a line is printed when `matter` changed (`text` alone may count seconds). */
  show(text: string, matter?: string): void;
  finish(): void;
}

export function startStatusLine(output: ProgressOutput): StatusLine {
  let shown = '';
  let drawnMs = Number.NEGATIVE_INFINITY;
  return {
    show(text, matter = text) {
      const nowMs = output.nowMs();
      const fresh = matter !== shown;
      if (output.style === 'silent') return;
      if (output.style === 'bar') output.stream.write(CLEAR_LINE + text);
      else if (fresh || nowMs - drawnMs >= 5 * PLAIN_LINE_MS) output.stream.write(`${text}\n`);
      else return;
      shown = matter;
      drawnMs = nowMs;
    },
    finish() {
      if (output.style === 'bar' && shown !== '') output.stream.write(CLEAR_LINE);
      shown = '';
    },
  };
}
