/**
 * The first-boot machine: how a device goes from its factory's secrets to its own, and why it is not open before. Pure
 * data and three functions, like the install machine.
 *
 * Invariants: nothing is applied before its escrow is durable; nothing opens but through `verified`; every boot passes
 * `reconcile` before it opens; a failure at any place ends in `blocked`, which is closed and tries again. A pair that is
 * not listed is an illegal transition. Effects are idempotent, in order; the last one that has an outcome yields the
 * next event. A wipe or a retirement that is owed is never forgotten: a cut, a failure or a new epoch carries it along.
 * May not: run anything, read a clock, draw a random number. docs/FIRST_BOOT_MACHINE.md is generated from the table.
 */
import type { FirstBootState } from '../../protocol/credentials.ts';

export type { FirstBootState };

export const FIRST_BOOT_EVENTS = [
  /** The program starts: a boot, or again after it was cut. */
  'started',
  /** Every provider has staged what it will apply; sealed texts are in memory alone. */
  'generated',
  /** The sealed blob is durable. */
  'escrow-kept',
  /** One provider's secrets are in effect; others are still to come. */
  'one-applied',
  /** The last provider's are. */
  'all-applied',
  /** New ones work, old ones are refused. */
  'verified',
  /** What the slot brought is covered by what the device made, and nothing of the factory's is in effect. */
  'reconciled',
  /** The server gave a certificate in this epoch. */
  'enrolled',
  /** The server has this epoch's statement and escrow. */
  'reported',
  /** An effect could not be done; closed, and tried again. */
  'failed',
  /** The owner or the server wants new secrets. */
  'rotate',
  /** The epoch does not cover a provider that this image has, what it staged is damaged, or it is sealed under a former name: new secrets for all. */
  'uncovered',
  /** A person at the device wants a factory reset. */
  'reset',
  /** This data was made on another board. */
  'other-board',
] as const;
export type FirstBootEvent = (typeof FIRST_BOOT_EVENTS)[number];

export const FIRST_BOOT_EFFECTS = [
  /** The next epoch's number, durable, before anything of it is made. */
  'begin-epoch',
  /** Throw away what an interrupted epoch staged: nothing of it was applied. */
  'discard-staged',
  /** Credentials and application data; never trusted root, sequence, floors, quarantine or the epoch's number. */
  'wipe',
  /** Key, certificate and every credential of the other board: this one enrols anew. Application data stays. */
  'retire-identity',
  /** Every provider makes its new secrets; what owners may need is sealed, and the sealed blob waits in memory. */
  'generate',
  /** The sealed blob, durable. */
  'keep-escrow',
  /** The provider whose turn it is. */
  'apply-next',
  /** New ones work, old ones are refused, asked of whatever takes them. */
  'verify',
  /** Staged copies, and blobs of epochs before, are not needed any more. */
  'clear-staged',
  /** What this device made stands over what the slot brings. */
  'reconcile',
  /** Nothing of the factory's is in effect; what another image brings is verified as a new epoch is. */
  'inspect',
  /** The gate: from here on, this boot is open. */
  'open',
  /** Provider, code and detail, durable: why, for whoever asks. */
  'report-blocked',
  /** A trial that cannot open goes back. */
  'refuse-trial',
] as const;
export type FirstBootEffect = (typeof FIRST_BOOT_EFFECTS)[number];

export interface FirstBootTransition {
  readonly state: FirstBootState;
  readonly effects: readonly FirstBootEffect[];
}

function to(state: FirstBootState, ...effects: FirstBootEffect[]): FirstBootTransition {
  return { state, effects };
}

const BLOCK = to('blocked', 'report-blocked', 'refuse-trial');
const MAKE = ['discard-staged', 'generate'] as const;
const RENEW = to('factory', 'begin-epoch', ...MAKE);
const RESET = to('factory', 'begin-epoch', 'wipe', ...MAKE);
const OTHER_BOARD = to('clone-suspected', 'begin-epoch', 'retire-identity', ...MAKE);

type AlwaysAnswered = 'started' | 'failed' | 'reset' | 'other-board';
type Row = Readonly<Record<AlwaysAnswered, FirstBootTransition>> &
  Readonly<Partial<Record<FirstBootEvent, FirstBootTransition>>>;

