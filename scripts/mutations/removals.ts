/**
 * What is taken out, one at a time, and the tests of which at least one must turn red. `find` is the exact text as the
 * formatter leaves it; when the code changes, the run says that the text is gone.
 */
export interface Removal {
  /** What is missing afterwards: "the signature check of the envelope". */
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** How often `find` stands in the file; all are replaced. Once when absent. */
  readonly places?: number;
  /** Test files, from the project's root. */
  readonly tests: readonly string[];
}

const DURABLE_FILE_TESTS = ['test/unit/platform/durable-file.test.ts', 'test/sim/durable-file.test.ts'];

export const REMOVALS: readonly Removal[] = [
  {
    name: 'the fsync of the fresh file before the rename',
    file: 'platform/durable-file.ts',
    find: '    await file.sync();\n',
    replace: '',
    tests: DURABLE_FILE_TESTS,
  },
];
