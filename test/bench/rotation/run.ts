/**
 * One rotation of one fleet, from the claims to the verified audit. What it gives are figures; what must hold at any size
 * (nobody locked out, nobody served before) is counted here and judged by who asked.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { errorText } from '../../../platform/fault.ts';
import type { RotationView } from '../../../protocol/operator-api.ts';
import { type LabServer, startLabServer } from '../running-fleet.ts';
import { Fleet, type FleetSettings, type Life } from './fleet.ts';
import { Operator, type RotationOrder } from './operator.ts';
import { Owners } from './owners.ts';
import { cpuSeconds, ProcessWatch } from './process-watch.ts';

export interface RotationSettings extends FleetSettings, RotationOrder {
  readonly projectRoot: string;
  /** Empty; everything of the run is in it. */
  readonly directory: string;
  readonly devices: number;
  /** How often a person looks. */
  readonly statusMs: number;
  /** When the second half of those that are away come back; a test does not wait for the server to give them up. */
  readonly lateReturn?: 'complete' | 'others-done';
  /** Blobs that are also fetched as a person does, by request and approval. */
  readonly fetches: number;
  readonly progress: (line: string) => void;
}

export interface RotationFigures {
  readonly devices: number;
  readonly online: number;
  /** Seconds from `holdfast credentials rotate` to the statement that proved it, sorted; of those that were online. */
  readonly rotatedS: readonly number[];
  /** Seconds from its return to its proof, sorted; of those that were away. */
  readonly returnedS: readonly number[];
  /** Seconds in which the server had no blob of the secret in effect, sorted: from its coming into effect to the answer. */
  readonly gapS: readonly number[];
  readonly cuts: number;
  readonly bringUpS: number;
  readonly bringUpServerCpuS: number;
  /** Of the time until the last device that was online had rotated. */
  readonly requests: number;
  readonly serverCpuS: number;
  readonly clientsCpuS: number;
  readonly serverPeakMb: number;
  readonly pollMs: readonly number[];
  readonly longestTurnS: number;
  readonly statusS: readonly number[];
  readonly failures: ReadonlyMap<string, number>;
  readonly opened: number;
  readonly lockedOut: number;
  readonly formerAccepted: number;
  readonly offeredBefore: number;
  readonly offeredAfter: number;
  readonly away: number;
  readonly proven: number;
  readonly factory: number;
  readonly auditEntries: number;
  readonly fetched: number;
}

const RETURN_SPREAD_MS = 60_000;

export async function runRotation(settings: RotationSettings): Promise<RotationFigures> {
  const { projectRoot, directory, pollMs, progress } = settings;
  const tick = ['--tick-ms', String(Math.min(1000, pollMs))];
  const options = ['--credentials-gate', 'enforce', '--poll-after-ms', String(pollMs), '--log-level', 'warn', ...tick];
  const server = await startLabServer(projectRoot, directory, options);
  try {
    const operator = new Operator(projectRoot, join(directory, 'profile'));
    await operator.login(server);
    const owners = new Owners(join(directory, 'data/db.sqlite'));
    const anchors = [await readFile(server.serverCa, 'utf8')];
    const claims = await operator.claims(settings.devices);
    progress(`${claims.length} claims made`);
    const rootFile = await readFile(join(directory, 'data/metadata/1.root.json'));
    const entry = { url: server.deviceUrl, mqttUrl: null, anchors };
    const fleet = new Fleet(claims, { server: entry, rootFile, owners }, settings);
    const run = new Run(settings, server, operator, owners, fleet);
    const breakOff = (): void => fleet.breakOff();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, breakOff);
    try {
      return await run.toEnd();
    } finally {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, breakOff);
      await fleet.stop().catch((error: unknown) => progress(`a device ended: ${errorText(error)}`));
      owners.close();
    }
  } finally {
    await server.process.stop();
  }
}

class Run {
  readonly #settings: RotationSettings;
  readonly #watch: ProcessWatch;
  readonly #operator: Operator;
  readonly #owners: Owners;
  readonly #fleet: Fleet;
  readonly #online: readonly Life[];
  readonly #away: readonly Life[];
  readonly #statusS: number[] = [];
  #said = '';

  constructor(settings: RotationSettings, server: LabServer, operator: Operator, owners: Owners, fleet: Fleet) {
    this.#settings = settings;
    this.#watch = new ProcessWatch(server.process.pid ?? 0);
    this.#operator = operator;
    this.#owners = owners;
    this.#fleet = fleet;
    this.#online = fleet.lives.filter(({ away }) => !away);
    this.#away = fleet.lives.filter(({ away }) => away);
  }

