/**
 * What a device is offered when it polls, and what its poll says of the actions that it has. Pure: the store brings the
 * facts, applies the events, and answers with the choice, all in one transaction.
 */
import { type InstallState, NO_SLOTS_BOARD, type PollRequest } from '../../protocol/device-api.ts';
import type { RolloutPurpose, RolloutState } from '../../protocol/operator-api.ts';
import { isGuessedFailure, isOpen, type PartEvent } from './action.ts';
import { type Service, serves } from './credential-standing.ts';
import type { Part } from './ports.ts';
import { keepsOffers, offersNew } from './rollout.ts';

/** A part with what its rollout and release say. */
export interface Candidate {
  readonly part: Part;
  readonly rolloutState: RolloutState;
  readonly actionTimeoutMs: number;
  readonly purpose: RolloutPurpose;
  readonly releasePath: string;
  readonly hardwareClass: string;
  readonly channel: string;
  readonly sequence: number;
  readonly version: string;
  /** No longer in the signed targets. */
  readonly withdrawn: boolean;
}

export interface PollDecision {
  /** In this order; each applied with `applyToPart`. */
  readonly events: readonly { readonly actionId: string; readonly event: PartEvent }[];
  readonly offer: Candidate | undefined;
}

/** The device is past the point where an answer could stop it: it is left alone until it says how it ended. */
const BEYOND_RECALL: readonly InstallState[] = ['trial', 'confirming', 'sealing', 'rolling-back'];

/** `service`: what the device may be given, as it stands with its credentials. */
export function decideOffer(
  poll: PollRequest,
  hardwareClass: string,
  service: Service,
  candidates: readonly Candidate[],
  nowUnixMs: number,
): PollDecision {
  const events: { actionId: string; event: PartEvent }[] = [];
  const say = (candidate: Candidate, event: PartEvent): void => {
    events.push({ actionId: candidate.part.actionId, event });
  };
  const left = candidates.filter((candidate) => !settle(poll, candidate, say));
  // Its rollouts began before its first poll: it could only fail them, and they would halt for it.
  if (poll.board === NO_SLOTS_BOARD) {
    for (const candidate of left) say(candidate, { kind: 'called-off' });
    return { events, offer: undefined };
  }
  const offer = choose(
    poll,
    left.filter((candidate) => mayHave(poll, hardwareClass, service, candidate)),
  );
  for (const candidate of left) {
    const deadlineUnixMs = nowUnixMs + candidate.actionTimeoutMs;
    const atWork = poll.actionId === candidate.part.actionId;
    const waits = atWork && poll.waiting !== null;
    if (waits && candidate === offer) {
      say(candidate, { kind: 'waits' });
    } else if (candidate === offer) {
      if (candidate.part.state === 'waiting') say(candidate, { kind: 'offered', deadlineUnixMs });
      if (atWork) say(candidate, { kind: 'says', state: poll.state, deadlineUnixMs });
    } else if (atWork && !waits && (BEYOND_RECALL.includes(poll.state) || poll.state === 'armed')) {
      say(candidate, { kind: 'says', state: poll.state, deadlineUnixMs });
    } else if (isOpen(candidate.part.state)) {
      say(candidate, fateWithout(candidate, offer));
    }
  }
  return { events, offer };
}

/** Takes from the poll what it proves. True when the part is over. */
function settle(
  poll: PollRequest,
  candidate: Candidate,
  say: (candidate: Candidate, event: PartEvent) => void,
): boolean {
  const { part, sequence } = candidate;
  const unsettled = part.state === 'waiting' || isOpen(part.state);
  if (!unsettled && !isGuessedFailure(part.state)) return true;
  // Only an idle device has confirmed what it calls installed: the report of it may have been lost with its queue.
  if (poll.installed.sequence === sequence && poll.state === 'idle') {
    say(candidate, { kind: 'confirmed', detail: `seen at a poll, slot ${poll.bootedSlot ?? 'unknown'}` });
    return true;
  }
  if (poll.installed.sequence > sequence) {
    say(candidate, { kind: 'superseded', detail: `it runs sequence ${poll.installed.sequence}` });
    return true;
  }
  const quarantined = poll.quarantined.find((entry) => entry.sequence === sequence);
  if (quarantined !== undefined && part.openUnixMs !== null && poll.actionId !== part.actionId) {
    say(candidate, { kind: 'rolled-back', detail: `quarantined: ${quarantined.reason}` });
    return true;
  }
  return !unsettled;
}

/** Do rollout, wave, release and device agree that it may have this one? The device checks it all again, by signature. */
function mayHave(poll: PollRequest, hardwareClass: string, service: Service, candidate: Candidate): boolean {
  const { part, rolloutState } = candidate;
  const working = isOpen(part.state) || poll.actionId === part.actionId;
  const open = part.openUnixMs !== null && (working ? keepsOffers(rolloutState) : offersNew(rolloutState));
  return (
    open &&
    serves(service, candidate.purpose, working) &&
    !candidate.withdrawn &&
    candidate.hardwareClass === hardwareClass &&
    candidate.channel === poll.channel &&
    candidate.sequence > poll.installed.sequence &&
    candidate.sequence >= poll.floorSequence
  );
}

/** The newest release; but a device on trial finishes what it is at. */
function choose(poll: PollRequest, eligible: readonly Candidate[]): Candidate | undefined {
  const current = eligible.find((candidate) => candidate.part.actionId === poll.actionId);
  if (current !== undefined && BEYOND_RECALL.includes(poll.state)) return current;
  const newestFirst = [...eligible].sort(
    (a, b) => b.sequence - a.sequence || Number(isOpen(b.part.state)) - Number(isOpen(a.part.state)),
  );
  return newestFirst[0];
}

/** What becomes of an open action that is not the answer. */
function fateWithout(candidate: Candidate, offer: Candidate | undefined): PartEvent {
  if (offer === undefined || offer.sequence < candidate.sequence) return { kind: 'recalled' };
  return { kind: 'superseded', detail: `rollout ${offer.part.rolloutId} offers sequence ${offer.sequence}` };
}
