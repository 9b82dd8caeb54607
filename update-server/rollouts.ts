/**
 * What devices and people do to the fleet, as the rest of the server calls it: one store transaction, then the events.
 * Nothing is kept here between calls, so a kill at any point loses at most a hint, and the next poll or tick makes up for it.
 */
import type { PollAnswer, PollRequest, Report, ReportAnswer } from '../protocol/device-api.ts';
import { PROTOCOL_VERSION } from '../protocol/device-api.ts';
import type { RolloutRequest, RolloutVerb, RolloutView } from '../protocol/operator-api.ts';
import type { ServerEvents } from './core/events.ts';
import type { Actor, ServerClock, StartOutcome, Store, Touched, VerbOutcome } from './core/ports.ts';

export interface RolloutsPorts {
  readonly store: Store;
  readonly clock: ServerClock;
  readonly events: ServerEvents;
  /** What devices are told to wait between polls when nothing happens. */
  readonly pollAfterMs: number;
}

/** While a device works on an action it is asked to come back sooner. */
const POLL_AFTER_AT_WORK_MS = 15_000;

export class Rollouts {
  readonly #ports: RolloutsPorts;

  constructor(ports: RolloutsPorts) {
    this.#ports = ports;
  }

  /** The caller has checked that the certificate is this device's and good. */
  async decidePoll(deviceId: string, request: PollRequest): Promise<PollAnswer> {
    const { store, clock, pollAfterMs } = this.#ports;
    const { action, touched } = await store.recordPoll(deviceId, request, clock.nowUnixMs());
    this.#tell(touched);
    const soon = action === null ? pollAfterMs : Math.min(pollAfterMs, POLL_AFTER_AT_WORK_MS);
    return { protocol: PROTOCOL_VERSION, pollAfterMs: soon, action, requests: [] };
  }

  /** Once this returned, everything up to `acknowledged` is on the disk. */
  async acceptReports(deviceId: string, reports: readonly Report[]): Promise<ReportAnswer> {
    const { store, clock } = this.#ports;
    const { acknowledged, touched } = await store.acceptReports(deviceId, reports, clock.nowUnixMs());
    this.#tell(touched);
    return { acknowledged };
  }

  /** Deadlines, soak times and gates. Call it every second or so, and once at start. */
  async tick(): Promise<void> {
    this.#tell(await this.#ports.store.advanceRollouts(this.#ports.clock.nowUnixMs()));
  }

  async start(request: RolloutRequest, actor: Actor): Promise<StartOutcome> {
    const outcome = await this.#ports.store.startRollout(request, actor, this.#ports.clock.nowUnixMs());
    if (outcome.outcome === 'started') this.#tell(outcome.touched, true);
    return outcome;
  }

  async command(rolloutId: string, verb: RolloutVerb, actor: Actor): Promise<VerbOutcome> {
    const outcome = await this.#ports.store.commandRollout(rolloutId, verb, actor, this.#ports.clock.nowUnixMs());
    if (outcome.outcome === 'done') this.#tell(outcome.touched, true);
    return outcome;
  }

  find(rolloutId: string): Promise<RolloutView | undefined> {
    return this.#ports.store.findRollout(rolloutId, this.#ports.clock.nowUnixMs());
  }

  #tell(touched: Touched, audited = false): void {
    const { events } = this.#ports;
    for (const id of touched.devices) events.emit({ kind: 'device', id });
    for (const id of touched.rollouts) events.emit({ kind: 'rollout', id });
    for (const id of touched.hints) events.emit({ kind: 'hint', id });
    // What moves a rollout is nearly always in the audit, too; looking costs the page one request.
    if (audited || touched.rollouts.length > 0) events.emit({ kind: 'audit', id: 'audit' });
  }
}

/**
 * Calls `tick` until stopped, never twice at once. `onError` hears what a tick throws; the next one comes all the same.
 * The function returned stops it and waits for a tick under way, so that the store may be closed after.
 */
export function tickEvery(rollouts: Rollouts, everyMs: number, onError: (error: unknown) => void): () => Promise<void> {
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= rollouts
      .tick()
      .catch(onError)
      .finally(() => {
        running = undefined;
      });
  }, everyMs);
  return async () => {
    clearInterval(timer);
    await running;
  };
}
