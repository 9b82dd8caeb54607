/**
 * What a device wrote down, against the tables that decide: does each step follow from the one before? Pure, and the
 * only place outside the agent that runs its tables.
 */
import { type BootSituation, recover } from '../../agent/core/boot-recovery.ts';
import { EVENT_KINDS, type EventKind, next } from '../../agent/core/install-machine.ts';
import type { InstallState } from '../../protocol/device-api.ts';
import type { HistoryEntry } from '../../protocol/history.ts';

export interface Step {
  readonly atUnixMs: number | null;
  readonly before: InstallState | 'damaged';
  /** An event of the install machine, or the rule of boot recovery. */
  readonly cause: string;
  readonly state: InstallState;
  /** What the device owed from here on. */
  readonly effects: readonly string[];
  /** What the device said of the reason, or empty. */
  readonly why: string;
  /** Where the tables here say something else, or lines are missing; empty when all is as it must be. */
  readonly disagreement: string;
}

export function replay(entries: readonly HistoryEntry[]): Step[] {
  let known: InstallState | undefined;
  return entries.map((entry) => {
    const step = entry.kind === 'start' ? replayStart(entry) : replayEvent(entry);
    const gap =
      known !== undefined && step.before !== known && step.before !== 'damaged'
        ? `a gap: the line before left the device in ${known}`
        : '';
    known = entry.state;
    return { ...step, disagreement: [gap, step.disagreement].filter((text) => text !== '').join('; ') };
  });
}

function replayStart(entry: Extract<HistoryEntry, { kind: 'start' }>): Step {
  const situation: BootSituation = entry.situation;
  const { rule, state, effects, reason } = recover(situation);
  const same = rule === entry.rule && state === entry.state;
  return {
    atUnixMs: entry.atUnixMs,
    before: situation.journal,
    cause: `start in slot ${entry.slot}${situation.onTrial ? ' on trial' : ''}, rule ${entry.rule}`,
    state: entry.state,
    effects: effects === 'as-journaled' ? ['(as journaled)'] : effects,
    why: reason,
    disagreement: same ? '' : `these tables say rule ${rule}, state ${state}`,
  };
}

function replayEvent(entry: Extract<HistoryEntry, { kind: 'event' }>): Step {
  const { atUnixMs, before, event, state, why } = entry;
  const facts = { atUnixMs, before, cause: event, state, why };
  if (!isEvent(event)) return { ...facts, effects: [], disagreement: 'these tables know no such event' };
  const transition = next(before, event);
  if ('illegal' in transition) return { ...facts, effects: [], disagreement: `${event} is illegal in ${before}` };
  const disagreement = transition.state === state ? '' : `these tables say state ${transition.state}`;
  return { ...facts, effects: transition.effects, disagreement };
}

function isEvent(word: string): word is EventKind {
  return EVENT_KINDS.some((kind) => kind === word);
}
