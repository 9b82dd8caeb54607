/** Skeleton; see exports. */
import type { Verdict } from './refusal.ts';

export interface Counters {
  readonly installedSequence: number;
  readonly floorSequence: number;
}
/** May a release of this sequence install over these counters? */
export function decideSequence(_counters: Counters, _sequence: number): Verdict<number> {
  throw new Error('not written yet');
}
/** The counters after a release was confirmed by its health check. Neither ever falls. */
export function countersAfterConfirm(
  _counters: Counters,
  _release: { readonly sequence: number; readonly floorSequence: number },
): Counters {
  throw new Error('not written yet');
}
/** Does what stands in a slot (its sequence) still reach the floor? */
export function slotReachesFloor(_slotSequence: number, _floorSequence: number): boolean {
  throw new Error('not written yet');
}
