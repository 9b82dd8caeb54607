/**
 * Notices that a network can provoke at will (a bad certificate, a kept hint) are recorded once per cause and hour: they
 * must not fill the queue, nor wear out the card.
 */
import { errorText } from '../../platform/fault.ts';
import type { Clock, Log, Reporter } from '../core/ports.ts';

const QUIET_MS = 3600_000;
/** Causes that are remembered; beyond it the oldest is forgotten. */
const CAUSES_CAP = 32;

export class NoticeLimiter {
  readonly #reporter: Reporter;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #log: Log;
  readonly #saidMs = new Map<string, number>();

  constructor(reporter: Reporter, clock: Pick<Clock, 'monotonicMs'>, log: Log) {
    this.#reporter = reporter;
    this.#clock = clock;
    this.#log = log;
  }

  say(code: string, detail: string): void {
    const nowMs = this.#clock.monotonicMs();
    const cause = `${code} ${detail.slice(0, 120)}`;
    const lastMs = this.#saidMs.get(cause);
    if (lastMs !== undefined && nowMs - lastMs < QUIET_MS) return;
    this.#saidMs.delete(cause);
    this.#saidMs.set(cause, nowMs);
    const oldest = this.#saidMs.keys().next().value;
    if (this.#saidMs.size > CAUSES_CAP && oldest !== undefined) this.#saidMs.delete(oldest);
    this.#log.warn('notice', { code, detail });
    this.#reporter
      .record({ kind: 'notice', code: code.slice(0, 64), detail: detail.slice(0, 512) })
      .catch((error: unknown) => {
        this.#log.warn('a notice could not be recorded', { code, why: errorText(error) });
      });
  }
}
