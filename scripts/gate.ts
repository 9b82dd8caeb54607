/**
 * The gate: everything that must hold before a change is shared. `npm test` runs it, and so does .ci/run.
 *
 *   scripts/gate.ts [--only NAME …] [--list] [--json FILE]
 *
 * Every step runs even when an earlier one failed. The last line is `N passed, N failed`, with `, N skipped` when
 * tests were skipped: the sum of tests and checks that really ran. Exit status 0 only when nothing failed.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { reportFailure } from '../platform/command-line.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { endWithSignals } from './gate/run-program.ts';
import type { FinishedStep, Watcher } from './gate/schedule.ts';
import { runSteps } from './gate/schedule.ts';
import type { Step } from './gate/step.ts';
import { STEPS } from './gate/steps.ts';

const FINDING_LINES = 120;

function choose(names: readonly string[]): readonly Step[] {
  const unknown = names.find((name) => STEPS.every((step) => step.name !== name));
  if (unknown !== undefined) {
    throw new Fault({
      code: 'step-unknown',
      what: 'the gate has no such step',
      where: unknown,
      cure: `Choose among ${STEPS.map(({ name }) => name).join(', ')}.`,
      exitStatus: EXIT.usage,
    });
  }
  return names.length === 0 ? STEPS : STEPS.filter(({ name }) => names.includes(name));
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const watcher: Watcher = {
  started: (step) => print(`  …  ${step.name}: ${step.what}`),
  progress: (step, line) => print(`     ${step.name}: ${line}`),
  finished: ({ step, result, seconds }) => {
    print(`${result.failed === 0 ? '  ok ' : 'FAIL '}${step.name}  ${counts(result)}  ${seconds.toFixed(1)} s`);
    for (const line of result.findings.join('\n').split('\n').slice(0, FINDING_LINES)) {
      if (line !== '') print(`       ${line}`);
    }
  },
};

function counts(sum: { passed: number; failed: number; skipped: number }): string {
  return `${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ''}`;
}

function printTable(finished: readonly FinishedStep[]): void {
  print('');
  for (const { step, result, seconds } of finished) {
    const note = result.note === undefined ? '' : `  (${result.note})`;
    print(
      `${result.failed === 0 ? '  ok ' : 'FAIL '}${step.name.padEnd(14)}${seconds.toFixed(1).padStart(7)} s  ${counts(result)}${note}`,
    );
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      list: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  if (values.list) {
    for (const { name, what } of STEPS) print(`${name.padEnd(14)}${what}`);
    return EXIT.ok;
  }
  const startMs = performance.now();
  const finished = await runSteps(choose(values.only), watcher);
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { result } of finished) {
    sum.passed += result.passed;
    sum.failed += result.failed;
    sum.skipped += result.skipped;
  }
  printTable(finished);
  print(`     all steps     ${((performance.now() - startMs) / 1000).toFixed(1).padStart(7)} s`);
  if (values.json !== undefined) {
    const steps = finished.map(({ step, result, seconds }) => ({ name: step.name, seconds, ...result }));
    await writeFile(values.json, `${JSON.stringify({ ok: sum.failed === 0, ...sum, steps }, null, 2)}\n`);
  }
  print(counts(sum));
  return sum.failed === 0 && sum.passed > 0 ? EXIT.ok : EXIT.bug;
}

endWithSignals();
try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('gate', error, { json: false, debug: false });
}
