/**
 * What a person watching the demo sees: steps, each command line as it runs, plain facts, tables.
 * Everything goes to stdout; progress bars go to stderr (../progress.ts).
 */
import { silenceProgress } from '../progress.ts';

const tty = process.stdout.isTTY === true;
const style = (code: string, text: string): string => (tty ? `\u001b[${code}m${text}\u001b[0m` : text);

export const bold = (text: string): string => style('1', text);
export const dim = (text: string): string => style('2', text);
export const green = (text: string): string => style('32', text);
export const red = (text: string): string => style('31', text);

let quiet = false;

/** Tests run the same steps and read their findings instead. */
export function beQuiet(): void {
  quiet = true;
  silenceProgress();
}

export function say(line = ''): void {
  if (!quiet) process.stdout.write(`${line}\n`);
}

export function sayStep(number: number, title: string): void {
  say(`\n${bold(`${number}. ${title}`)}`);
}

/** A command as it could be typed: quoted where a shell needs it. */
export function commandLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}

export function sayCommand(words: readonly string[]): void {
  say(dim(`  $ ${commandLine(words)}`));
}

export function sayFact(text: string): void {
  say(`  ${text}`);
}

export function sayResult(ok: boolean, text: string): void {
  say(`  ${ok ? green('ok') : red('NOT OK')}  ${text}`);
}

/** Columns as wide as their widest cell. */
export function renderTable(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    `  ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join('  ')}`.trimEnd();
  return [line(heads), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
