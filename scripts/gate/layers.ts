/**
 * The layer rules of .dependency-cruiser.cjs, run on the tree, and run again on a copy of it in which every rule is
 * broken once: a rule that does not report its planted violation fails the gate.
 *
 * dependency-cruiser ends with status 0 when it understood no file at all; so the files that it says it read are
 * compared with the files on disk.
 */
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import * as v from 'valibot';
import { findImpurities, INNOCENT_SOURCES, impuritiesOfFile, PLANTED_IMPURITIES } from './purity.ts';
import { ROOT, runNode } from './run-program.ts';
import type { StepResult } from './step.ts';
import { resultOfChecks } from './step.ts';

const FOLDERS = [
  'trust',
  'delta',
  'protocol',
  'platform',
  'agent',
  'update-server',
  'keys',
  'emulator',
  'cli',
  'scripts',
] as const;
const PURE_FILES = /^(trust|protocol|agent\/core|update-server\/core)\//;

const Cruise = v.object({
  modules: v.array(v.object({ source: v.string() })),
  summary: v.object({
    violations: v.array(
      v.object({ from: v.string(), to: v.string(), rule: v.object({ name: v.string(), severity: v.string() }) }),
    ),
  }),
});
type Cruise = v.InferOutput<typeof Cruise>;

interface Plant {
  readonly rule: string;
  readonly path: string;
  readonly text: string;
}

/** One violation per rule. Each file is added to the copy; the named rule must report exactly that file. */
const PLANTS: readonly Plant[] = [
  plant('trust-imports-no-node', 'trust/', 'node:fs'),
  plant('trust-crypto-imports-only-node-crypto', 'trust/crypto.ts', 'node:fs'),
  plant('trust-stands-alone', 'trust/', '../platform/fault.ts'),
  plant('protocol-imports-no-node', 'protocol/', 'node:os'),
  plant('protocol-knows-only-trust', 'protocol/', '../platform/fault.ts'),
  plant('core-imports-no-node', 'agent/core/', 'node:fs'),
  plant('core-imports-no-node', 'update-server/core/', 'node:crypto'),
  plant('core-knows-only-trust-and-protocol', 'agent/core/', '../storage/planted-target.ts'),
  plant('core-takes-only-types-of-platform', 'agent/core/', '../../platform/fault.ts'),
  plant('pure-layers-use-pure-packages', 'trust/', 'fastify'),
  plant('delta-knows-only-trust', 'delta/', '../platform/fault.ts'),
  plant('delta-decoding-needs-no-encoder', 'delta/decode/', '../encode/encode.ts'),
  plant('platform-knows-nothing-of-ours', 'platform/', '../trust/refusal.ts'),
  plant('agent-stands-apart', 'agent/', '../update-server/planted-target.ts'),
  plant('update-server-stands-apart', 'update-server/', '../agent/core/ports.ts'),
  plant('only-the-lab-signs-on-the-server', 'update-server/', '../keys/planted-target.ts'),
  plant('keys-stand-apart', 'keys/', '../update-server/planted-target.ts'),
  plant('emulator-knows-only-platform', 'emulator/', '../protocol/planted-target.ts'),
  plant('cli-and-scripts-start-programs-and-do-not-import-them', 'cli/', '../agent/core/ports.ts'),
  plant('replay-knows-only-the-tables-of-the-agent', 'cli/replay/', '../../agent/storage/planted-target.ts'),
  plant('preflight-knows-only-the-decisions-of-the-server', 'cli/preflight/', '../../update-server/planted-target.ts'),
  { rule: 'no-cycles', path: 'platform/planted-ring-1.ts', text: "export * from './planted-ring-2.ts';\n" },
  plant('nothing-unresolvable', 'keys/', './there-is-no-such-file.ts'),
  plant('shipped-code-uses-no-development-package', 'agent/', 'tuf-js'),
];

/** Files that planted imports point at, and one import that must stay allowed. */
const SUPPORT: readonly (readonly [path: string, text: string])[] = [
  ['agent/storage/planted-target.ts', 'export const target = 1;\n'],
  ['update-server/planted-target.ts', 'export const target = 1;\n'],
  ['keys/planted-target.ts', 'export const target = 1;\n'],
  ['protocol/planted-target.ts', 'export const target = 1;\n'],
  ['update-server/lab/planted-allowed.ts', "export * from '../../keys/planted-target.ts';\n"],
  ['platform/planted-ring-2.ts', "export * from './planted-ring-1.ts';\n"],
  ['agent/core/planted-allowed.ts', "export type { Disk } from '../../platform/disk.ts';\n"],
];

