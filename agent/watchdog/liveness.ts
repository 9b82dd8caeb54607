/**
 * Do the agent's strands get on? Each says when it will be heard of again at the latest. One that is silent for longer
 * hangs; one that sleeps on purpose says so first. Nothing is measured and no timer runs: whoever feeds a watchdog asks.
 */
import type { Clock } from '../core/ports.ts';

export class Liveness {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #dueMs = new Map<string, number>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** `strand` got on, and is heard of again within so long. */
  heard(strand: string, withinMs: number): void {
    this.#dueMs.set(strand, this.#clock.monotonicMs() + withinMs);
  }

  /** It waits for somebody to call, for however long. */
  rests(strand: string): void {
    this.#dueMs.delete(strand);
  }

  /** The strands that should have been heard of by now. */
  stuck(): string[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#dueMs].filter(([, dueMs]) => dueMs < nowMs).map(([strand]) => strand);
  }
}
