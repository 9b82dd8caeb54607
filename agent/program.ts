/** How each of the agent's programs runs and ends: one message when it fails, a status, and its output said to the end. */
import { reportFailure } from '../platform/command-line.ts';

/** Ends the process with the status that `main` gives. `--json` and `--debug` among the words say how a failure is told. */
export async function runAsProgram(name: string, main: (words: readonly string[]) => Promise<number>): Promise<void> {
  const words = process.argv.slice(2);
  const status = await statusOf(name, words, main);
  // A download that is cut here goes on at the next start: nothing is waited for. Output is flushed first.
  process.stdout.write('', () => process.exit(status));
}

async function statusOf(
  name: string,
  words: readonly string[],
  main: (words: readonly string[]) => Promise<number>,
): Promise<number> {
  try {
    return await main(words);
  } catch (error) {
    return reportFailure(name, error, { json: words.includes('--json'), debug: words.includes('--debug') });
  }
}
