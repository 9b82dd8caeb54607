/** Waiting for what a device or the loopback server says, with an end: too long, interrupted, or a program that died. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, Fault } from '../../platform/fault.ts';

const PAUSE_MS = 200;

export interface Patience {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Throws when waiting has become pointless. */
  readonly demandAlive: () => void;
}

/** The first answer; undefined once it took too long. Fault `interrupted`. */
export async function until<T>(patience: Patience, ask: () => Promise<T | undefined>): Promise<T | undefined> {
  const endMs = performance.now() + patience.timeoutMs;
  for (;;) {
    demandGoOn(patience.signal);
    patience.demandAlive();
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() >= endMs) return undefined;
    await sleep(PAUSE_MS);
  }
}

/** Fault `interrupted`, if it was. */
export function demandGoOn(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new Fault({
    code: 'interrupted',
    what: 'the preflight was interrupted, and has no verdict',
    cure: 'Start it again.',
    exitStatus: EXIT.environment,
  });
}
