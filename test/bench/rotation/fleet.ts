/**
 * The lives of the fleet's devices: polling over the interval, rebooting when a rotation is asked for, losing power in the
 * middle of it, and being away. Nothing here decides who rotates when: the server does, at each device's own poll.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Backoff, withJitter } from '../../../agent/backoff.ts';
import { SourceUnreachable } from '../../../agent/core/ports.ts';
import { DEFAULT_RETRY } from '../../../agent/core/schedule.ts';
import { systemRandom } from '../../../agent/system-clock.ts';
import { ServerSaidNo } from '../../../agent/transport/server-link.ts';
import type { ServerEntry } from '../../../agent/transport/server-pool.ts';
import type { PollAnswer } from '../../../protocol/device-api.ts';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import type { ClaimFile } from '../../../protocol/enrolment.ts';
import { seededRandom } from '../../../scripts/seeded-random.ts';
import { CUTS, type Cut, FleetDevice, PowerCut } from './device.ts';
import type { Owners } from './owners.ts';
import { Turnstile } from './turnstile.ts';

/** The agent's own: connections are closed for a pause that is longer. */
const KEPT_CONNECTION_MS = 30_000;
const AT_ONCE = 32;
/** Decides who is away, who loses power, and where in the interval each polls. */
const SEED = 2026;

export interface FleetSettings {
  readonly pollMs: number;
  /** From the request for a reboot to the first boot's start, give or take a quarter. */
  readonly rebootMs: number;
  /** Shares of the fleet, 0 to 1. */
  readonly offline: number;
  readonly cuts: number;
  readonly seed?: number;
  /** A test's: called after a device rotated, and before it is looked at. */
  readonly sabotage?: (device: FleetDevice) => void;
}

export interface FleetWorld {
  readonly server: ServerEntry;
  /** Root metadata that every image trusts. */
  readonly rootFile: Uint8Array;
  readonly owners: Owners;
}

export interface Life {
  readonly device: FleetDevice;
  readonly away: boolean;
  readonly cut: Cut | undefined;
  /** Performance clock; undefined: not yet. */
  cutAtMs?: number;
  returnedAtMs?: number;
  rotatedAtMs?: number;
  /** An update was offered: before the device had rotated it must not be, afterwards it must. */
  offeredBefore: number;
  offeredAfter: number;
}

export interface Counts {
  requests: number;
  /** How long a poll took, in milliseconds, connection included. */
  readonly pollMs: number[];
  /** Exchanges that ended without an answer, or with a no. */
  readonly failures: Map<string, number>;
  lockedOut: number;
  formerAccepted: number;
}

export class Fleet {
  readonly lives: readonly Life[];
  readonly counts: Counts = { requests: 0, pollMs: [], failures: new Map(), lockedOut: 0, formerAccepted: 0 };
  readonly turnstile = new Turnstile(AT_ONCE);
  readonly #settings: FleetSettings;
  readonly #owners: Owners;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly #random: () => number;

