/**
 * One device's part in a rollout, from waiting to settled, as a function of what happened. Nothing is ever stuck:
 *
 * - An offer has a deadline. Whoever has not confirmed by then has failed, and its reason says how far it came.
 * - A device that never polled after its wave opened was never offered anything: it has not failed. Once the same time
 *   has passed it is out of reach: it holds no place any more (core/gate.ts), and is offered the release whenever it returns.
 * - What a device says later is truer than what the server guessed: a confirmed boot after the deadline is a success.
 */
import type { InstallState } from '../../protocol/device-api.ts';
import type { Part, PartState } from './ports.ts';

/** An action is under way with the device. */
export const OPEN_STATES = ['offered', 'installing', 'staged', 'trial'] as const satisfies readonly PartState[];
export const FAILED_STATES = [
  'rolled-back',
  'refused',
  'install-failed',
  'silent',
  'deadline-passed',
] as const satisfies readonly PartState[];
/** Failures that the server concluded from silence; a later word of the device overrules them. */
const GUESSED_STATES: readonly PartState[] = ['install-failed', 'silent', 'deadline-passed'];

export const isOpen = (state: PartState): boolean => (OPEN_STATES as readonly PartState[]).includes(state);
export const hasFailed = (state: PartState): boolean => (FAILED_STATES as readonly PartState[]).includes(state);
export const isGuessedFailure = (state: PartState): boolean => GUESSED_STATES.includes(state);

export type PartEvent =
  /** The action stands in an answer to the device's poll. */
  | { readonly kind: 'offered'; readonly deadlineUnixMs: number }
  /** The device names the action and the state of its install machine. The deadline counts where it has none yet. */
  | { readonly kind: 'says'; readonly state: InstallState; readonly deadlineUnixMs: number }
  | { readonly kind: 'confirmed'; readonly detail: string }
  | { readonly kind: 'rolled-back'; readonly detail: string }
  | { readonly kind: 'refused'; readonly detail: string }
  /** It did not work, and the device will try again before the deadline. */
  | { readonly kind: 'trouble'; readonly detail: string; readonly deadlineUnixMs: number }
  /** The deadline passed; `lastSeenUnixMs` is when the device was last heard. */
  | { readonly kind: 'deadline'; readonly lastSeenUnixMs: number | null }
  /**
   * The device says that it waits (in use, a metered link): it keeps the offer and gives its place up, as one out of
   * reach does. It has not failed, however long that takes.
   */
  | { readonly kind: 'waits' }
  /** A halt took the offer back before the device rebooted. */
  | { readonly kind: 'recalled' }
  | { readonly kind: 'superseded'; readonly detail: string }
  | { readonly kind: 'called-off' };

/** What the device's own state says of the part. Undefined: nothing (it may be idle before its start, or held). */
const PART_STATE_OF: Record<InstallState, PartState | undefined> = {
  idle: undefined,
  held: undefined,
  checking: 'installing',
  downloading: 'installing',
  verifying: 'installing',
  staged: 'staged',
  armed: 'trial',
  trial: 'trial',
  confirming: 'trial',
  sealing: 'trial',
  'rolling-back': 'trial',
};

/** The part after the event; the very same object when the event changes nothing. */
export function applyToPart(part: Part, event: PartEvent, nowUnixMs: number): Part {
  const move = (state: PartState, more: Partial<Part> = {}): Part => ({
    ...part,
    state,
    stateSinceUnixMs: state === part.state ? part.stateSinceUnixMs : nowUnixMs,
    ...more,
  });
  const unsettled = part.state === 'waiting' || isOpen(part.state);
  switch (event.kind) {
    case 'offered':
      if (part.state !== 'waiting') return part;
      return move('offered', { offeredUnixMs: nowUnixMs, deadlineUnixMs: event.deadlineUnixMs, detail: '' });
    case 'says': {
      const state = PART_STATE_OF[event.state];
      if (state === undefined || !unsettled || (state === part.state && part.attempted)) return part;
      return move(state, {
        attempted: true,
        offeredUnixMs: part.offeredUnixMs ?? nowUnixMs,
        deadlineUnixMs: part.deadlineUnixMs ?? event.deadlineUnixMs,
      });
    }
    case 'confirmed':
    case 'rolled-back':
      return part.state === event.kind ? part : move(event.kind, { attempted: true, detail: event.detail });
    case 'refused':
      return unsettled || isGuessedFailure(part.state)
        ? move('refused', { attempted: true, detail: event.detail })
        : part;
    case 'trouble':
      if (!unsettled) return part;
      return move('installing', {
        attempted: true,
        detail: event.detail,
        offeredUnixMs: part.offeredUnixMs ?? nowUnixMs,
        deadlineUnixMs: part.deadlineUnixMs ?? event.deadlineUnixMs,
      });
    case 'deadline':
      return isOpen(part.state) ? move(stateAtDeadline(part, event.lastSeenUnixMs), { attempted: true }) : part;
    case 'waits':
    case 'recalled':
      if (!isOpen(part.state)) return part;
      return move('waiting', { offeredUnixMs: null, deadlineUnixMs: null, attempted: false, detail: '' });
    case 'superseded':
      return unsettled || isGuessedFailure(part.state) ? move('superseded', { detail: event.detail }) : part;
    case 'called-off':
      return unsettled ? move('called-off') : part;
  }
}

/** How a part failed whose time is up. */
function stateAtDeadline(part: Part, lastSeenUnixMs: number | null): PartState {
  if (part.state === 'trial' && silentSince(part, lastSeenUnixMs)) return 'silent';
  if (part.state === 'installing' && part.detail !== '') return 'install-failed';
  return 'deadline-passed';
}

/** Not heard in the second half of the time that it had after it went for its reboot. */
function silentSince(part: Part, lastSeenUnixMs: number | null): boolean {
  if (lastSeenUnixMs === null || part.deadlineUnixMs === null) return true;
  return lastSeenUnixMs <= part.stateSinceUnixMs + Math.max(0, part.deadlineUnixMs - part.stateSinceUnixMs) / 2;
}
