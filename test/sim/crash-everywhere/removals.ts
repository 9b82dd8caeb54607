/**
 * Takes every fsync, every journal write and every other record write away, one at a time, by the place in the code that
 * makes it, and demands that a scenario notices. The places are found in the source, so that a new one cannot be
 * forgotten; a place that no scenario reaches counts as not noticed.
 *
 * A write that is taken away is known to the agent and not on the disk. A transition's journaling is a place of its own
 * for each pair of states. And the order: the counter raised before the slot is confirmed.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { EmulatedBoard } from '../../../agent/boards/emulated.ts';
import { DeviceState } from '../../../agent/storage/device-state.ts';
import type { InstallJournal } from '../../../agent/storage/journal.ts';
import { StateRecord } from '../../../agent/storage/state-record.ts';
import type { SimulatedDisk } from '../simulated-disk.ts';
import { EveryCut } from './every-cut.ts';
import { FORMAT_RULE_BROKEN, SCENARIOS } from './scenarios.ts';
import { STORE_SCENARIOS, tryStore } from './store-scenarios.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
/** The port itself and what only passes a call on. */
const PASSES_ON = ['platform/disk.ts', 'agent/storage/slot-file.ts'];
/** Has removals of its own (test/sim/first-boot/removals.ts). */
const FIRST_BOOT = 'agent/first-boot';

export interface Removed {
  /** `fsync platform/durable-file.ts:23`. */
  readonly what: string;
  /** The scenario that noticed, and how; empty when none did. */
  readonly noticedBy: string;
}

/** What is taken away now. */
let taken = '';
/** Everything that was met. */
const met = new Set<string>();

function gone(what: string): boolean {
  met.add(what);
  return what === taken;
}

/** The line of shipped code that made this call. */
function callSite(): string {
  const line = (new Error().stack ?? '')
    .split('\n')
    .map((frame) => /((?:agent|platform)\/[^:]+\.ts):(\d+)/.exec(frame))
    .find((found) => found !== null && !PASSES_ON.includes(found[1] ?? ''));
  return line === undefined || line === null ? 'a test' : `${line[1]}:${line[2]}`;
}

function* sourceFiles(folder: string): Generator<string> {
  for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory() && path !== FIRST_BOOT) yield* sourceFiles(path);
    else if (entry.isFile() && path.endsWith('.ts') && !PASSES_ON.includes(path)) yield path;
  }
}

/** `fsync FILE:LINE`, `journal FILE:LINE`, `record FILE:LINE`, as the source has them. */
export function placesInSource(): string[] {
  const places: string[] = [];
  for (const path of [...sourceFiles('agent'), ...sourceFiles('platform')]) {
    for (const [index, line] of readFileSync(join(ROOT, path), 'utf8').split('\n').entries()) {
      const at = `${relative(ROOT, join(ROOT, path))}:${index + 1}`;
      if (/\.sync\(\)|\.syncDirectory\(/.test(line)) places.push(`fsync ${at}`);
      if (/\.journalTo\(/.test(line)) places.push(`journal ${at}`);
      if (path === 'agent/storage/device-state.ts' && /records\.(?!journal)\w+\.write\(/.test(line))
        places.push(`record ${at}`);
    }
  }
  return places;
}

const BARE_RULE = 'the rule that a trial writes only what its predecessor reads';
const ORDER = 'the order: confirm, then raise the counter';

/** Lets writes be taken away. Once per process. */
function instrument(): void {
  const { journalTo } = DeviceState.prototype;
  const { write } = StateRecord.prototype;
  /** Which place journals now; a change that changes nothing writes nothing, and is no place. */
  let journaling = '';
  StateRecord.prototype.write = function (this: StateRecord<unknown>, value: unknown) {
    const place = this.path.endsWith('/journal') ? journaling : `record ${callSite()}`;
    if (gone(place)) return Promise.resolve();
    return write.call(this, value);
  };
  DeviceState.prototype.journalTo = function (this: DeviceState, change: Partial<InstallJournal>) {
    const at = `journal ${callSite()}`;
    // The write begins before the first await.
    journaling = change.state === undefined ? at : `${at} ${this.journal.state} → ${change.state}`;
    const done = journalTo.call(this, change);
    journaling = '';
    return done;
  };
  const { confirmSlot } = EmulatedBoard.prototype;
  let waiting: (() => Promise<void>) | undefined;
  EmulatedBoard.prototype.confirmSlot = async function (this: EmulatedBoard, slot) {
    const confirm = () => confirmSlot.call(this, slot);
    if (taken === ORDER) waiting = confirm;
    else await confirm();
  };
  const { raiseCounters } = DeviceState.prototype;
  DeviceState.prototype.raiseCounters = async function (this: DeviceState, to) {
    await raiseCounters.call(this, to);
    await waiting?.();
    waiting = undefined;
  };
}

/** The first scenario that notices, and what it said. */
async function noticed(seed: number): Promise<string> {
  const alter = (disk: SimulatedDisk) => {
    disk.ignoresSync = () => gone(`fsync ${callSite()}`);
  };
  for (const scenario of STORE_SCENARIOS) {
    const { broken } = await tryStore(scenario, { seed, alter });
    if (broken[0] !== undefined) return `${scenario.name}: ${broken[0]}`;
  }
  const scenarios = taken === BARE_RULE ? [FORMAT_RULE_BROKEN] : SCENARIOS;
  for (const { name, makeWorld } of scenarios) {
    try {
      await new EveryCut(makeWorld(), { seed, share: 0, alter }).run();
    } catch (error) {
      return `${name}: ${String(error instanceof Error ? error.message : error).split('\n')[0]}`;
    }
  }
  return '';
}

/** `report` is told of each as soon as it is known. Throws when something is noticed with nothing taken away. */
export async function tryRemovals(seed: number, report: (removed: Removed) => void): Promise<Removed[]> {
  instrument();
  taken = '';
  const before = await noticed(seed);
  if (before !== '') throw new Error(`with nothing taken away: ${before}`);
  const inSource = placesInSource();
  const withTransitions = [...met].filter((one) => one.startsWith('journal ') && one.includes('→'));
  const places = [
    ...inSource.filter((place) => !withTransitions.some((one) => one.startsWith(`${place} `))),
    ...withTransitions.sort(),
    ORDER,
    BARE_RULE,
  ];
  const removed: Removed[] = [];
  for (const what of places) {
    taken = what;
    const reached = met.has(what) || what === ORDER || what === BARE_RULE;
    const one = { what, noticedBy: reached ? await noticed(seed) : '' };
    removed.push(one);
    report(reached ? one : { what: `${what} (no scenario comes by)`, noticedBy: '' });
  }
  taken = '';
  return removed;
}
