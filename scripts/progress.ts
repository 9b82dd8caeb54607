/**
 * Progress of long steps, on stderr: a bar on a terminal, a line at every quarter elsewhere, so that logs stay short.
 */
const BAR_CELLS = 30;

export interface Progress {
  /** `done` counts in the unit of `total`; going back is allowed. */
  update(done: number): void;
  /** Prints the last line; call it once. */
  end(): void;
}

let silent = false;

/** For tests: nothing is printed from here on. */
export function silenceProgress(): void {
  silent = true;
}

export function startProgress(label: string, total: number, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (silent) return { update: () => undefined, end: () => undefined };
  const whole = Math.max(total, 1);
  const startedMs = performance.now();
  let lastShown = '';
  const share = (done: number): number => Math.min(Math.max(done / whole, 0), 1);

  const bar = (done: number): void => {
    const filled = Math.round(share(done) * BAR_CELLS);
    const percent = String(Math.floor(share(done) * 100)).padStart(3);
    const text = `  ${label} [${'#'.repeat(filled)}${'.'.repeat(BAR_CELLS - filled)}] ${percent} %`;
    if (text !== lastShown) stream.write(`\r${text}`);
    lastShown = text;
  };
  const line = (done: number): void => {
    const quarter = Math.floor(share(done) * 4);
    const text = `  ${label} ${quarter * 25} %\n`;
    if (quarter > 0 && quarter < 4 && text !== lastShown) stream.write(text);
    lastShown = text;
  };

  return {
    update: stream.isTTY === true ? bar : line,
    end() {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      stream.write(`${stream.isTTY === true ? '\r\u001b[K' : ''}  ${label} done in ${seconds} s\n`);
    },
  };
}
