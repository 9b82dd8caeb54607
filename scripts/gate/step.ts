/** What a step of the gate is and says. */
import type { ProgramRun } from './run-program.ts';

export interface StepResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What a person needs to mend it; empty when nothing failed. */
  readonly findings: readonly string[];
  /** One line beside the counts: what was really looked at. */
  readonly note?: string;
}

export interface Step {
  readonly name: string;
  readonly what: string;
  /** Names of steps without which this one makes no sense: it fails, not run, when one of them failed. */
  readonly after?: readonly string[];
  /** Names of steps that may run beside this one, or after it, and on whose success its verdict rests. */
  readonly restsOn?: readonly string[];
  run(progress: (line: string) => void): Promise<StepResult>;
}

/** One check that a whole program stands for. */
export function resultOfProgram(run: ProgramRun, findingLines = 60): StepResult {
  if (run.status === 0) return { passed: 1, failed: 0, skipped: 0, findings: [] };
  const why = run.hung ? 'it hung and was ended' : `exit status ${run.status}`;
  return { passed: 0, failed: 1, skipped: 0, findings: [why, ...tail(run.output, findingLines)] };
}

/** Counts checks with a finding each: one passed per name that has none. */
export function resultOfChecks(
  checks: readonly { readonly name: string; readonly findings: readonly string[] }[],
): StepResult {
  const failed = checks.filter((check) => check.findings.length > 0);
  return {
    passed: checks.length - failed.length,
    failed: failed.length,
    skipped: 0,
    findings: failed.flatMap((check) => check.findings.map((finding) => `${check.name}: ${finding}`)),
  };
}

export function tail(text: string, lines: number): string[] {
  const all = text.trimEnd().split('\n');
  return all.length <= lines ? all : [`… ${all.length - lines} lines before`, ...all.slice(-lines)];
}
