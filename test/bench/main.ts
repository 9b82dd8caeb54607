/**
 *   npm run bench -- agent|install [--runs N] [--json FILE] [--write] [--image-mib N] [--directory DIR]
 *
 * Prints what was measured, and whether the aims are met; `--json` writes { machine, versions, rows, ratios };
 * `--write` puts the tables into docs/BENCHMARKS.md. An aim that is missed is said, and is no failure of the command.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import packageJson from '../../package.json' with { type: 'json' };
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { benchAgent } from './agent-bench.ts';
import { benchInstall, needPeers } from './install-bench.ts';
import { type BenchReport, describeMachine, type Row } from './measure.ts';

const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const DOCUMENT = join(projectRoot, 'docs/BENCHMARKS.md');
const NAMES = ['agent', 'install'] as const;
type BenchName = (typeof NAMES)[number];
const BEGIN = { agent: '<!-- measured: begin -->', install: '<!-- install: begin -->' } as const;
const END = { agent: '<!-- measured: end -->', install: '<!-- install: end -->' } as const;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '9' },
      json: { type: 'string' },
      write: { type: 'boolean', default: false },
      'image-mib': { type: 'string', default: '512' },
      directory: { type: 'string', default: tmpdir() },
    },
  });
  const runs = Number(values.runs);
  const name = NAMES.find((known) => known === positionals.join());
  const imageMib = Number(values['image-mib']);
  if (name === undefined || !isCount(runs) || !isCount(imageMib)) {
    throw new Fault({
      code: 'usage',
      what: 'no such benchmark',
      where: positionals.join(' ') || '(none)',
      cure: 'Use: npm run bench -- agent|install [--runs N] [--json FILE] [--write] [--image-mib N] [--directory DIR].',
      exitStatus: EXIT.usage,
    });
  }
  for (const file of [
    'dist/holdfast-agent.mjs',
    'dist/holdfast-server.mjs',
    'dist/holdfast.mjs',
    'build/agent.meta.json',
  ]) {
    if (existsSync(join(projectRoot, file))) continue;
    throw new Fault({
      code: 'not-built',
      what: 'a bundle is missing',
      where: file,
      cure: 'Run npm run build first.',
      exitStatus: EXIT.environment,
    });
  }
  const progress = (line: string): void => void process.stderr.write(`  ${line}\n`);
  if (name === 'install') needPeers();
  const findings =
    name === 'install'
      ? await benchInstall(values.directory, imageMib, runs, progress)
      : await benchAgent(projectRoot, runs, progress);
  const report: BenchReport = {
    machine: describeMachine(),
    versions: { holdfast: packageJson.version, node: process.versions.node, v8: process.versions.v8 },
    ...findings,
  };
  const tables = tablesOf(report);
  process.stdout.write(`${tables}\n`);
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
  if (values.write) await writeDocument(name, tables);
  return EXIT.ok;
}

function tablesOf({ machine, versions, rows, ratios }: BenchReport): string {
  const line = (row: Row): string =>
    `| ${row.name} | ${row.subject} | ${number(row.median)} | ${number(row.min)} | ${number(row.max)} | ${row.unit} | ${row.runs} |`;
  return [
    `Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryMb} MB, ${machine.system}; Node ${versions.node}, Holdfast ${versions.holdfast}.`,
    '',
    '| | value | aim | met |',
    '| --- | --: | --: | --- |',
    ...ratios.map(({ name, value, aim, met }) => `| ${name} | ${number(value)} | ${aim} | ${met ? 'yes' : '**no**'} |`),
    '',
    '| | of | median | least | most | unit | runs |',
    '| --- | --- | --: | --: | --: | --- | --: |',
    ...rows.map(line),
  ].join('\n');
}

function number(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Math.round(value * 100) / 100);
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value > 0;

async function writeDocument(name: BenchName, tables: string): Promise<void> {
  const text = await readFile(DOCUMENT, 'utf8');
  const [begin, end] = [BEGIN[name], END[name]];
  const [before] = text.split(begin);
  const after = text.split(end)[1];
  if (before === undefined || after === undefined) throw new Error(`${DOCUMENT} has no ${begin} … ${end}`);
  await writeFile(DOCUMENT, `${before}${begin}\n${tables}\n${end}${after}`);
}

process.exitCode = await main().catch((error: unknown) =>
  reportFailure('bench', error, { json: false, debug: process.argv.includes('--debug') }),
);
