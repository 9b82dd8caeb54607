/**
 * Releases that failed on this device, and how often the network took one back. A record, not a state: it outlives
 * rollbacks, restarts and factory resets.
 *
 * Invariants: adding is idempotent (an effect may run twice); a quarantined release leaves the list only once it could
 * not install anyway, because a newer one was confirmed.
 * May not: write anything.
 */
import { mayTryAgain } from './health-decision.ts';

/** More than a device can meet in earnest; the oldest go first. */
export const QUARANTINE_LIMIT = 64;
/** How many a poll may carry (protocol/device-api.ts). */
export const QUARANTINE_REPORTED = 16;

export interface QuarantineEntry {
  readonly sequence: number;
  readonly reason: string;
}

/** One action's release, taken back by the network, once in each of these boots. */
export interface NetworkReturns {
  readonly sequence: number;
  readonly actionId: string;
  readonly bootIds: readonly string[];
}

export interface Quarantine {
  readonly entries: readonly QuarantineEntry[];
  readonly returns: NetworkReturns | null;
}

export const EMPTY_QUARANTINE: Quarantine = { entries: [], returns: null };

export function isQuarantined(quarantine: Quarantine, sequence: number): QuarantineEntry | undefined {
  return quarantine.entries.find((entry) => entry.sequence === sequence);
}

export function addToQuarantine(quarantine: Quarantine, entry: QuarantineEntry): Quarantine {
  if (isQuarantined(quarantine, entry.sequence) !== undefined) return quarantine;
  return { ...quarantine, entries: [...quarantine.entries, entry].slice(-QUARANTINE_LIMIT) };
}

export function countNetworkReturn(
  quarantine: Quarantine,
  facts: { readonly sequence: number; readonly actionId: string; readonly bootId: string },
): Quarantine {
  const { returns } = quarantine;
  const same = returns !== null && returns.sequence === facts.sequence && returns.actionId === facts.actionId;
  const bootIds = new Set(same ? returns.bootIds : []).add(facts.bootId);
  const counted = { sequence: facts.sequence, actionId: facts.actionId, bootIds: [...bootIds].slice(-8) };
  return { ...quarantine, returns: counted };
}

/** False once the network took this action's release back three times: a person must start it anew. */
export function actionMayTry(quarantine: Quarantine, actionId: string): boolean {
  const { returns } = quarantine;
  return returns === null || returns.actionId !== actionId || mayTryAgain(returns.bootIds.length);
}

/** Ends that trying again would not change: the same action is not taken up again. */
const FINAL_CODES: readonly string[] = [
  'release-quarantined',
  'network-returns-exhausted',
  'board-has-no-slots',
  'local-source-gone',
  // Counters never fall.
  'sequence-not-newer',
  'sequence-below-floor',
];

/** Is this the end of the action, or may the same one be tried again after a pause? */
export function isFinal(end: { readonly code: string; readonly quarantine: boolean }): boolean {
  return end.quarantine || FINAL_CODES.includes(end.code);
}

/** After a confirmed release: what is not newer can never install again and need not be remembered. */
export function pruneQuarantine(quarantine: Quarantine, installedSequence: number): Quarantine {
  const entries = quarantine.entries.filter((entry) => entry.sequence > installedSequence);
  return { entries, returns: null };
}

/** The newest first, as many as a poll carries. */
export function reportedQuarantine(quarantine: Quarantine): QuarantineEntry[] {
  return [...quarantine.entries].sort((a, b) => b.sequence - a.sequence).slice(0, QUARANTINE_REPORTED);
}
