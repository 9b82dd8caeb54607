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
  /** Test files, from the project's root. */
  readonly tests: readonly string[];
}

type Part = Omit<Removal, 'file' | 'tests'>;

export function inFile(file: string, tests: readonly string[], parts: readonly Part[]): Removal[] {
  return parts.map((part) => ({ file, tests, ...part }));
}