  async toEnd(): Promise<RotationFigures> {
    const { progress } = this.#settings;
    const bringUp = await this.#bringUp();
    if (this.#away.length > 0) await this.#operator.offerUpdate(this.#away.map(({ device }) => device.id));
    this.#fleet.start();
    const [serverCpu, ownCpu] = [this.#watch.cpuS(), cpuSeconds(process.pid)];
    const startedMs = performance.now();
    const { rotationId, devices } = await this.#operator.rotate(this.#settings);
    progress(`rotation ${rotationId} of ${devices} devices is started`);
    const [early, late] = [this.#away.filter(isEven), this.#away.filter((life, at) => !isEven(life, at))];
    // A device whose wave is not open owes nothing yet, and is served.
    const isOpen = ({ waves }: RotationView): boolean => waves.every(({ openedUnixMs }) => openedUnixMs !== null);
    await this.#until(rotationId, (seen) => isOpen(seen) && rotatedOf(this.#online) * 2 >= this.#online.length);
    this.#return(early);
    await this.#until(rotationId, () => rotatedOf(this.#online) === this.#online.length);
    const { requests } = this.#fleet.counts;
    const used = { serverCpuS: this.#watch.cpuS() - serverCpu, clientsCpuS: cpuSeconds(process.pid) - ownCpu };
    progress(`all ${this.#online.length} that are online have rotated`);
    if (this.#settings.lateReturn !== 'others-done') await this.#until(rotationId, ({ state }) => state === 'complete');
    this.#return(late);
    await this.#until(rotationId, () => this.#away.every(isServed));
    await this.#fleet.stop();
    const during = { lockedOut: this.#fleet.counts.lockedOut, formerAccepted: this.#fleet.counts.formerAccepted };
    progress('every blob is opened once more, with the other owner’s key');
    await this.#fleet.judgeAll();
    return { ...bringUp, requests, ...used, ...this.#figures(startedMs, during), ...(await this.#atTheEnd()) };
  }

  async #bringUp() {
    const { progress, devices } = this.#settings;
    const before = this.#watch.cpuS();
    const begunMs = performance.now();
    await this.#fleet.bringUp((done) => progress(`${done} of ${devices} enrolled, with secrets of their own`));
    const standings = await this.#operator.standings();
    if (standings.proven !== devices) throw new Error(`the fleet does not stand: ${JSON.stringify(standings)}`);
    return { bringUpS: secondsSince(begunMs), bringUpServerCpuS: this.#watch.cpuS() - before };
  }

  #return(lives: readonly Life[]): void {
    if (lives.length > 0) this.#settings.progress(`${lives.length} that were away are switched on`);
    this.#fleet.comeBack(lives, Math.min(RETURN_SPREAD_MS, this.#settings.pollMs));
  }

  /** Looks as a person would, until `done`. Throws when the rotation halted: then it does not end by itself. */
  async #until(rotationId: string, done: (rotation: RotationView) => boolean): Promise<void> {
    for (;;) {
      const askedMs = performance.now();
      const rotation = await this.#operator.rotation(rotationId);
      this.#statusS.push(secondsSince(askedMs));
      this.#say(rotation);
      if (rotation.state === 'halted') throw new Error(`the rotation halted: ${rotation.reason}`);
      if (done(rotation)) return;
      if (this.#fleet.aborted) {
        await this.#fleet.stop();
        throw new Error('broken off');
      }
      this.#watch.look();
      await pause(this.#settings.statusMs);
    }
  }

  #say({ state, rotated, devices, reason }: RotationView): void {
    const line = `${state}: ${rotated} of ${devices} rotated; ${reason}`;
    if (line !== this.#said) this.#settings.progress(line);
    this.#said = line;
  }

  #figures(startedMs: number, during: { readonly lockedOut: number; readonly formerAccepted: number }) {
    const { lives, counts, turnstile } = this.#fleet;
    const gaps = lives.map(({ device }) => (device.keptMs - device.appliedMs) / 1000);
    return {
      devices: lives.length,
      online: this.#online.length,
      away: this.#away.length,
      rotatedS: ascending(this.#online.map(({ rotatedAtMs = 0 }) => (rotatedAtMs - startedMs) / 1000)),
      returnedS: ascending(
        this.#away.map(({ rotatedAtMs = 0, returnedAtMs = 0 }) => (rotatedAtMs - returnedAtMs) / 1000),
      ),
      gapS: ascending(gaps),
      cuts: lives.filter(({ cutAtMs }) => cutAtMs !== undefined).length,
      pollMs: ascending(counts.pollMs),
      longestTurnS: turnstile.longestWaitMs / 1000,
      statusS: ascending(this.#statusS),
      failures: counts.failures,
      // At each change and at the end: whoever was found either time.
      lockedOut: Math.max(during.lockedOut, counts.lockedOut),
      formerAccepted: Math.max(during.formerAccepted, counts.formerAccepted),
      offeredBefore: sum(lives.map(({ offeredBefore }) => offeredBefore)),
      offeredAfter: lives.filter(({ away, offeredAfter }) => away && offeredAfter > 0).length,
      serverPeakMb: this.#watch.peakMb(),
      opened: this.#owners.opened,
    };
  }

  async #atTheEnd() {
    const { proven = 0 } = await this.#operator.standings();
    const factory = await this.#operator.factoryDevices();
    let fetched = 0;
    for (const { device } of this.#online.slice(0, this.#settings.fetches)) {
      const given = await this.#operator.fetchEscrow(device.id);
      const kept = this.#owners.keptBlob(device.id, device.epoch);
      if (kept !== undefined && Buffer.compare(given, kept) === 0) fetched += 1;
    }
    return { proven, factory, fetched, auditEntries: await this.#operator.verifyAudit() };
  }
}

const isEven = (_life: Life, at: number): boolean => at % 2 === 0;
const isServed = ({ rotatedAtMs, offeredAfter }: Life): boolean => rotatedAtMs !== undefined && offeredAfter > 0;
const rotatedOf = (lives: readonly Life[]): number => lives.filter((life) => life.rotatedAtMs !== undefined).length;
const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const secondsSince = (ms: number): number => (performance.now() - ms) / 1000;
