/**
 * How a command speaks. Text for people goes to stdout, progress and warnings to stderr; with `--json` stdout carries
 * exactly one JSON document and nothing else. Commands never write to a stream themselves.
 */
import {
  type Progress,
  type ProgressOutput,
  type ProgressStyle,
  type StatusLine,
  startProgress,
  startStatusLine,
} from './progress.ts';

export type Environment = 'production' | 'lab' | 'rehearsal';

const ENVIRONMENT_WARNING: Record<Exclude<Environment, 'production'>, string> = {
  rehearsal:
    'REHEARSAL: these keys were made by one person on one machine. Devices in production refuse them. Not for real fleets.',
  lab: 'LAB: this server signs by itself for testers. Devices in production refuse it.',
};

export interface Output {
  readonly json: boolean;
  readonly debug: boolean;
  /** One line of text for people. */
  say(text?: string): void;
  /** A warning on stderr, with `--json` too. */
  warn(text: string): void;
  /** Columns, the first row being the heading. Rows named in `red` are red where the terminal has colours. */
  table(rows: readonly (readonly string[])[], red?: ReadonlySet<number>): void;
  /** The commands that come next, each with what it does. */
  next(...steps: readonly string[]): void;
  /** Said by every command that touches a rehearsal or a lab; nothing in production. */
  environment(environment: Environment): void;
  progress(label: string, total: number, format?: (amount: number) => string): Progress;
  statusLine(): StatusLine;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly debug: boolean;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Text from elsewhere (servers, devices, files) may not move the cursor or recolour the terminal. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, '\ufffd');
}

export function formatTable(rows: readonly (readonly string[])[]): string {
  return formatRows(rows).join('\n');
}

function formatRows(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, printable(cell).length);
  }
  return rows.map((row) =>
    row
      .map((cell, column) => printable(cell).padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

const RED = { on: '\u001b[31m', off: '\u001b[39m' } as const;
/** https://no-color.org */
const hasColours = (): boolean => process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '';

export function createOutput(options: OutputOptions): Output {
  const style: ProgressStyle = options.json ? 'silent' : process.stderr.isTTY ? 'bar' : 'lines';
  const progress: ProgressOutput = { stream: process.stderr, style, nowMs: () => performance.now() };
  const say = (text = ''): void => {
    if (!options.json) process.stdout.write(`${printable(text)}\n`);
  };
  return {
    ...options,
    say,
    warn: (text) => void process.stderr.write(`${printable(text)}\n`),
    table(rows, red) {
      if (red === undefined || options.json || !hasColours()) return say(formatTable(rows));
      const lines = formatRows(rows).map((line, index) => (red.has(index) ? `${RED.on}${line}${RED.off}` : line));
      process.stdout.write(`${lines.join('\n')}\n`);
    },
    next(...steps) {
      say();
      say('Next:');
      for (const step of steps) say(`  ${step}`);
    },
    environment(environment) {
      if (environment !== 'production') process.stderr.write(`${ENVIRONMENT_WARNING[environment]}\n`);
    },
    progress: (label, total, format) => startProgress(progress, label, total, format),
    statusLine: () => startStatusLine(progress),
  };
}

/** A bar for each image that is read: `Checking rootfs`. */
export function imageProgress(out: Pick<Output, 'progress'>, verb: string) {
  return (component: string, sizeBytes: number) => {
    const progress = out.progress(`${verb} ${component}`, sizeBytes);
    return { update: (doneBytes: number) => progress.update(doneBytes), finish: () => progress.finish() };
  };
}