  constructor(claims: readonly ClaimFile[], world: FleetWorld, settings: FleetSettings) {
    const { server, rootFile, owners } = world;
    this.#settings = settings;
    this.#owners = owners;
    this.#random = seededRandom(settings.seed ?? SEED);
    this.lives = claims.map((claim) => {
      const device = new FleetDevice({
        claim,
        server,
        ownersFile: owners.file,
        rootFile,
        onRequest: (path, tookMs) => this.#count(path, tookMs),
        onJudged: (judged, epoch, verdict) => {
          if (epoch > 1 && verdict === 'proven') this.#rotated(judged);
        },
        random: this.#random,
      });
      const draw = this.#random();
      const away = draw < settings.offline;
      const isCut = !away && draw < settings.offline + settings.cuts;
      const cut = isCut ? CUTS[Math.floor(this.#random() * CUTS.length)] : undefined;
      return { device, away, cut, offeredBefore: 0, offeredAfter: 0 };
    });
    for (const life of this.lives) this.#byDevice.set(life.device, life);
  }

  readonly #byDevice = new Map<FleetDevice, Life>();

  /** First boot, enrolment, the first statement, and the certificate that it earns: as many at once as pass. */
  async bringUp(progress: (done: number) => void): Promise<void> {
    let done = 0;
    const all = this.lives.map((life) =>
      this.turnstile.pass(async () => {
        if (this.aborted) return;
        const { device } = life;
        await device.leaveFactory();
        for (const step of [() => device.enrol(), () => device.exchange(), () => device.exchange()]) {
          await this.#untilAnswered(step);
        }
        device.closeIdle();
        done += 1;
        if (done % 500 === 0) progress(done);
      }),
    );
    // One that cannot be brought up ends the run: the others of its kind are not waited for.
    await Promise.all(all).finally(() => {
      this.turnstile.longestWaitMs = 0;
    });
  }

  async #untilAnswered(step: () => Promise<unknown>): Promise<void> {
    const backoff = new Backoff(systemRandom, DEFAULT_RETRY);
    for (;;) {
      try {
        await step();
        return;
      } catch (error) {
        if (!(error instanceof SourceUnreachable) || this.aborted) throw error;
        this.#failed(error);
        await this.#sleep(backoff.nextPauseMs());
      }
    }
  }

  /** All that are not away poll from here on, each at its own place in the interval. */
  start(): void {
    this.counts.requests = 0;
    this.counts.pollMs.length = 0;
    this.counts.failures.clear();
    for (const life of this.lives) if (!life.away) this.#live(life, this.#random() * this.#settings.pollMs);
  }

  /** Those that were away are switched on, spread over `withinMs`. */
  comeBack(lives: readonly Life[], withinMs: number): void {
    for (const life of lives) this.#live(life, this.#random() * withinMs);
  }

  /** Nothing begins any more; `stop` says what ended it. */
  breakOff(): void {
    this.#stop.abort();
  }

  /** Throws what ended a life that should have gone on. */
  async stop(): Promise<void> {
    this.#stop.abort();
    // A life that ends may have its last proof judged.
    for (let awaited = 0; awaited < this.#running.length; ) {
      awaited = this.#running.length;
      await Promise.all(this.#running);
    }
    for (const { device } of this.lives) device.close();
  }

  #live(life: Life, afterMs: number): void {
    const running = this.#lifeOf(life, afterMs);
    // Seen at the end too; until then it must not end the process.
    running.catch(() => this.#stop.abort());
    this.#running.push(running);
  }

  get aborted(): boolean {
    return this.#stop.signal.aborted;
  }

  async #lifeOf(life: Life, afterMs: number): Promise<void> {
    const { device } = life;
    const backoff = new Backoff(systemRandom, DEFAULT_RETRY);
    await this.#sleep(afterMs);
    if (life.away) life.returnedAtMs = performance.now();
    while (!this.#stop.signal.aborted) {
      try {
        const goesFirst = device.epoch > 1 && life.rotatedAtMs === undefined;
        const pauseMs = await this.turnstile.pass(() => this.#exchange(life, backoff), goesFirst);
        if (pauseMs > KEPT_CONNECTION_MS) device.closeIdle();
        if (await device.owesReboot()) await this.#reboot(life);
        else await this.#sleep(pauseMs);
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
        await this.#afterCut(life);
      }
    }
  }

  /** As agent/run-loop.ts: the pause until the next poll, or until the next try. */
  async #exchange(life: Life, backoff: Backoff): Promise<number> {
    try {
      this.#look(life, await life.device.exchange());
      // Asked once more, where the agent would sleep: is what was withheld given now?
      if (life.away && life.rotatedAtMs !== undefined && life.offeredAfter === 0) {
        this.#look(life, await life.device.exchange());
      }
      backoff.succeeded();
      return withJitter(systemRandom, this.#settings.pollMs);
    } catch (error) {
      if (!(error instanceof SourceUnreachable) && !(error instanceof ServerSaidNo)) throw error;
      this.#failed(error);
      return backoff.nextPauseMs();
    }
  }

  #failed(error: SourceUnreachable | ServerSaidNo): void {
    const words = error instanceof ServerSaidNo ? error.code : error.message;
    this.counts.failures.set(words, (this.counts.failures.get(words) ?? 0) + 1);
  }

  #look(life: Life, { action, requests }: PollAnswer): void {
    if (action === null) return;
    // The answer was given before the statement that this exchange may have brought.
    const before = life.rotatedAtMs === undefined || requests.includes('report-credentials');
    if (before) life.offeredBefore += 1;
    else life.offeredAfter += 1;
  }

  async #reboot(life: Life): Promise<void> {
    const { device, cut } = life;
    if (cut !== undefined && life.cutAtMs === undefined) device.armCut(cut);
    await this.#sleep(this.#settings.rebootMs * (0.75 + this.#random() / 2));
    if (!this.#stop.signal.aborted) await this.turnstile.pass(() => device.boot(), true);
  }

  async #afterCut(life: Life): Promise<void> {
    const { device } = life;
    life.cutAtMs = performance.now();
    device.powerBack();
    if (!(await this.#owners.isReachable(device))) this.counts.lockedOut += 1;
    await this.#sleep(this.#settings.rebootMs * (0.75 + this.#random() / 2));
    if (!this.#stop.signal.aborted) await this.turnstile.pass(() => device.boot(), true);
  }

  #rotated(device: FleetDevice): void {
    const life = this.#byDevice.get(device);
    if (life === undefined || life.rotatedAtMs !== undefined) return;
    life.rotatedAtMs = performance.now();
    this.#settings.sabotage?.(device);
    const judging = this.#judge(device, 0);
    judging.catch(() => this.#stop.abort());
    this.#running.push(judging);
  }

  /** The secret in effect is what an owner opens, and no former one is taken; else it is counted. */
  async #judge(device: FleetDevice, owner: 0 | 1): Promise<void> {
    const { open, formerAccepted } = await this.#owners.wayIn(device, owner);
    if (!open) this.counts.lockedOut += 1;
    if (formerAccepted) this.counts.formerAccepted += 1;
  }

  /** Every device once more, with the other owner's key. */
  async judgeAll(): Promise<void> {
    this.counts.lockedOut = 0;
    this.counts.formerAccepted = 0;
    for (const { device } of this.lives) await this.#judge(device, 1);
  }

  #count(path: string, tookMs: number): void {
    this.counts.requests += 1;
    if (path === DEVICE_PATHS.poll) this.counts.pollMs.push(tookMs);
  }

  async #sleep(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#stop.signal }).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) throw error;
    });
  }
}
