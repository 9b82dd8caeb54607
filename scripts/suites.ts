/**
 * Runs the conformance or the simulation suites and counts their cases.
 *
 *   npm run conformance -- [--seed N] [--json FILE]
 *   npm run sim         -- [--seed N] [--json FILE]      (through scripts/sim.ts, which has more)
 *
 * `--json` writes { ok, seed, suites: [{ name, cases, passed, failed, skipped, why }] }; one suite per test file. The
 * tests take the seed from HOLDFAST_SEED; the same seed gives the same run.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { reportFailure } from '../platform/command-line.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { endWithSignals } from './gate/run-program.ts';
import type { TestFile } from './gate/vitest-run.ts';
import { runTests } from './gate/vitest-run.ts';

const KINDS = ['conformance', 'sim'] as const;

interface Suite {
  readonly name: string;
  readonly cases: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Why tests failed or were skipped; empty when neither happened. */
  readonly why: string;
}

function wrongUsage(what: string, where: string): Fault {
  return new Fault({
    code: 'usage',
    what,
    where,
    cure: 'Use: npm run conformance|sim -- [--seed N] [--json FILE].',
    exitStatus: EXIT.usage,
  });
}

function suiteOf(kind: string, file: TestFile): Suite {
  const { passed, failed, skipped } = file;
  const name = file.name.replace(`test/${kind}/`, '').replace(/\.test\.ts$/, '');
  return { name, cases: passed + failed + skipped, passed, failed, skipped, why: file.why.join('\n') };
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: 'string', default: '1' }, json: { type: 'string' } },
  });
  const kind = KINDS.find((name) => name === positionals[0]);
  if (kind === undefined) throw wrongUsage('no such kind of suite', positionals[0] ?? '(none)');
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed) || seed < 0) throw wrongUsage('a seed is a whole number, 0 or more', values.seed);

  const run = await runTests(`test/${kind}`, { seed, progress: (line) => print(`  ${line}`) });
  const suites = run.files.map((file) => suiteOf(kind, file));
  for (const suite of suites) {
    print(
      `${suite.failed === 0 ? '  ok ' : 'FAIL '}${suite.name.padEnd(36)} ${suite.cases} cases, ${suite.passed} passed, ${suite.failed} failed, ${suite.skipped} skipped`,
    );
    if (suite.failed > 0) print(suite.why);
  }
  for (const fault of run.faults) print(fault);
  const cases = suites.reduce((sum, suite) => sum + suite.passed + suite.failed, 0);
  const ok = cases > 0 && run.faults.length === 0 && suites.every((suite) => suite.failed === 0);
  print(`seed ${seed}: ${cases} cases in ${suites.length} suites, ${ok ? 'all passed' : 'not all passed'}`);
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify({ ok, seed, suites }, null, 2)}\n`);
  return ok ? EXIT.ok : EXIT.bug;
}

endWithSignals();
try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('suites', error, { json: false, debug: false });
}
