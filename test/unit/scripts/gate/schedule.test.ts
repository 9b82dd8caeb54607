import { expect, test } from 'vitest';
import { type FinishedStep, runSteps } from '../../../../scripts/gate/schedule.ts';
import type { Step } from '../../../../scripts/gate/step.ts';

/** Steps by hand: each says when it starts, and ends when the test says so. */
class Bench {
  readonly started: string[] = [];
  readonly told: string[] = [];
  readonly #ends = new Map<string, (failed: number) => void>();

  step(name: string, more: Pick<Step, 'after' | 'restsOn'> = {}): Step {
    const run = (): ReturnType<Step['run']> =>
      new Promise((resolve) => {
        this.#ends.set(name, (failed) => resolve({ passed: failed === 0 ? 3 : 2, failed, skipped: 0, findings: [] }));
      });
    return { name, what: name, ...more, run };
  }

  run(...steps: Step[]): Promise<FinishedStep[]> {
    return runSteps(steps, {
      started: ({ name }) => this.started.push(name),
      progress: () => undefined,
      finished: ({ step, result }) => this.told.push(`${step.name} ${result.passed}/${result.failed}`),
    });
  }

  async end(name: string, failed = 0): Promise<void> {
    const end = this.#ends.get(name);
    if (end === undefined) throw new Error(`${name} does not run`);
    end(failed);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('two run at a time, in order, each after those it depends on', async () => {
  const bench = new Bench();
  const run = bench.run(bench.step('a'), bench.step('b', { after: ['a'] }), bench.step('c'), bench.step('d'));
  expect(bench.started).toEqual(['a', 'c']);
  await bench.end('c');
  expect(bench.started).toEqual(['a', 'c', 'd']);
  await bench.end('a');
  expect(bench.started).toEqual(['a', 'c', 'd', 'b']);
  await bench.end('b');
  await bench.end('d');
  expect((await run).map(({ step }) => step.name)).toEqual(['a', 'b', 'c', 'd']);
});

test('what depends on a failed step is not run, and fails', async () => {
  const bench = new Bench();
  const run = bench.run(bench.step('a'), bench.step('b', { after: ['a'] }));
  await bench.end('a', 1);
  expect((await run).map(({ result }) => result.findings)).toEqual([[], ['not run: a failed']]);
  expect(bench.started).toEqual(['a']);
});

test('what rests on others runs beside them, and is judged when they have ended', async () => {
  const bench = new Bench();
  const run = bench.run(bench.step('removals', { restsOn: ['unit', 'sim'] }), bench.step('unit'), bench.step('sim'));
  expect(bench.started).toEqual(['removals', 'unit']);
  await bench.end('removals');
  await bench.end('unit');
  expect(bench.told).toEqual(['unit 3/0']);
  await bench.end('sim');
  expect(bench.told).toEqual(['unit 3/0', 'sim 3/0', 'removals 3/0']);
  await run;
});

test('what rests on a failed step proves nothing, whatever it found itself', async () => {
  const bench = new Bench();
  const run = bench.run(bench.step('removals', { restsOn: ['unit'] }), bench.step('unit'));
  await bench.end('removals');
  await bench.end('unit', 2);
  expect((await run)[0]?.result).toMatchObject({ passed: 0, failed: 1, findings: ['proves nothing: unit failed'] });
});

test('a step that is not in this run counts as met', async () => {
  const bench = new Bench();
  const run = bench.run(bench.step('removals', { after: ['build'], restsOn: ['unit'] }));
  await bench.end('removals');
  expect((await run)[0]?.result.passed).toBe(3);
});

test('steps that wait for each other, or rest on each other, are no gate', async () => {
  const bench = new Bench();
  await expect(bench.run(bench.step('a', { after: ['b'] }), bench.step('b', { after: ['a'] }))).rejects.toThrow('a, b');
  const run = bench.run(bench.step('a', { restsOn: ['b'] }), bench.step('b', { restsOn: ['a'] }));
  const refused = expect(run).rejects.toThrow('rest on each other: a, b');
  await bench.end('a');
  await bench.end('b');
  await refused;
});
