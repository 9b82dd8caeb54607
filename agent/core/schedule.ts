/**
 * When to try again: exponential backoff with full jitter, so that a fleet whose server comes back does not arrive at
 * once. Pure: the random number is given.
 */

export interface RetryPolicy {
  readonly baseMs: number;
  readonly capMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = { baseMs: 2_000, capMs: 15 * 60_000 };

/** Milliseconds to wait after failure number `attempt` (1 is the first). `fraction` is random in [0, 1). */
export function retryDelayMs(policy: RetryPolicy, attempt: number, fraction: number): number {
  // The exponent is bounded first: 2 ** 2000 is Infinity, and Infinity times a fraction of zero is not a number.
  const ceilingMs = Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(Math.max(attempt - 1, 0), 40));
  // At least half of it: a jitter near zero would hammer a server that is on its knees.
  return Math.round(ceilingMs / 2 + (ceilingMs / 2) * fraction);
}

/** A number in [0, 1) from four random bytes. */
export function fractionOf(bytes: Uint8Array): number {
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return (((a << 24) | (b << 16) | (c << 8) | d) >>> 0) / 2 ** 32;
}
