/** The fault matrix as text: a row for each fault, a column for each way in. */
import { type Look, WAYS } from './looks.ts';

interface Row extends Look {
  readonly name: string;
  readonly ok: boolean;
}

export function printedTable(rows: readonly Row[]): string {
  const head = ['', 'fault', ...WAYS, 'answers', 'way out'];
  const lines = rows.map((row) => [
    row.ok ? 'ok' : 'FAIL',
    row.name,
    ...WAYS.map((way) => row.seen[way]),
    row.answers.length === 0 ? 'none' : String(row.answers.length),
    row.wayOut ? 'open' : 'closed',
  ]);
  const widths = head.map((title, column) =>
    Math.max(...[head, ...lines].map((line) => line[column]?.length ?? 0), title.length),
  );
  const printed = (line: readonly string[]): string =>
    line
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [printed(head), ...lines.map(printed)].join('\n');
}
