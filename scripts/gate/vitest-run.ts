/**
 * Runs a folder of tests and reads the counts out of vitest's own report: never out of what was meant to run.
 * A folder in which no test ran is a failure.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import * as v from 'valibot';
import { ROOT, runNode } from './run-program.ts';
import type { StepResult } from './step.ts';
import { tail } from './step.ts';

const Report = v.object({
  success: v.boolean(),
  testResults: v.array(
    v.object({
      name: v.string(),
      status: v.string(),
      message: v.optional(v.string(), ''),
      assertionResults: v.array(
        v.object({
          fullName: v.string(),
          status: v.picklist(['passed', 'failed', 'skipped', 'pending', 'todo', 'disabled']),
          failureMessages: v.optional(v.nullable(v.array(v.string())), []),
          meta: v.optional(v.record(v.string(), v.unknown()), {}),
        }),
      ),
    }),
  ),
});
type FileReport = v.InferOutput<typeof Report>['testResults'][number];

/** One test file, as it really ran. */
export interface TestFile {
  /** Path from the project's root. */
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failedTests: readonly string[];
  /** One entry per failure, and one per group of skipped tests. */
  readonly why: readonly string[];
}

export interface TestRun {
  readonly files: readonly TestFile[];
  /** Faults that belong to no single test: vitest did not start, hung, or an error escaped. */
  readonly faults: readonly string[];
}

export interface TestOptions {
  readonly exclude?: readonly string[];
  readonly seed?: number;
  /** Stop at the first failed test, and call a test that hangs failed after this time. */
  readonly firstFailureWithinMs?: number;
  /** The tree to test; the project itself when absent. */
  readonly root?: string;
  readonly progress?: (line: string) => void;
}

const FINISHED_FILE = /^\s*[✓❯×]\s+(test\/\S+\.ts \(.*)$/;

/** `filters` are folders or files of tests, from the root. */
export async function runTests(filters: string | readonly string[], options: TestOptions = {}): Promise<TestRun> {
  const root = options.root ?? ROOT;
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-gate-'));
  const reportPath = join(directory, 'report.json');
  try {
    const run = await runNode(
      [
        join(ROOT, 'node_modules/vitest/vitest.mjs'),
        'run',
        ...(typeof filters === 'string' ? [filters] : filters),
        ...(options.exclude ?? []).flatMap((pattern) => ['--exclude', pattern]),
        ...(options.firstFailureWithinMs === undefined
          ? []
          : [
              '--bail=1',
              `--testTimeout=${options.firstFailureWithinMs}`,
              `--hookTimeout=${options.firstFailureWithinMs}`,
            ]),
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${reportPath}`,
      ],
      {
        directory: root,
        // A loop that never lets a timer run is not ended by vitest.
        ...(options.firstFailureWithinMs === undefined ? {} : { hangMs: 4 * options.firstFailureWithinMs }),
        environment: {
          // Whatever a test leaves behind goes when the run does.
          TMPDIR: directory,
          ...(options.seed === undefined ? {} : { HOLDFAST_SEED: String(options.seed) }),
        },
        onLine: (line) => {
          const finished = FINISHED_FILE.exec(line)?.[1];
          if (finished !== undefined) options.progress?.(finished);
        },
      },
    );
    const text = await readFile(reportPath, 'utf8').catch(() => undefined);
    if (text === undefined)
      return { files: [], faults: [run.hung ? 'the tests hung' : 'vitest made no report', ...tail(run.output, 40)] };
    const report = v.parse(Report, JSON.parse(text));
    const files = report.testResults.map((file) => fileOf(root, file));
    // An unhandled error fails the run although every test in it passed.
    const escaped = run.status !== 0 && files.every((file) => file.failed === 0);
    return { files, faults: escaped ? [`vitest ended with status ${run.status}`, ...tail(run.output, 40)] : [] };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function fileOf(root: string, report: FileReport): TestFile {
  const name = relative(root, report.name);
  const failures = report.assertionResults.filter((test) => test.status === 'failed');
  const passed = report.assertionResults.filter((test) => test.status === 'passed').length;
  const skipped = report.assertionResults.length - failures.length - passed;
  const why = failures.map((test) => `${test.fullName}\n${(test.failureMessages ?? []).map(firstLines).join('\n')}`);
  // A file that does not even load reports no test at all.
  const broken = report.status === 'failed' && failures.length === 0;
  if (broken) why.push(`the file failed as a whole\n${firstLines(report.message)}`);
  if (skipped > 0) why.push(`${skipped} skipped`);
  const failedTests = failures.map((test) => test.fullName);
  return { name, passed, failed: failures.length + (broken ? 1 : 0), skipped, failedTests, why };
}

function firstLines(message: string): string {
  return message
    .split('\n')
    .slice(0, 12)
    .map((line) => `    ${line}`)
    .join('\n');
}

function skippedText({ name, skipped }: TestFile): string {
  return `${skipped} skipped in ${name}`;
}

export function resultOfTests(run: TestRun): StepResult {
  const sum = (count: (file: TestFile) => number): number => run.files.reduce((total, file) => total + count(file), 0);
  const ran = sum((file) => file.passed + file.failed);
  const faults = ran === 0 && run.faults.length === 0 ? ['no test ran'] : run.faults;
  return {
    passed: sum((file) => file.passed),
    failed: sum((file) => file.failed) + (faults.length > 0 ? 1 : 0),
    skipped: sum((file) => file.skipped),
    findings: [
      ...faults,
      ...run.files.filter((file) => file.failed > 0).flatMap((file) => file.why.map((why) => `${file.name}: ${why}`)),
    ],
    note: [`${run.files.length} files`, ...run.files.filter(({ skipped }) => skipped > 0).map(skippedText)].join('; '),
  };
}
