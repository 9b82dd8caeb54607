/**
 * Growing pauses with full jitter: after a server's return, a fleet must not come back in one second.
 * Keeps a count of failures; draws from the random port, so that a run can be replayed.
 */
import type { Random } from './core/ports.ts';

export class Backoff {
  readonly #random: Random;
  readonly #baseMs: number;
  readonly #capMs: number;
  #failures = 0;

  constructor(random: Random, settings: { readonly baseMs: number; readonly capMs: number }) {
    this.#random = random;
    this.#baseMs = settings.baseMs;
    this.#capMs = settings.capMs;
  }

  /** Counts one failure; the pause lies between half of base × 2^failures and all of it, at most the cap. */
  nextPauseMs(): number {
    const ceilingMs = Math.min(this.#capMs, this.#baseMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.round(ceilingMs * (0.5 + 0.5 * fraction(this.#random)));
  }

  succeeded(): void {
    this.#failures = 0;
  }
}

/** 0 ≤ x < 1. */
export function fraction(random: Random): number {
  const [a = 0, b = 0, c = 0, d = 0] = random.bytes(4);
  return ((a * 256 + b) * 65536 + c * 256 + d) / 2 ** 32;
}
