/**
 *   npm run bench -- agent [--runs N] [--json FILE] [--write]
 *   npm run bench -- idle [--json FILE] [--write]
 *   npm run bench -- install [--install-peers] [--images FOLDER] [--runs N] [--json FILE] [--write]
 *   npm run bench -- delta [--install-peers] [--images FOLDER] [--runs N] [--json FILE] [--write]
 *   npm run bench -- rotate [--devices N] [--offline %] [--cuts %] [--poll-ms N] [--reboot-ms N] [--waves LIST]
 *                           [--soak D] [--timeout D] [--compare FILE] [--json FILE] [--write]
 *
 * Prints what was measured, and whether the aims are met; `--json` writes { machine, versions, rows, ratios, absent };
 * `--write` puts the tables into docs/BENCHMARKS.md. An aim that is missed is said, and is no failure of the command.
 * `install` measures installations and deltas, `delta` the second alone. Image pairs and deltas are made once, in the
 * folder of `--images`; a run that was broken off finds there what was made. `--compare`: the `--json` of a rotation of
 * another size, for the scaling.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import packageJson from '../../package.json' with { type: 'json' };
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { endPrograms } from '../../scripts/programs.ts';
import { benchAgent } from './agent-bench.ts';
import { benchDelta } from './delta-bench.ts';
import { benchIdle } from './idle-bench.ts';
import { imagePairs, upgradedPackages } from './image-pair.ts';
import { benchInstall } from './install-bench.ts';
import { type BenchReport, describeMachine, type Findings } from './measure.ts';
import { demandMeasuring, installPeers, peerVersions } from './peers/packages.ts';
import { benchRotation, ROTATE_OPTIONS, rotationFacts } from './rotate-bench.ts';
import { headOf, longTable, ratioTable, sideBySide } from './tables.ts';

const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const DOCUMENT = join(projectRoot, 'docs/BENCHMARKS.md');
const MARKS = {
  agent: ['<!-- measured: begin -->', '<!-- measured: end -->'],
  idle: ['<!-- idle: begin -->', '<!-- idle: end -->'],
  install: ['<!-- install: begin -->', '<!-- install: end -->'],
  delta: ['<!-- measured delta: begin -->', '<!-- measured delta: end -->'],
  rotate: ['<!-- rotate: begin -->', '<!-- rotate: end -->'],
} as const;
type Section = keyof typeof MARKS;
/** A median of fewer runs says little. */
const LEAST_RUNS = 5;

interface Wish {
  readonly runs: number;
  readonly images: string;
  readonly installPeers: boolean;
  readonly rotation: Parameters<typeof benchRotation>[1];
}

const progress = (line: string): void =>
  void process.stderr.write(`  ${new Date().toISOString().slice(11, 19)} ${line}\n`);

const BENCHES: Readonly<Record<Section, (wish: Wish) => Promise<Partial<Record<Section, Findings>>>>> = {
  agent: async ({ runs }) => ({ agent: await benchAgent(projectRoot, runs, progress) }),
  idle: async () => ({ idle: await benchIdle(projectRoot, progress) }),
  install: async (wish) => {
    const options = await besidePeers(wish);
    return { install: await benchInstall(options), delta: await benchDelta(options) };
  },
  delta: async (wish) => ({ delta: await benchDelta(await besidePeers(wish)) }),
  rotate: async ({ rotation }) => ({ rotate: await benchRotation(projectRoot, rotation, progress) }),
};

async function besidePeers({ runs, images: folder, installPeers: wanted }: Wish) {
  if (wanted) await installPeers();
  demandMeasuring();
  return { projectRoot, folder, pairs: await imagePairs(folder, progress), runs, progress };
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string' },
      json: { type: 'string' },
      write: { type: 'boolean', default: false },
      images: { type: 'string', default: join(projectRoot, 'build/bench-images') },
      'install-peers': { type: 'boolean', default: false },
      ...ROTATE_OPTIONS,
    },
  });
  const name = (['agent', 'idle', 'install', 'delta', 'rotate'] as const).find((known) => known === positionals.join());
  const runs = Number(values.runs ?? (name === 'agent' ? 9 : LEAST_RUNS));
  if (name === undefined || !Number.isSafeInteger(runs) || runs < LEAST_RUNS) {
    throw new Fault({
      code: 'usage',
      what: `no such benchmark, or fewer than ${LEAST_RUNS} runs`,
      where: [...positionals, ...(values.runs === undefined ? [] : ['--runs', values.runs])].join(' ') || '(none)',
      cure: 'Use: npm run bench -- agent|idle|install|delta|rotate [--runs N] [--json FILE] [--write].',
      exitStatus: EXIT.usage,
    });
  }
  if (name !== 'delta') demandBundles();
  const begunMs = performance.now();
  const wish = { runs, images: values.images, installPeers: values['install-peers'], rotation: values };
  const parts = await BENCHES[name](wish);
  const versions = { holdfast: packageJson.version, node: process.versions.node, v8: process.versions.v8 };
  const facts = { machine: describeMachine(), versions: { ...versions, ...(await factsOf(name, wish)) } };
  const found = Object.values(parts);
  const report: BenchReport = {
    ...facts,
    rows: found.flatMap(({ rows }) => rows),
    ratios: found.flatMap(({ ratios }) => ratios),
    absent: found.flatMap(({ absent }) => absent ?? []),
  };
  for (const [section, findings] of Object.entries(parts) as [Section, Findings][]) {
    const text = textOf(section, { ...facts, ...findings });
    process.stdout.write(`${text}\n\n`);
    if (values.write) await writeDocument(text, section);
  }
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
  progress(`all in all ${Math.round((performance.now() - begunMs) / 60_000)} minutes`);
  return EXIT.ok;
}

async function factsOf(name: Section, { images, rotation }: Wish): Promise<Record<string, string>> {
  if (name === 'agent' || name === 'idle') return {};
  if (name === 'rotate') return rotationFacts(rotation);
  const upgraded = upgradedPackages(images);
  return {
    ...(await peerVersions()),
    ...(upgraded === undefined ? {} : { 'packages upgraded between the images:': String(upgraded) }),
  };
}

function textOf(section: Section, report: BenchReport): string {
  const table =
    section === 'install' || section === 'delta' ? sideBySide(report.rows, report.absent) : longTable(report.rows);
  const aims = report.ratios.length === 0 ? [] : [ratioTable(report.ratios), ''];
  return [headOf(report), '', ...aims, table].join('\n');
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

async function writeDocument(tables: string, name: Section): Promise<void> {
  const [BEGIN, END] = MARKS[name];
  const text = await readFile(DOCUMENT, 'utf8');
  const [before] = text.split(BEGIN);
  const after = text.split(END)[1];
  if (before === undefined || after === undefined) throw new Error(`${DOCUMENT} has no ${BEGIN} … ${END}`);
  await writeFile(DOCUMENT, `${before}${BEGIN}\n${tables}\n${END}${after}`);
}

// A loop device, a cap on writing and a folder of some GiB would stay behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void endPrograms());
process.exitCode = await main().catch((error: unknown) =>
  reportFailure('bench', error, { json: false, debug: process.argv.includes('--debug') }),
);
