/**
 * Runs steps at most two at a time, in order, each after those it depends on. A failure never stops the others: one
 * run shows every fault. A step whose verdict rests on others runs without waiting for them, and is judged after them.
 */
import { errorText } from '../../platform/fault.ts';
import type { Step, StepResult } from './step.ts';

export interface FinishedStep {
  readonly step: Step;
  readonly result: StepResult;
  readonly seconds: number;
}

export interface Watcher {
  started(step: Step): void;
  progress(step: Step, line: string): void;
  finished(finished: FinishedStep): void;
}

const LANES = 2;

/** Results in the order of `steps`. A dependency that is not among `steps` is taken as met: `--only` runs one step. */
export async function runSteps(steps: readonly Step[], watcher: Watcher): Promise<FinishedStep[]> {
  const finished = new Map<string, FinishedStep>();
  /** Those that have run, and rest on some that have not. */
  const unjudged = new Set<FinishedStep>();
  const running = new Map<string, Promise<void>>();
  const waiting = [...steps];
  const present = new Set(steps.map(({ name }) => name));

  const mayStart = (step: Step): boolean => {
    if (running.size >= LANES) return false;
    return (step.after ?? []).every((name) => !present.has(name) || finished.has(name));
  };
  const settle = (outcome: FinishedStep): void => {
    const grounds = (outcome.step.restsOn ?? []).filter((name) => present.has(name));
    if (!grounds.every((name) => finished.has(name))) {
      unjudged.add(outcome);
      return;
    }
    unjudged.delete(outcome);
    const broken = grounds.find((name) => (finished.get(name)?.result.failed ?? 0) > 0);
    const judged = broken === undefined ? outcome : { ...outcome, result: resultWithout(broken, outcome.result) };
    finished.set(outcome.step.name, judged);
    watcher.finished(judged);
    for (const other of unjudged) settle(other);
  };

  while (waiting.length > 0 || running.size > 0) {
    const index = waiting.findIndex(mayStart);
    if (index === -1) {
      if (running.size === 0)
        throw new Error(`steps wait for each other: ${waiting.map(({ name }) => name).join(', ')}`);
      await Promise.race(running.values());
      continue;
    }
    const [step] = waiting.splice(index, 1);
    if (step === undefined) continue;
    const brokenBefore = (step.after ?? []).find((name) => (finished.get(name)?.result.failed ?? 0) > 0);
    running.set(
      step.name,
      runStep(step, brokenBefore, watcher).then((outcome) => {
        running.delete(step.name);
        settle(outcome);
      }),
    );
  }
  if (unjudged.size > 0)
    throw new Error(`steps rest on each other: ${[...unjudged].map(({ step }) => step.name).join(', ')}`);
  return steps.flatMap(({ name }) => finished.get(name) ?? []);
}

/** What a step found proves nothing when one that it rests on failed. */
function resultWithout(broken: string, { skipped, findings }: StepResult): StepResult {
  return { passed: 0, failed: 1, skipped, findings: [`proves nothing: ${broken} failed`, ...findings] };
}

async function runStep(step: Step, brokenBefore: string | undefined, watcher: Watcher): Promise<FinishedStep> {
  if (brokenBefore !== undefined) {
    return {
      step,
      seconds: 0,
      result: { passed: 0, failed: 1, skipped: 0, findings: [`not run: ${brokenBefore} failed`] },
    };
  }
  watcher.started(step);
  const startMs = performance.now();
  let result: StepResult;
  try {
    result = await step.run((line) => watcher.progress(step, line));
    if (result.passed + result.failed === 0) result = { ...result, failed: 1, findings: ['nothing was checked'] };
  } catch (error) {
    result = { passed: 0, failed: 1, skipped: 0, findings: [`the step itself broke: ${errorText(error)}`] };
  }
  return { step, result, seconds: (performance.now() - startMs) / 1000 };
}
