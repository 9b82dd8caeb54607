/** The steps of the gate, in the order in which they start and their results are printed. */
import { join } from 'node:path';
import { runBoards } from './emulated-boards.ts';
import { checkLayers } from './layers.ts';
import { ROOT, runNode } from './run-program.ts';
import type { Step, StepResult } from './step.ts';
import { resultOfProgram } from './step.ts';
import { resultOfTests, runTests } from './vitest-run.ts';

/** Runs a program of node_modules; its exit status is the one check. */
function program(name: string, what: string, path: string, ...options: string[]): Step {
  return {
    name,
    what,
    run: async () => resultOfProgram(await runNode([join(ROOT, 'node_modules', path), ...options])),
  };
}

/** Runs one of our own files the same way. */
function script(name: string, what: string, path: string, after: readonly string[], ...options: string[]): Step {
  return { name, what, after, run: async () => resultOfProgram(await runNode([join(ROOT, path), ...options])) };
}

function tests(
  name: string,
  what: string,
  folder: string,
  more: { after?: readonly string[]; exclude?: readonly string[] } = {},
): Step {
  const { exclude = [], ...placing } = more;
  const run = async (progress: (line: string) => void): Promise<StepResult> =>
    resultOfTests(await runTests(folder, { exclude, progress, seed: GATE_SEED }));
  return { name, what, ...placing, run };
}

/** Each removal is a check of its own: the counts are the script's last line. */
async function removals(progress: (line: string) => void): Promise<StepResult> {
  const run = await runNode([join(ROOT, 'scripts/mutations.ts'), '--green-before', '--every', '5'], {
    onLine: (line) => line.startsWith('  ok') && progress(line.trim()),
  });
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/m.exec(run.standardOutput) ?? [];
  if (passed === undefined || failed === undefined || (run.status !== 0 && failed === '0')) return resultOfProgram(run);
  const findings = run.standardOutput.split('\n').filter((line) => !line.startsWith('  ok'));
  return { passed: Number(passed), failed: Number(failed), skipped: 0, findings: failed === '0' ? [] : findings };
}

/** Containers and network namespaces are root's. */
async function gates(progress: (line: string) => void): Promise<StepResult> {
  if (process.getuid?.() !== 0) {
    return { passed: 0, failed: 0, skipped: 1, findings: [], note: 'NOT RUN: it needs root' };
  }
  const run = await runNode([join(ROOT, 'scripts/first-boot/main.ts')], { onLine: progress });
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/m.exec(run.standardOutput) ?? [];
  if (passed === undefined || failed === undefined || (run.status !== 0 && failed === '0')) return resultOfProgram(run);
  const findings = failed === '0' ? [] : run.standardOutput.trim().split('\n');
  return { passed: Number(passed), failed: Number(failed), skipped: 0, findings };
}

/** The gate repeats itself exactly; `npm run sim -- --seed N` looks elsewhere. */
const GATE_SEED = 1;

/** The long ones early: they run beside each other, and the short ones fill what is left. */
export const STEPS: readonly Step[] = [
  program('format', 'format and lint (biome)', '@biomejs/biome/bin/biome', 'ci', '--colors=off', '.'),
  program('types', 'types (tsc)', 'typescript/bin/tsc', '-p', '.', '--noEmit', '--pretty', 'false'),
  script('build', 'the three commands (esbuild)', 'scripts/build.ts', []),
  tests('unit', 'unit tests', 'test/unit', { after: ['build'], exclude: ['test/unit/docs/**'] }),
  tests('e2e', 'whole devices against a whole server', 'test/e2e', { after: ['build'] }),
  {
    name: 'boards',
    what: 'emulated boards: one updates itself, one goes back, one loses its power three times (npm run qemu)',
    after: ['build'],
    run: (progress) => runBoards(['--scenario', 'fleet'], progress),
  },
  {
    name: 'first-boot',
    what: 'the gates of the first boot in a booted Debian, broken one fault at a time',
    run: gates,
  },
  script('first-hour', 'docs/first-hour.md, line by line', 'scripts/first-hour.ts', ['build']),
  {
    name: 'removals',
    what: 'a fifth of the checks and fsyncs taken out, one at a time: a test turns red',
    restsOn: ['unit', 'sim'],
    run: removals,
  },
  tests('sim', 'power cuts on a simulated disk', 'test/sim'),
  tests('conformance', 'published vectors and reference implementations', 'test/conformance'),
  { name: 'layers', what: 'layer rules, each with a planted violation', run: checkLayers },
  program('dead-code', 'unused files, exports and packages (knip)', 'knip/bin/knip.js', '--no-progress'),
  tests('docs', 'what the documents promise', 'test/unit/docs'),
];
