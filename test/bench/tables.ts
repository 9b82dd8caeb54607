/**
 * Findings as Markdown: the aims first, then the figures. Rows are named `GROUP: MEASURE`; where several measures belong
 * to one subject of one group, they stand side by side.
 */
import type { Absent, BenchReport, Ratio, Row } from './measure.ts';

export function headOf({ machine, versions }: BenchReport): string {
  const { node, holdfast, v8: _v8, ...others } = versions;
  const said = Object.entries(others).map(([name, version]) => `, ${name} ${version}`);
  return `Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryMb} MB, ${machine.system}; Node ${node}, Holdfast ${holdfast}${said.join('')}.`;
}

export function ratioTable(ratios: readonly Ratio[]): string {
  const line = ({ name, value, aim, met }: Ratio): string =>
    `| ${name} | ${number(value)} | ${aim} | ${met ? (aim.startsWith('for ') ? '' : 'yes') : '**no**'} |`;
  return ['| | value | aim | met |', '| --- | --: | --: | --- |', ...ratios.map(line)].join('\n');
}

/** One line for each figure. */
export function longTable(rows: readonly Row[]): string {
  const line = (row: Row): string =>
    `| ${row.name} | ${row.subject} | ${number(row.median)} | ${number(row.min)} | ${number(row.max)} | ${row.unit} | ${row.runs} |`;
  return [
    '| | of | median | least | most | unit | runs |',
    '| --- | --- | --: | --: | --: | --- | --: |',
    ...rows.map(line),
  ].join('\n');
}

/** One table for each group, one line for each subject: medians, with least and most where there were several runs. */
export function sideBySide(rows: readonly Row[], absent: readonly Absent[] = []): string {
  const groups = unique([...rows.map(groupOf), ...absent.map(({ group }) => group)]);
  return groups
    .map((group) =>
      oneTable(
        group,
        rows.filter((row) => groupOf(row) === group),
        absent,
      ),
    )
    .join('\n\n');
}

function oneTable(group: string, rows: readonly Row[], absent: readonly Absent[]): string {
  const columns = unique(rows.map(columnOf));
  const lines = unique(rows.map(({ subject }) => subject)).map((subject) => {
    const own = rows.filter((row) => row.subject === subject);
    const cells = columns.map((column) => cellOf(own.find((row) => columnOf(row) === column)));
    return `| ${subject} | ${cells.join(' | ')} | ${unique(own.map(({ runs }) => String(runs))).join(', ')} |`;
  });
  const missing = absent
    .filter((one) => one.group === group)
    .map(({ subject, why }) => `| ${subject} | not measured: ${why} |${' |'.repeat(columns.length)}`);
  return [
    `| ${group} | ${columns.join(' | ')} | runs |`,
    `| --- |${' --: |'.repeat(columns.length + 1)}`,
    ...lines,
    ...missing,
  ].join('\n');
}

function cellOf(row: Row | undefined): string {
  if (row === undefined) return '';
  if (row.runs === 1 || row.min === row.max) return number(row.median);
  return `${number(row.median)} (${number(row.min)}–${number(row.max)})`;
}

const groupOf = ({ name }: Row): string => name.slice(0, name.lastIndexOf(': '));
const columnOf = ({ name, unit }: Row): string => `${name.slice(name.lastIndexOf(': ') + 2)}, ${unit}`;
const unique = (values: readonly string[]): string[] => [...new Set(values)];

export function number(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Math.round(value * 100) / 100);
}
