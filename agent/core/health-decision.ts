/**
 * Does a trial pass? Local checks decide. A lost network never quarantines: if the server was there before and stays
 * away beyond the limit, the device goes back unblamed, and after three such returns waits for a new action.
 *
 * May not: run checks, read a clock.
 */
import type { HealthVerdict } from './ports.ts';

/** So often may the network alone take back one action's release. */
export const NETWORK_RETURNS_LIMIT = 3;

export interface TrialFacts {
  readonly health: HealthVerdict;
  /** False also for a release that came offline: then the server says nothing about the release. */
  readonly serverReachableBefore: boolean;
  readonly serverReachable: boolean;
  readonly waitedMs: number;
  readonly waitLimitMs: number;
}

export type TrialDecision =
  | { readonly decision: 'confirm' }
  | { readonly decision: 'wait' }
  | { readonly decision: 'go-back'; readonly quarantine: boolean; readonly reason: string; readonly detail: string };

export function decideTrial(facts: TrialFacts): TrialDecision {
  const { health } = facts;
  if (!health.healthy) {
    const reason = `health-check-failed: ${health.failedCheck}`.slice(0, 128);
    return { decision: 'go-back', quarantine: true, reason, detail: health.detail };
  }
  if (!facts.serverReachableBefore || facts.serverReachable) return { decision: 'confirm' };
  if (facts.waitedMs < facts.waitLimitMs) return { decision: 'wait' };
  const detail = `the server was reachable before the trial and not for ${facts.waitedMs} ms in it`;
  return { decision: 'go-back', quarantine: false, reason: 'server-unreachable-in-trial', detail };
}

/** May this action try again after the network took it back so often? */
export function mayTryAgain(networkReturns: number): boolean {
  return networkReturns < NETWORK_RETURNS_LIMIT;
}
