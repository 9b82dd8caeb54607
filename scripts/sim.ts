/**
 * The simulation.
 *
 *   npm run sim -- [--seed N] [--json FILE]                 the suites of test/sim, as the gate runs them: a sample
 *   npm run sim -- --all [--seed N] [--json FILE]           every cut, every pair, every fault
 *   npm run sim -- --only PART [--cut N[,M]] [--trouble T]  one part of it; one cut, one pair, one trouble again
 *   npm run sim -- --removals [--seed N] [--json FILE]      each fsync, journal write and record write taken away
 *   npm run sim -- --first-boot [--seed N] [--json FILE]    the first boot: every cut and every pair of a life, and what
 *                                                           is taken away of it
 *
 * `--share S` tries that share of pairs and faults. Two parts run at a time, each in a process of its own. A failure
 * prints the one command that replays it. `--json` writes { ok, seed, suites: [{ name, cases, passed, failed, skipped,
 * why, … }] }; docs/SIMULATION.md explains the counts.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as v from 'valibot';
import { reportFailure } from '../platform/command-line.ts';
import { EXIT, Fault } from '../platform/fault.ts';
import { endWithSignals, ROOT, runNode } from './gate/run-program.ts';

const LANES = 2;
/** A guard against a hang: far above the longest part. */
const HANG_MS = 12 * 3600 * 1000;
const MAIN = join(ROOT, 'test/sim/crash-everywhere/main.ts');
const FIRST_BOOT = join(ROOT, 'test/sim/first-boot/main.ts');

/** What main.ts answers. The counts are those of docs/SIMULATION.md. */
const PartResult = v.object({
  operations: v.number(),
  cuts: v.number(),
  disks: v.number(),
  pairs: v.number(),
  possiblePairs: v.number(),
  recoveries: v.number(),
  faults: v.number(),
  /** Empty when nothing went wrong. */
  failure: v.string(),
  replay: v.string(),
});
type PartResult = v.InferOutput<typeof PartResult>;
const PartNames = v.array(v.string());
const FirstBootResult = v.object({
  operations: v.number(),
  cuts: v.number(),
  pairs: v.number(),
  recoveries: v.number(),
  faults: v.number(),
  /** Faults that left a boot closed. */
  closed: v.number(),
  /** Empty when nothing went wrong. */
  failure: v.string(),
});
const RemovedList = v.array(v.object({ what: v.string(), noticedBy: v.string() }));

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function wrongUsage(what: string, where: string): Fault {
  const cure = 'See the top of scripts/sim.ts, or docs/SIMULATION.md.';
  return new Fault({ code: 'usage', what, where, cure, exitStatus: EXIT.usage });
}

interface Settings {
  readonly seed: string;
  readonly share: string;
  readonly cut: string | undefined;
  readonly trouble: string | undefined;
}

interface Ran {
  readonly name: string;
  readonly seconds: number;
  readonly result: PartResult;
}

/** The program's one line of JSON; a Fault when it ended without. */
async function runMain(words: readonly string[], onLine: (line: string) => void, main = MAIN): Promise<unknown> {
  const run = await runNode([main, ...words], { hangMs: HANG_MS, onLine });
  const line = run.standardOutput.trim().split('\n').at(-1) ?? '';
  if (run.status === 0) return JSON.parse(line);
  throw new Error(`${words.join(' ')} ended with status ${run.status}\n${run.output.slice(-4000)}`);
}

async function runPart(name: string, { seed, share, cut, trouble }: Settings): Promise<Ran> {
  const startMs = performance.now();
  const words = [name, '--seed', seed, '--share', share];
  if (cut !== undefined) words.push('--cut', cut);
  if (trouble !== undefined) words.push('--trouble', trouble);
  const answer = await runMain(words, (line) => {
    if (!line.startsWith('{')) print(`       ${name}: ${line}`);
  });
  const result = v.parse(PartResult, answer);
  return { name, seconds: (performance.now() - startMs) / 1000, result };
}

function printRan({ name, seconds, result }: Ran, seed: string): void {
  const { operations, cuts, disks, pairs, possiblePairs, recoveries, faults, failure, replay } = result;
  const counts = [
    cuts > 0 ? `${operations} operations, ${cuts} cuts` : '',
    disks > 0
      ? `${disks} different disks, pairs ${pairs} of ${possiblePairs} (${recoveries} more different disks)`
      : '',
    faults > 0 ? `${faults} faults` : '',
  ].filter(Boolean);
  print(`${failure === '' ? '  ok ' : 'FAIL '}${name}: ${counts.join(', ')}; ${seconds.toFixed(0)} s`);
  if (failure === '') return;
  print(`  seed ${seed}, ${failure}`);
  print(`  replay: npm run sim -- --only '${name}' --seed ${seed}${replay === '' ? '' : ` ${replay}`}`);
}

async function runParts(names: readonly string[], settings: Settings): Promise<Ran[]> {
  const waiting = [...names];
  const ran: Ran[] = [];
  const lane = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const one = await runPart(name, settings);
      ran.push(one);
      printRan(one, settings.seed);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return ran;
}

