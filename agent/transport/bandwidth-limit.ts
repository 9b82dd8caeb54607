/**
 * So many bytes in a second, over all transfers of images together: each says what came, and is told how long to read no
 * more. What a device and its server say to one another (polls, reports, metadata) is not held up.
 */
export class BandwidthLimit {
  readonly #bytesPerSecond: number;
  /** Everything so far is paid for at this time. */
  #paidMs = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** For how many milliseconds whoever received `bytes` reads no more. */
  pauseAfterMs(bytes: number, nowMs: number): number {
    this.#paidMs = Math.max(this.#paidMs, nowMs) + (bytes * 1000) / this.#bytesPerSecond;
    return this.#paidMs - nowMs;
  }
}
