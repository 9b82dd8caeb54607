/**
 *   npm run bench -- agent [--runs N] [--json FILE] [--write]
 *   npm run bench -- install [--runs N] [--image-mib N] [--directory DIR] [--json FILE] [--write]
 *   npm run bench -- delta [--images FOLDER] [--install-peers] [--json FILE] [--write]
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
import { benchDelta } from './delta-bench.ts';
import { benchInstall, needPeers } from './install-bench.ts';
import { type BenchReport, describeMachine, type Row } from './measure.ts';

const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const DOCUMENT = join(projectRoot, 'docs/BENCHMARKS.md');
const MARKS = {
  agent: ['<!-- measured: begin -->', '<!-- measured: end -->'],
  install: ['<!-- install: begin -->', '<!-- install: end -->'],
  delta: ['<!-- measured delta: begin -->', '<!-- measured delta: end -->'],
} as const;
type BenchName = keyof typeof MARKS;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '9' },
      json: { type: 'string' },
      write: { type: 'boolean', default: false },
      'image-mib': { type: 'string', default: '512' },
      directory: { type: 'string', default: tmpdir() },
      images: { type: 'string', default: join(projectRoot, 'build/delta-images') },
      'install-peers': { type: 'boolean', default: false },
    },
  });
  const runs = Number(values.runs);
  const name = (['agent', 'install', 'delta'] as const).find((known) => known === positionals.join());
  const imageMib = Number(values['image-mib']);
  if (name === undefined || !isCount(runs) || !isCount(imageMib)) {
    throw new Fault({
      code: 'usage',
      what: 'no such benchmark',
      where: positionals.join(' ') || '(none)',
      cure: 'Use: npm run bench -- agent|install|delta [--runs N] [--json FILE] [--write].',
      exitStatus: EXIT.usage,
    });
  }
  const progress = (line: string): void => void process.stderr.write(`  ${line}\n`);
  if (name !== 'delta') demandBundles();
  if (name === 'install') needPeers();
  const benches = {
    agent: () => benchAgent(projectRoot, runs, progress),
    install: () => benchInstall(values.directory, imageMib, runs, progress),
    delta: () => benchDelta({ projectRoot, folder: values.images, installPeers: values['install-peers'], progress }),
  };
  const findings = await benches[name]();
  const report: BenchReport = {
    machine: describeMachine(),
    versions: { holdfast: packageJson.version, node: process.versions.node, v8: process.versions.v8 },
    ...findings,
  };
  const tables = tablesOf(report);
  process.stdout.write(`${tables}\n`);
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
  if (values.write) await writeDocument(tables, name);
  return EXIT.ok;
}

function demandBundles(): void {
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

async function writeDocument(tables: string, name: BenchName): Promise<void> {
  const [BEGIN, END] = MARKS[name];
  const text = await readFile(DOCUMENT, 'utf8');
  const [before] = text.split(BEGIN);
  const after = text.split(END)[1];
  if (before === undefined || after === undefined) throw new Error(`${DOCUMENT} has no ${BEGIN} … ${END}`);
  await writeFile(DOCUMENT, `${before}${BEGIN}\n${tables}\n${END}${after}`);
}

process.exitCode = await main().catch((error: unknown) =>
  reportFailure('bench', error, { json: false, debug: process.argv.includes('--debug') }),
);