export const FIRST_BOOT_MACHINE: Readonly<Record<FirstBootState, Row>> = {
  // Disk: the former secrets are in effect, or nothing is known. Power cut: makes new ones; nothing of the cut ones stands.
  factory: {
    started: to('factory', 'begin-epoch', ...MAKE),
    generated: to('generated', 'keep-escrow'),
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: as above; new ones are staged, and what owners may need is sealed in memory. Power cut: made again, for it is lost.
  generated: {
    started: to('factory', ...MAKE),
    'escrow-kept': to('escrowed', 'apply-next'),
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: staged and sealed, both durable; the former ones are in effect. Power cut: applies these same ones.
  escrowed: {
    started: to('escrowed', 'apply-next'),
    'one-applied': to('applied', 'apply-next'),
    'all-applied': to('applied', 'reconcile', 'verify'),
    uncovered: RENEW,
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: some or all are in effect (the record counts). Power cut: goes on with the one whose turn it is, the same value.
  applied: {
    started: to('applied', 'apply-next'),
    'one-applied': to('applied', 'apply-next'),
    'all-applied': to('applied', 'reconcile', 'verify'),
    verified: to('verified', 'clear-staged', 'inspect'),
    uncovered: RENEW,
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: all in effect, checked. Power cut: clears and checks again.
  verified: {
    started: to('verified', 'clear-staged', 'reconcile', 'inspect'),
    reconciled: to('open', 'open'),
    uncovered: RENEW,
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: this epoch was open once. Power cut: reconciles with the slot that boots, then opens again.
  open: {
    started: to('open', 'reconcile', 'inspect'),
    reconciled: to('open', 'open'),
    enrolled: to('enrolled'),
    rotate: RENEW,
    uncovered: RENEW,
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: the certificate of this epoch stands. Power cut: as open.
  enrolled: {
    started: to('enrolled', 'reconcile', 'inspect'),
    reconciled: to('enrolled', 'open'),
    enrolled: to('enrolled'),
    reported: to('reported'),
    rotate: RENEW,
    uncovered: RENEW,
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: the server has this epoch's statement and escrow. Power cut: as open.
  reported: {
    started: to('reported', 'reconcile', 'inspect'),
    reconciled: to('reported', 'open'),
    enrolled: to('reported'),
    reported: to('reported'),
    rotate: RENEW,
    uncovered: RENEW,
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: as in the state that the record says to resume. Closed. Power cut: tries that state again.
  blocked: {
    started: to('blocked'),
    uncovered: RENEW,
    failed: BLOCK,
    rotate: RENEW,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
  // Disk: data of another board; its identity is retired, or about to be. Power cut: retires it again, then makes new ones.
  'clone-suspected': {
    started: to('clone-suspected', 'retire-identity', ...MAKE),
    generated: to('generated', 'keep-escrow'),
    failed: BLOCK,
    reset: RESET,
    'other-board': OTHER_BOARD,
  },
};

export interface IllegalFirstBoot {
  readonly illegal: true;
  readonly state: FirstBootState;
  readonly event: FirstBootEvent;
}

/** Owed until done, whatever comes between: what they take away must not come back into effect. */
const DEBTS: readonly FirstBootEffect[] = ['wipe', 'retire-identity'];

/** The states in which nothing new is applied yet: what they owe goes on as journaled. */
const MAKING: readonly FirstBootState[] = ['factory', 'clone-suspected'];

/**
 * What a start does in a state (of a blocked device: the one that it resumes) with the effects that the journal still
 * owes. Elsewhere than in the two making states it is the row's `started`: what was sealed in memory is lost, and what was reconciled
 * was another boot's.
 */
export function startFirstBoot(state: FirstBootState, owed: readonly FirstBootEffect[]): FirstBootTransition {
  if (MAKING.includes(state) && owed.length > 0) return { state, effects: owed };
  return FIRST_BOOT_MACHINE[state].started;
}

/** The effects to journal: those of the transition, and before anything is made the debts that they leave out. */
export function withDebts(
  effects: readonly FirstBootEffect[],
  owed: readonly FirstBootEffect[],
): readonly FirstBootEffect[] {
  const debts = owed.filter((effect) => DEBTS.includes(effect) && !effects.includes(effect));
  const at = effects.indexOf('discard-staged');
  return at < 0 ? effects : [...effects.slice(0, at), ...debts, ...effects.slice(at)];
}

/** What follows. An unlisted pair is illegal: a bug, after which nothing opens. */
export function nextFirstBoot(state: FirstBootState, event: FirstBootEvent): FirstBootTransition | IllegalFirstBoot {
  return FIRST_BOOT_MACHINE[state][event] ?? { illegal: true, state, event };
}
