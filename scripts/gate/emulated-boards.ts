/** A sample of the emulated boards (docs/QEMU.md) as a step of the gate: each of its findings is a check. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { ROOT, runNode } from './run-program.ts';
import { resultOfProgram, type StepResult } from './step.ts';

const Report = v.object({
  scenarios: v.array(
    v.object({ name: v.string(), findings: v.array(v.object({ holds: v.boolean(), text: v.string() })) }),
  ),
});

/** `options`: what `npm run qemu` is to run. */
export async function runBoards(options: readonly string[], progress: (line: string) => void): Promise<StepResult> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-gate-'));
  try {
    const json = join(directory, 'report.json');
    const run = await runNode([join(ROOT, 'scripts/qemu/main.ts'), ...options, '--json', json], {
      onLine: (line) => /^ {2}(ok|NOT OK) /.test(line) && progress(line.trim()),
    });
    const written = await readFile(json, 'utf8').catch(() => undefined);
    if (written === undefined) return resultOfProgram(run);
    const findings = v
      .parse(Report, JSON.parse(written))
      .scenarios.flatMap((scenario) =>
        scenario.findings.map(({ holds, text }) => ({ holds, text: `${scenario.name}: ${text}` })),
      );
    const broken = findings.filter(({ holds }) => !holds);
    // Its verdict counts too: a run that looked at nothing is not a good one.
    const failed = broken.length > 0 ? broken.length : Number(run.status !== 0);
    return {
      passed: findings.length - broken.length,
      failed,
      skipped: 0,
      findings: failed === 0 ? [] : [...broken.map(({ text }) => text), ...resultOfProgram(run).findings],
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
