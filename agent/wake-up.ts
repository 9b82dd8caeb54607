/** A sleep that somebody may end early. A call while nobody sleeps ends the next sleep at once: none is lost. */
import type { Clock } from './core/ports.ts';

export class WakeUp {
  readonly #clock: Clock;
  #called = false;
  #sleeping: AbortController | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  call(): void {
    this.#called = true;
    this.#sleeping?.abort();
  }

  /** Until `ms` have passed, somebody calls, or `signal` fires. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#called && !signal.aborted) {
      const sleeping = new AbortController();
      this.#sleeping = sleeping;
      await this.#clock.sleep(ms, AbortSignal.any([sleeping.signal, signal]));
      this.#sleeping = undefined;
    }
    this.#called = false;
  }
}
