/** Growing pauses with jitter (core/schedule.ts), with a memory: how often did it fail in a row? */
import type { Random } from './core/ports.ts';
import { fractionOf, type RetryPolicy, retryDelayMs } from './core/schedule.ts';

export class Backoff {
  readonly #random: Random;
  readonly #policy: RetryPolicy;
  #failures = 0;

  constructor(random: Random, policy: RetryPolicy) {
    this.#random = random;
    this.#policy = policy;
  }

  /** Counts one failure and says how long to wait, in milliseconds. */
  nextPauseMs(): number {
    this.#failures += 1;
    return retryDelayMs(this.#policy, this.#failures, fractionOf(this.#random.bytes(4)));
  }

  succeeded(): void {
    this.#failures = 0;
  }
}

/** `ms`, give or take a tenth: devices that started together do not poll together for ever. */
export function withJitter(random: Random, ms: number): number {
  return Math.round(ms * (0.9 + 0.2 * fractionOf(random.bytes(4))));
}
