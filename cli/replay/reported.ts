/**
 * What a server heard of a device, against the same tables. Reports carry states and outcomes, not events: here the
 * events are found that lead from one state to the next. Where none does, reports are missing. Pure.
 */
import { type BootSituation, RECOVERY_RULES } from '../../agent/core/boot-recovery.ts';
import { EVENT_KINDS, type EventKind, next } from '../../agent/core/install-machine.ts';
import { type InstallState, InstallState as States } from '../../protocol/device-api.ts';
import type { DeviceEvent } from '../../protocol/operator-api.ts';
import { reportedState } from '../../protocol/reported-state.ts';
import type { Step } from './decisions.ts';

/** A state that was heard of, and what came with it. */
interface Heard {
  readonly state: InstallState;
  readonly atUnixMs: number;
  /** The device booted since the state before. */
  readonly booted: boolean;
  /** A device enters the state first, and then reports how the update ended. */
  outcome: DeviceEvent | undefined;
}

/** `history` as the server gives it, newest first. The first state that was heard of is where it begins. */
export function replayReported(history: readonly DeviceEvent[]): Step[] {
  const heard: Heard[] = [];
  let booted = false;
  for (const event of history.toReversed()) {
    const state = stateOf(event);
    const last = heard.at(-1);
    if (state !== undefined) {
      heard.push({ state, atUnixMs: event.atUnixMs, booted, outcome: undefined });
      booted = false;
    } else if (event.kind === 'booted') booted = true;
    else if (last !== undefined && OUTCOMES.includes(event.kind)) last.outcome = event;
  }
  return heard.slice(1).map((now, index) => stepTo(now, heard[index]?.state ?? now.state));
}

const OUTCOMES = ['refused', 'failed', 'rolled-back'];

function stateOf(event: DeviceEvent): InstallState | undefined {
  const word = event.kind === 'state' ? reportedState(event.text) : undefined;
  return States.options.find((state) => state === word);
}

function stepTo({ state, atUnixMs, booted, outcome }: Heard, before: InstallState): Step {
  const causes = booted ? rulesBetween(before, state) : [];
  const events = causes.length > 0 ? [] : eventsBetween(before, state, outcome?.kind);
  const only = events.length === 1 && events[0] !== undefined ? next(before, events[0]) : undefined;
  const cause = [...causes, ...events].join(' or ');
  return {
    atUnixMs,
    before,
    cause: cause === '' ? '(unknown)' : cause,
    state,
    effects: only !== undefined && 'effects' in only ? only.effects : [],
    why: outcome?.text ?? '',
    disagreement: cause === '' ? `nothing leads from ${before} to ${state}: reports are missing` : '',
  };
}

/** Those that lead there; the one that the device's own outcome names, if it names one. */
function eventsBetween(before: InstallState, state: InstallState, outcome: string | undefined): EventKind[] {
  const events = EVENT_KINDS.filter((kind) => {
    const transition = next(before, kind);
    return !('illegal' in transition) && transition.state === state;
  });
  const named = events.filter((kind) => kind === outcome);
  return named.length > 0 ? named : events.filter((kind) => !OUTCOMES.includes(kind));
}

function rulesBetween(journal: BootSituation['journal'], state: InstallState): string[] {
  return RECOVERY_RULES.filter(
    (rule) => rule.gives.state === state && (rule.journal === '*' || rule.journal.includes(journal)),
  ).map(({ name }) => `start, rule ${name}`);
}
