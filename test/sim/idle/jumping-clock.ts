/**
 * A clock that stands still until it is told to go to the next moment at which somebody wants to be woken. Counts these
 * moments: they are what wakes an idle device.
 */
import type { Clock } from '../../../agent/core/ports.ts';

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

/** 2026-01-15T00:00:00Z: within the dates of every certificate and role that tests make. */
const START_UNIX_MS = 1_768_435_200_000;

export class JumpingClock implements Clock {
  readonly #sleepers = new Set<Sleeper>();
  #nowMs = 0;
  /** How many were woken by the clock; two at one moment are two. */
  wakeUps = 0;

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallUnixMs(): number {
    return START_UNIX_MS + this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const wake = (): void => {
        signal?.removeEventListener('abort', wake);
        this.#sleepers.delete(sleeper);
        resolve();
      };
      const sleeper: Sleeper = { atMs: this.#nowMs + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', wake);
    });
  }

  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Goes to the next moment, and wakes all that wanted it. */
  jump(): void {
    this.#nowMs = Math.min(...[...this.#sleepers].map(({ atMs }) => atMs));
    for (const sleeper of [...this.#sleepers]) {
      if (sleeper.atMs > this.#nowMs) continue;
      this.wakeUps += 1;
      sleeper.wake();
    }
  }
}
