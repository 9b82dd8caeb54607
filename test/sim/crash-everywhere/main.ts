/**
 * Runs one part of the campaign, or the removals, in a process of its own: scripts/sim.ts starts it, and so does the test.
 *
 *   node main.ts PART --seed N --share S [--cut N[,M]] [--trouble NAME]
 *   node main.ts removals --seed N
 *   node main.ts parts
 *
 * Progress goes to stderr, one line each; stdout is one line of JSON: a PartResult, the list of what was
 * removed, or the names of the parts.
 */
import './signatures-once.ts';
import { parseArgs } from 'node:util';

// Loaded after the hook that it needs.
const { PARTS } = await import('./parts.ts');
const { tryRemovals } = await import('./removals.ts');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: '1' },
    share: { type: 'string', default: '1' },
    cut: { type: 'string' },
    trouble: { type: 'string' },
  },
});
const [name = ''] = positionals;
const seed = Number(values.seed);
const progress = (line: string): void => void process.stderr.write(`${line}\n`);
const answer = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (name === 'parts') answer(PARTS.map((part) => part.name));
else if (name === 'removals') {
  const told = ({ what, noticedBy }: { what: string; noticedBy: string }) =>
    progress(`${noticedBy === '' ? 'FAIL' : 'ok  '} without ${what}: ${noticedBy || 'nobody noticed'}`);
  answer(await tryRemovals(seed, told));
} else {
  const part = PARTS.find((one) => one.name === name);
  if (part === undefined) throw new Error(`no part ${name}; there are ${PARTS.map((one) => one.name).join(' | ')}`);
  const cut = values.cut?.split(',').map(Number);
  answer(await part.run({ seed, share: Number(values.share), cut, trouble: values.trouble, progress }));
}
