/**
 * A rollout as a table of states and events, and what it does next. The server halts; only a person resumes.
 *
 * `complete` is not the end: devices that were out of reach, or enrol later, are still offered the release, and the gate
 * still watches them, so a complete rollout can halt. Only `cancelled` is final.
 */
import type { RolloutState, Wave } from '../../protocol/operator-api.ts';
import { describeWave } from './cohort.ts';
import { decideGate, decideHalt, devicesInWords, type GatePolicy, type WaveTally } from './gate.ts';

export type RolloutEvent = 'pause' | 'resume' | 'cancel' | 'halt' | 'finish';

/** What is not listed is refused. */
export const ROLLOUT_TRANSITIONS: Record<RolloutState, Partial<Record<RolloutEvent, RolloutState>>> = {
  running: { pause: 'paused', cancel: 'cancelled', halt: 'halted', finish: 'complete' },
  paused: { resume: 'running', cancel: 'cancelled', halt: 'halted' },
  halted: { resume: 'running', cancel: 'cancelled' },
  complete: { cancel: 'cancelled', halt: 'halted' },
  cancelled: {},
};

/** Undefined: not in this state. */
export function nextRolloutState(state: RolloutState, event: RolloutEvent): RolloutState | undefined {
  return ROLLOUT_TRANSITIONS[state][event];
}

/** May a device that has no action yet be given one? */
export const offersNew = (state: RolloutState): boolean => state === 'running' || state === 'complete';
/** Does an action that a device works on stay good? A pause stops new offers only; a halt calls off. */
export const keepsOffers = (state: RolloutState): boolean => offersNew(state) || state === 'paused';

export interface WaveProgress {
  readonly wave: Wave;
  readonly openedUnixMs: number | null;
  readonly passedUnixMs: number | null;
  readonly tally: WaveTally;
}

export interface RolloutFacts {
  readonly state: RolloutState;
  readonly policy: GatePolicy;
  readonly waves: readonly WaveProgress[];
}

export type RolloutStep =
  /** Nothing to do now. */
  | { readonly step: 'rest'; readonly reason: string }
  | { readonly step: 'open'; readonly wave: number; readonly reason: string }
  | { readonly step: 'replace'; readonly wave: number; readonly places: number; readonly reason: string }
  /** The wave passed; the one after it, if any, opens in the next step. */
  | { readonly step: 'pass'; readonly wave: number; readonly reason: string }
  | { readonly step: 'halt'; readonly wave: number; readonly reason: string }
  | { readonly step: 'finish'; readonly reason: string };

const waveName = (facts: RolloutFacts, index: number): string => {
  const wave = facts.waves[index]?.wave;
  return wave === undefined ? `wave ${index + 1}` : `wave ${index + 1} (${describeWave(wave)})`;
};

/** The next step. Whoever applies it asks again, until it rests; every step makes progress, so that this ends. */
export function decideStep(facts: RolloutFacts, nowUnixMs: number): RolloutStep {
  if (facts.state === 'cancelled' || facts.state === 'halted') return { step: 'rest', reason: '' };
  for (const [index, wave] of facts.waves.entries()) {
    if (wave.openedUnixMs === null) continue;
    const reason = decideHalt(wave.tally, facts.policy, waveName(facts, index));
    if (reason !== undefined) return { step: 'halt', wave: index, reason };
  }
  if (facts.state !== 'running') return { step: 'rest', reason: '' };
  const index = facts.waves.findIndex((wave) => wave.passedUnixMs === null);
  const current = facts.waves[index];
  if (current === undefined) return { step: 'finish', reason: finishedInWords(facts) };
  if (current.openedUnixMs === null) return { step: 'open', wave: index, reason: `${waveName(facts, index)} is open` };
  return stepThroughGate(facts, index, current, nowUnixMs);
}

function stepThroughGate(facts: RolloutFacts, index: number, current: WaveProgress, nowUnixMs: number): RolloutStep {
  const behind = facts.waves.slice(index + 1);
  const waitingBehind = behind.reduce((sum, wave) => sum + wave.tally.pending, 0);
  const name = waveName(facts, index);
  const soakMs = current.wave.soakMs ?? 0;
  const gate = decideGate(current.tally, facts.policy, soakMs, waitingBehind, name, nowUnixMs);
  switch (gate.decision) {
    case 'wait':
      return { step: 'rest', reason: gate.reason };
    case 'replace':
      return { step: 'replace', wave: index, places: gate.places, reason: gate.reason };
    case 'pass':
      return { step: 'pass', wave: index, reason: gate.reason };
    case 'halt':
      return { step: 'halt', wave: index, reason: gate.reason };
  }
}

function finishedInWords(facts: RolloutFacts): string {
  const sum = (pick: (tally: WaveTally) => number): number =>
    facts.waves.reduce((total, wave) => total + pick(wave.tally), 0);
  const devices = sum((tally) => tally.added);
  const failed = sum((tally) => tally.failed + tally.forgiven);
  const empty = sum((tally) => tally.empty);
  return `${sum((tally) => tally.confirmed)} of ${devicesInWords(devices)} confirmed, ${failed} failed, ${empty} never started`;
}
