/**
 * Anti-rollback: two counters and what they allow. `installedSequence` is what was last confirmed; `floorSequence` is
 * signed into releases and raised only for security fixes, so that A/B fallback stays possible above it.
 *
 * Invariants: neither counter ever falls. Pure decisions: where the counters stand (twice, checksummed) is the agent's.
 * Without RPMB, OTP or a TPM this stops remote rollback, not somebody who writes the disk.
 */
import { accept, refuse, type Verdict } from './refusal.ts';

export interface Counters {
  readonly installedSequence: number;
  readonly floorSequence: number;
}

/**
 * May a release of this sequence install? `sequence-not-newer` unless strictly higher than what is installed (SUIT
 * §8.4.2 allows equal; installing the same again is never of use), `sequence-below-floor` when the floor was passed.
 */
export function decideSequence(counters: Counters, sequence: number): Verdict<number> {
  if (sequence <= counters.installedSequence) {
    return refuse('sequence-not-newer', `sequence ${sequence}, installed is ${counters.installedSequence}`);
  }
  if (sequence < counters.floorSequence) {
    return refuse('sequence-below-floor', `sequence ${sequence}, the floor is ${counters.floorSequence}`);
  }
  return accept(sequence);
}

/** The counters after a release passed its health check. A release cannot lift the floor above itself. */
export function countersAfterConfirm(
  counters: Counters,
  release: { readonly sequence: number; readonly floorSequence: number },
): Counters {
  const signedFloor = Math.min(release.floorSequence, release.sequence);
  return {
    installedSequence: Math.max(counters.installedSequence, release.sequence),
    floorSequence: Math.max(counters.floorSequence, signedFloor),
  };
}

/** May a slot that holds this sequence still be booted? */
export function slotReachesFloor(slotSequence: number, floorSequence: number): boolean {
  return slotSequence >= floorSequence;
}
