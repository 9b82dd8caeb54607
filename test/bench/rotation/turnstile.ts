/**
 * At most so many at once, the others in turn. Ten thousand devices have ten thousand processors; these share one, and
 * without a limit all would be half-way through a handshake when its deadline comes. Who is in the middle of something goes
 * first. What a turn was waited for is kept: it stands in the figures, and is this machine's, not the server's.
 */
export class Turnstile {
  readonly #places: number;
  readonly #first: (() => void)[] = [];
  readonly #others: (() => void)[] = [];
  #inside = 0;
  longestWaitMs = 0;

  constructor(places: number) {
    this.#places = places;
  }

  async pass<T>(work: () => Promise<T>, goesFirst = false): Promise<T> {
    const cameMs = performance.now();
    const queue = goesFirst ? this.#first : this.#others;
    if (this.#inside >= this.#places) await new Promise<void>((enter) => queue.push(enter));
    else this.#inside += 1;
    this.longestWaitMs = Math.max(this.longestWaitMs, performance.now() - cameMs);
    try {
      return await work();
    } finally {
      const next = this.#first.shift() ?? this.#others.shift();
      if (next === undefined) this.#inside -= 1;
      else next();
    }
  }
}