async function campaign(names: readonly string[], settings: Settings, json: string | undefined): Promise<number> {
  const startMs = performance.now();
  const ran = await runParts(names, settings);
  const sum = (count: keyof PartResult) => ran.reduce((total, { result }) => total + Number(result[count]), 0);
  const failures = ran.filter(({ result }) => result.failure !== '').length;
  const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
  print(
    `seed ${settings.seed}: ${sum('operations')} operations, ${sum('cuts')} cuts, pairs run ${sum('pairs')} of ${sum('possiblePairs')} possible, ${sum('faults')} faults, ${failures} failures; ${minutes} min`,
  );
  if (json !== undefined) {
    const suites = ran.map(({ name, seconds, result }) => {
      const cases = result.cuts + result.pairs + result.faults;
      const failed = result.failure === '' ? 0 : 1;
      return { name, cases, passed: cases - failed, failed, skipped: 0, why: result.failure, seconds, ...result };
    });
    await writeFile(json, `${JSON.stringify({ ok: failures === 0, seed: Number(settings.seed), suites }, null, 2)}\n`);
  }
  return failures === 0 ? EXIT.ok : EXIT.bug;
}

async function runRemovals(seed: string, main: string) {
  const told = (line: string): void => (line.startsWith('[') ? undefined : print(line));
  const list = v.parse(RemovedList, await runMain(['removals', '--seed', seed], told, main));
  const unnoticed = list.filter(({ noticedBy }) => noticedBy === '');
  print(`${list.length} taken away, one at a time: ${list.length - unnoticed.length} noticed, ${unnoticed.length} not`);
  const why = unnoticed.map(({ what }) => what).join('\n');
  const cases = { cases: list.length, passed: list.length - unnoticed.length, failed: unnoticed.length, skipped: 0 };
  return { name: 'removals', ...cases, why, removals: list };
}

async function endWith(seed: string, suites: readonly { readonly failed: number }[], json: string | undefined) {
  const ok = suites.every(({ failed }) => failed === 0);
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ ok, seed: Number(seed), suites }, null, 2)}\n`);
  return ok ? EXIT.ok : EXIT.bug;
}

async function firstBoot(seed: string, share: string, json: string | undefined): Promise<number> {
  const startMs = performance.now();
  const told = (line: string): void => (line.startsWith('{') ? undefined : print(`       ${line}`));
  const result = v.parse(
    FirstBootResult,
    await runMain(['campaign', '--seed', seed, '--share', share], told, FIRST_BOOT),
  );
  const { operations, cuts, pairs, recoveries, faults, closed, failure } = result;
  const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
  print(
    `${failure === '' ? '  ok ' : 'FAIL '}first boot, seed ${seed}: ${operations} operations, ${cuts} cuts, ${pairs} pairs (${recoveries} different disks), ${faults} faults (${closed} left a boot closed); ${minutes} min`,
  );
  if (failure !== '') print(`  ${failure}`);
  const failed = failure === '' ? 0 : 1;
  const cases = cuts + pairs + faults;
  const campaign = { name: 'first boot', cases, passed: cases - failed, failed, skipped: 0, why: failure, ...result };
  return endWith(seed, [campaign, await runRemovals(seed, FIRST_BOOT)], json);
}

async function suites(seed: string, json: string | undefined): Promise<number> {
  const words = ['sim', '--seed', seed, ...(json === undefined ? [] : ['--json', json])];
  const run = await runNode([join(ROOT, 'scripts/suites.ts'), ...words], { hangMs: HANG_MS, onLine: print });
  return run.status ?? EXIT.bug;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      all: { type: 'boolean', default: false },
      removals: { type: 'boolean', default: false },
      'first-boot': { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      seed: { type: 'string', default: '1' },
      share: { type: 'string', default: '1' },
      cut: { type: 'string' },
      trouble: { type: 'string' },
      json: { type: 'string' },
    },
  });
  const { seed, share, cut, trouble, json } = values;
  if (!/^\d{1,9}$/.test(seed)) throw wrongUsage('a seed is a whole number, 0 or more', seed);
  if (!(Number(share) > 0 && Number(share) <= 1)) throw wrongUsage('a share is more than 0 and at most 1', share);
  if (cut !== undefined && !/^\d+(,\d+)?$/.test(cut)) throw wrongUsage('a cut is N, or N,M', cut);
  if (values['first-boot']) return firstBoot(seed, share, json);
  if (values.removals) return endWith(seed, [await runRemovals(seed, MAIN)], json);
  const parts = v.parse(PartNames, await runMain(['parts'], () => {}));
  const unknown = values.only.find((name) => !parts.includes(name));
  if (unknown !== undefined) throw wrongUsage(`no such part; there are ${parts.join(' | ')}`, unknown);
  const names = values.all ? parts : values.only;
  return names.length > 0 ? campaign(names, { seed, share, cut, trouble }, json) : suites(seed, json);
}

endWithSignals();
try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = reportFailure('sim', error, { json: false, debug: false });
}
