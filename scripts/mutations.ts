/**
 * Removal proofs: takes one check or one fsync out of the code at a time, in a copy of the tree, and demands that a
 * named test turns red. A removal that nobody notices is a check that nobody tests.
 *
 *   npm run mutations [-- --only NAME …] [--every N] [--list] [--json FILE] [--green-before]
 *
 * `--every N` tries one removal in N, and of the others looks only whether their text still stands: the gate's sample.
 * The working tree is never changed. The tests named in the table must be green before anything is removed; with
 * `--green-before` the caller has just seen that they are.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { reportFailure } from '../platform/command-line.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { endWithSignals, ROOT } from './gate/run-program.ts';
import { runTests } from './gate/vitest-run.ts';
import type { Removal } from './mutations/removal.ts';
import { REMOVALS } from './mutations/removals.ts';

/** Without a check some tests wait for what never comes. */
const HANG_MS = 60_000;
/** Copies of the tree, each with one removal under way: one may wait for its hang beside the others. */
const LANES = 3;
/** build/ keeps what other commands made, whole Debian roots among it. */
const NOT_COPIED = new Set(['node_modules', '.git', 'build']);

interface Outcome {
  readonly name: string;
  readonly file: string;
  readonly noticed: boolean;
  /** The tests that turned red, or why the removal could not be tried. */
  readonly red: readonly string[];
  readonly why: string;
}

async function copyTree(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'holdfast-removal-'));
  await cp(ROOT, copy, { recursive: true, filter: (path) => !NOT_COPIED.has(relative(ROOT, path)) });
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  // The published vectors lie beside the project, not in it.
  process.env.HOLDFAST_VECTORS ??= join(ROOT, '../shared/vectors');
  return copy;
}

/** Undefined when the text to remove does not stand there exactly once. */
function mutate(text: string, removal: Removal): string | undefined {
  const parts = text.split(removal.find);
  return parts.length === 2 ? parts.join(removal.replace) : undefined;
}

type TestsOf = (removal: Removal) => readonly string[] | undefined;

/** Runs every test file of the table once, unchanged. A removal's files are its tests only if all of them are green. */
async function greenTests(copy: string, removals: readonly Removal[]): Promise<TestsOf> {
  const before = await runTests([...new Set(removals.flatMap(({ tests }) => tests))], { root: copy, seed: 1 });
  for (const fault of before.faults) print(fault);
  return (removal) => {
    const files = before.files.filter(({ name }) => removal.tests.some((test) => name.startsWith(test)));
    return files.length > 0 && files.every(({ failed }) => failed === 0) ? files.map(({ name }) => name) : undefined;
  };
}

/** One removal at a time in each copy. */
async function tryAll(copies: readonly string[], removals: readonly Removal[], testsOf: TestsOf): Promise<Outcome[]> {
  const waiting = [...removals];
  const outcomes: Outcome[] = [];
  const lane = async (copy: string): Promise<void> => {
    for (let removal = waiting.shift(); removal !== undefined; removal = waiting.shift()) {
      const startMs = performance.now();
      const outcome = await tryRemoval(copy, removal, testsOf(removal));
      outcomes.push(outcome);
      printOutcome(outcome, (performance.now() - startMs) / 1000);
    }
  };
  await Promise.all(copies.map(lane));
  return outcomes;
}

function printOutcome(outcome: Outcome, seconds: number): void {
  const { noticed, name, file, red, why } = outcome;
  print(`${noticed ? '  ok ' : 'FAIL '}without ${name} (${file})  ${seconds.toFixed(1)} s`);
  for (const line of noticed ? red.slice(0, 3) : why.split('\n').slice(0, 12)) print(`       ${line}`);
}

async function tryRemoval(copy: string, removal: Removal, tests: readonly string[] | undefined): Promise<Outcome> {
  const path = join(copy, removal.file);
  const text = await readFile(path, 'utf8');
  const mutated = mutate(text, removal);
  const facts = { name: removal.name, file: removal.file };
  if (tests === undefined) {
    return {
      ...facts,
      noticed: false,
      red: [],
      why: `not green before anything was removed: ${removal.tests.join(', ')}`,
    };
  }
  if (mutated === undefined) return textGone(removal);
  await writeFile(path, mutated);
  try {
    const run = await runTests(tests, { root: copy, seed: 1, firstFailureWithinMs: HANG_MS });
    const red = run.files.flatMap((file) => file.failedTests.map((test) => `${file.name}: ${test}`));
    // A file that no longer loads proves nothing about the check: only a failed test counts.
    return {
      ...facts,
      noticed: red.length > 0,
      red,
      why: red.length > 0 ? '' : ['no test noticed', ...run.faults].join('\n'),
    };
  } finally {
    await writeFile(path, text);
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function choose(names: readonly string[]): readonly Removal[] {
  const chosen =
    names.length === 0 ? REMOVALS : REMOVALS.filter(({ name }) => names.some((part) => name.includes(part)));
  if (chosen.length > 0) return chosen;
  throw new Fault({
    code: 'removal-unknown',
    what: 'the table has no such removal',
    where: names.join(', '),
    cure: 'See --list.',
    exitStatus: EXIT.usage,
  });
}

/** Removals whose text does not stand in the working tree exactly once any more. */
async function textsGone(removals: readonly Removal[]): Promise<Outcome[]> {
  const gone: Outcome[] = [];
  for (const removal of removals) {
    if (mutate(await readFile(join(ROOT, removal.file), 'utf8'), removal) === undefined) gone.push(textGone(removal));
  }
  for (const outcome of gone) printOutcome(outcome, 0);
  return gone;
}

function textGone({ name, file }: Removal): Outcome {
  const why = 'the text to remove is not there any more: mend its entry in scripts/mutations/';
  return { name, file, noticed: false, red: [], why };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      list: { type: 'boolean', default: false },
      json: { type: 'string' },
      every: { type: 'string', default: '1' },
      'green-before': { type: 'boolean', default: false },
    },
  });
  if (values.list) {
    for (const { name, file } of REMOVALS) print(`${name.padEnd(60)} ${file}`);
    return EXIT.ok;
  }
  const every = Number(values.every);
  if (!Number.isSafeInteger(every) || every < 1) {
    throw new Fault({
      code: 'usage',
      what: `--every ${values.every} is not a whole number from 1`,
      cure: 'Use --every 3 to try a third.',
      exitStatus: EXIT.usage,
    });
  }
  const chosen = choose(values.only);
  const removals = chosen.filter((_, index) => index % every === every - 1);
  const gone = await textsGone(chosen);
  const copies = await Promise.all(Array.from({ length: LANES }, copyTree));
  try {
    const testsOf = values['green-before']
      ? ({ tests }: Removal) => tests
      : await greenTests(copies[0] ?? '', removals);
    const outcomes = [
      ...(await tryAll(copies, removals, testsOf)),
      ...gone.filter(({ name }) => !removals.some((one) => one.name === name)),
    ];
    const unnoticed = outcomes.filter(({ noticed }) => !noticed).length;
    if (values.json !== undefined) {
      await writeFile(values.json, `${JSON.stringify({ ok: unnoticed === 0, removals: outcomes }, null, 2)}\n`);
    }
    print(`${outcomes.length - unnoticed} passed, ${unnoticed} failed`);
    return unnoticed === 0 ? EXIT.ok : EXIT.bug;
  } finally {
    await Promise.all(copies.map((copy) => rm(copy, { recursive: true, force: true })));
  }
}

endWithSignals();
try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('mutations', error, { json: false, debug: false });
}
