/**
 * Waiting for something that a server decides. A server that is away for a while (a restart, a lost network) ends no
 * wait: it is said, and asked again, until it has been away too long.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, Fault } from '../platform/fault.ts';

/** How long a server may be away before waiting for it ends. */
const AWAY_LIMIT_MS = 10 * 60_000;

export interface Wait<T> {
  readonly ask: () => Promise<T>;
  /** Undefined: not yet. */
  readonly done: (answer: T) => boolean;
  readonly onAnswer: (answer: T) => void;
  /** Called with why, at the first failure and after each further one. */
  readonly onAway: (fault: Fault) => void;
  readonly pauseMs: number;
}

/** Asks until `done`. Faults other than those of the network, and those that last too long, are thrown. */
export async function waitFor<T>(wait: Wait<T>): Promise<T> {
  let awaySinceMs: number | undefined;
  for (;;) {
    try {
      const answer = await wait.ask();
      awaySinceMs = undefined;
      wait.onAnswer(answer);
      if (wait.done(answer)) return answer;
    } catch (error) {
      if (!(error instanceof Fault) || error.exitStatus !== EXIT.remote) throw error;
      awaySinceMs ??= performance.now();
      if (performance.now() - awaySinceMs > AWAY_LIMIT_MS) throw error;
      wait.onAway(error);
    }
    await sleep(wait.pauseMs);
  }
}
