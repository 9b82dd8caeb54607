/**
 * The first boot's campaign in a process of its own: scripts/sim.ts starts it.
 *
 *   node main.ts campaign --seed N --share S
 *   node main.ts removals --seed N
 *
 * Progress goes to stderr, one line each; stdout is one line of JSON: counts and failure, or the list of what was removed.
 */
import { parseArgs } from 'node:util';
import { CutFailed, EveryCut } from './every-cut.ts';
import { tryFaults } from './faults.ts';
import { tryRemovals } from './removals.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, share: { type: 'string', default: '1' } },
});
const seed = Number(values.seed);
const progress = (line: string): void => void process.stderr.write(`${line}\n`);
const answer = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (positionals[0] === 'removals') {
  const told = ({ what, noticedBy }: { what: string; noticedBy: string }) =>
    progress(`${noticedBy === '' ? 'FAIL' : 'ok  '} without ${what}: ${noticedBy || 'nobody noticed'}`);
  answer(await tryRemovals(seed, told));
} else {
  const campaign = new EveryCut({ seed, share: Number(values.share), progress });
  let [failure, faults, closed] = ['', 0, 0];
  try {
    await campaign.run();
    ({ faults, closed } = await tryFaults(1));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    failure = error instanceof CutFailed ? error.message : (error.stack ?? error.message);
  }
  answer({ ...campaign.counts, faults, closed, failure });
}
