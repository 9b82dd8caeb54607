/**
 * How long an installation waits, all in all, for what the server is still making. Once it is over, nothing waits: what
 * is not there is asked for again later, and meanwhile blocks come another way.
 */
import type { Clock } from '../core/ports.ts';

/** So long at most until the wish to stop is looked at again. */
const LOOK_EVERY_MS = 1_000;

export class Patience {
  readonly #clock: Clock;
  readonly #interrupted: () => boolean;
  #leftMs: number;

  constructor(clock: Clock, waitMs: number, interrupted: () => boolean) {
    this.#clock = clock;
    this.#leftMs = waitMs;
    this.#interrupted = interrupted;
  }

  /** Waits until it is worth asking again. `false`: no longer, or the server wants something else. */
  async wait(afterMs: number): Promise<boolean> {
    const untilMs = this.#clock.monotonicMs() + Math.min(afterMs, this.#leftMs);
    let nowMs = this.#clock.monotonicMs();
    if (untilMs <= nowMs) return false;
    while (nowMs < untilMs) {
      if (this.#interrupted()) return false;
      await this.#clock.sleep(Math.min(untilMs - nowMs, LOOK_EVERY_MS));
      const laterMs = this.#clock.monotonicMs();
      this.#leftMs -= laterMs - nowMs;
      nowMs = laterMs;
    }
    return true;
  }
}
