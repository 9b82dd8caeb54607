/**
 * What could not be made, so that it is not tried for ever: three times, with a pause that doubles, then no more in the life
 * of this process. A full disk passes; two images that the encoder cannot take do not.
 */
import type { ServerClock } from '../core/ports.ts';

const TRIES = 3;
const FIRST_PAUSE_MS = 10 * 60_000;

interface Failure {
  readonly tries: number;
  readonly againUnixMs: number;
  readonly what: string;
}

export class Failures {
  readonly #clock: ServerClock;
  readonly #byName = new Map<string, Failure>();

  constructor(clock: ServerClock) {
    this.#clock = clock;
  }

  /** Returns how often it has failed by now. */
  note(name: string, what: string): number {
    const tries = (this.#byName.get(name)?.tries ?? 0) + 1;
    const againUnixMs = this.#clock.nowUnixMs() + FIRST_PAUSE_MS * 2 ** (tries - 1);
    this.#byName.set(name, { tries, againUnixMs, what });
    return tries;
  }

  forget(name: string): void {
    this.#byName.delete(name);
  }

  /** May it not be tried now? */
  forbid(name: string): boolean {
    const failure = this.#byName.get(name);
    return failure !== undefined && (failure.tries >= TRIES || failure.againUnixMs > this.#clock.nowUnixMs());
  }

  whyForbidden(name: string): string | undefined {
    return this.forbid(name) ? this.#byName.get(name)?.what : undefined;
  }
}