function plant(rule: string, place: string, target: string): Plant {
  const path = place.endsWith('.ts') ? place : `${place}planted-${rule}.ts`;
  return { rule, path, text: `export * from '${target}';\n` };
}

async function cruise(directory: string): Promise<Cruise> {
  const run = await runNode(
    [
      join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs'),
      '--config',
      '.dependency-cruiser.cjs',
      '--output-type',
      'json',
      ...FOLDERS,
    ],
    { directory },
  );
  try {
    return v.parse(Cruise, JSON.parse(run.standardOutput));
  } catch {
    throw new Error(`dependency-cruiser gave no report (status ${run.status}): ${run.output.slice(0, 2000)}`);
  }
}

/** TypeScript files on disk, from the project's root, sorted. */
export async function typeScriptFiles(directory: string, folders: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    const entries = await readdir(join(directory, folder), { recursive: true, withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (entry.isFile() && entry.name.endsWith('.ts'))
        found.push(relative(directory, join(entry.parentPath, entry.name)));
    }
  }
  return found.sort();
}

async function copyWithPlants(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'holdfast-planted-'));
  for (const path of [...FOLDERS, '.dependency-cruiser.cjs', 'tsconfig.json', 'package.json']) {
    await cp(join(ROOT, path), join(copy, path), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  for (const [path, text] of [...SUPPORT, ...PLANTS.map(({ path, text }) => [path, text] as const)]) {
    await mkdir(dirname(join(copy, path)), { recursive: true });
    await writeFile(join(copy, path), text);
  }
  return copy;
}

async function plantedChecks(): Promise<{ name: string; findings: string[] }[]> {
  const copy = await copyWithPlants();
  try {
    const { violations } = (await cruise(copy)).summary;
    const bites = PLANTS.map(({ rule, path }) => ({
      name: `planted: ${rule} in ${path}`,
      findings: violations.some(({ from, rule: { name } }) => from === path && name === rule)
        ? []
        : ['not caught: the rule is blind'],
    }));
    const allowed = violations.filter(({ from }) => from.endsWith('planted-allowed.ts'));
    return [
      ...bites,
      {
        name: 'planted: allowed imports',
        findings: allowed.map(({ from, rule }) => `${from} refused by ${rule.name}`),
      },
    ];
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function purityChecks(files: readonly string[]): Promise<{ name: string; findings: string[] }[]> {
  const pure = files.filter((file) => PURE_FILES.test(file));
  const findings = (await Promise.all(pure.map((file) => impuritiesOfFile(join(ROOT, file), file)))).flat();
  return [
    {
      name: `no clock, no randomness (${pure.length} files)`,
      findings: pure.length === 0 ? ['no file was looked at'] : findings,
    },
    ...PLANTED_IMPURITIES.map((text) => ({
      name: `planted: ${text}`,
      findings: findImpurities('planted.ts', text).length > 0 ? [] : ['not caught: the checker is blind'],
    })),
    ...INNOCENT_SOURCES.map((text) => ({
      name: `innocent: ${text}`,
      findings: findImpurities('innocent.ts', text).map(({ what }) => `taken for ${what}`),
    })),
  ];
}

export async function checkLayers(): Promise<StepResult> {
  const files = await typeScriptFiles(ROOT, FOLDERS);
  const report = await cruise(ROOT);
  const cruised = new Set(report.modules.map(({ source }) => source));
  const violations = report.summary.violations.map(({ from, to, rule }) => `${rule.name}: ${from} → ${to}`);
  const result = resultOfChecks([
    {
      name: 'every TypeScript file was read',
      findings: files.filter((file) => !cruised.has(file)).map((file) => `${file} was not`),
    },
    { name: 'layer rules', findings: files.length === 0 ? ['there is no file'] : violations },
    ...(await plantedChecks()),
    ...(await purityChecks(files)),
  ]);
  return { ...result, note: `${files.length} TypeScript files, ${PLANTS.length} planted violations` };
}
