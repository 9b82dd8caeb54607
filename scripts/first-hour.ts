/**
 * Types docs/first-hour.md: every line of its `sh` blocks, in order, in one shell, exactly as it stands there. Ends with
 * status 0 only when every line did, and when no process is left that a line started.
 *
 * The shell's temporary folder is one of our own and is removed at the end; nothing else is touched.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endWithSignals, ROOT, runProgram } from './gate/run-program.ts';

const DOCUMENT = 'docs/first-hour.md';
/** A guard against a hang; the hour takes a few minutes. */
const HANG_MS = 9 * 60_000;

/** The lines of every `sh` block. Blocks of another kind (`text`, `json`) show output and are not run. */
export function shellLines(markdown: string): string {
  return [...markdown.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block).join('\n');
}

/** Fails when a line left something running: a reader would be left with it too. */
const NOTHING_LEFT = `
set +v
left=$(jobs -rp)
if [ -n "$left" ]; then echo "first-hour: still running at the end: $left" >&2; kill $left; exit 1; fi
`;

async function main(): Promise<number> {
  const lines = shellLines(await readFile(join(ROOT, DOCUMENT), 'utf8'));
  if (lines.trim() === '') throw new Error(`${DOCUMENT} has no line to run`);
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-first-hour-'));
  try {
    const script = join(directory, 'lines.sh');
    await writeFile(script, lines + NOTHING_LEFT);
    // -e: stop at the first line that fails. -v: print each line before it runs.
    const run = await runProgram('bash', ['-e', '-u', '-v', '-o', 'pipefail', script], {
      directory: ROOT,
      environment: { TMPDIR: directory },
      hangMs: HANG_MS,
      onLine: (line) => process.stdout.write(`${line}\n`),
    });
    if (run.status !== 0) {
      const why = run.hung ? 'a line hung' : `a line ended with status ${run.status}`;
      process.stdout.write(`first-hour: ${why}: the last one printed above\n`);
    }
    return run.status ?? 1;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

endWithSignals();
process.exitCode = await main();
