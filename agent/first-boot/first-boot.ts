/**
 * Runs the first-boot machine to a rest: this boot is open, or blocked and closed.
 *
 * Invariants: state and effects are durable before the first effect runs, and the outcome after it. What is applied is
 * what was sealed: its digest stands in the record. Whatever fails ends in `blocked`; a journal that cannot be written is thrown, and opens nothing.
 * May not: decide (agent/core/first-boot-machine.ts does), or know any kind of credential.
 */
import * as v from 'valibot';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { Fault } from '../../platform/fault.ts';
import type { BlockedBecause } from '../../protocol/credentials.ts';
import { hasReached } from '../../protocol/device-api.ts';
import { decodeEscrow } from '../../protocol/escrow.ts';
import {
  type FirstBootEvent,
  type FirstBootState,
  nextFirstBoot,
  startFirstBoot,
  withDebts,
} from '../core/first-boot-machine.ts';
import type { CredentialProvider, HardwareTrait } from '../core/first-boot-ports.ts';
import { compareHardware, hardwareId } from '../core/hardware.ts';
import type { StateRecord } from '../storage/state-record.ts';
import { FirstBootEffects, type FirstBootPorts } from './effects.ts';
import { FACTORY_RECORD, FirstBootRecord, firstBootRecord } from './first-boot-record.ts';
import { type FoundRequest, findRequests, type RequestPaths, removeRequest } from './requests.ts';
import { EpochFolder } from './staging.ts';
import { FirstBootTrouble, troubleOf } from './trouble.ts';

export interface FirstBootSettings {
  /** `<data>/first-boot`; the folder above exists. */
  readonly directory: string;
  /** Stands in the escrow; asked for when something is sealed. Throws a Fault where nothing says it. */
  readonly deviceId: () => Promise<string>;
  readonly requests: RequestPaths;
}

export type FirstBootRest =
  | { readonly rest: 'open'; readonly record: FirstBootRecord }
  | { readonly rest: 'blocked'; readonly record: FirstBootRecord; readonly trouble: BlockedBecause }
  /** Closed; all is in effect, and something that runs since before took up the former: once, a reboot mends it. */
  | { readonly rest: 'reboot'; readonly record: FirstBootRecord; readonly trouble: BlockedBecause };

/** A check's code: it will hold once the device was rebooted. */
const REBOOT_NEEDED = 'reboot-needed';

function takesRotation(state: FirstBootState): boolean {
  return state === 'blocked' || hasReached(state, 'open');
}

export class FirstBoot {
  readonly #ports: FirstBootPorts;
  readonly #settings: FirstBootSettings;
  readonly #store: StateRecord<FirstBootRecord>;
  readonly #folder: EpochFolder;
  readonly #effects: FirstBootEffects;
  #record: FirstBootRecord = FACTORY_RECORD;
  #seen: readonly HardwareTrait[] = [];
  /** What an effect wants written, together with the transition that its event leads to. */
  #pending: Partial<FirstBootRecord> = {};

  constructor(ports: FirstBootPorts, settings: FirstBootSettings) {
    this.#ports = ports;
    this.#settings = settings;
    this.#store = firstBootRecord(ports.disk, settings.directory);
    this.#folder = new EpochFolder(ports.disk, settings.directory, ports.eraseFile);
    this.#effects = new FirstBootEffects(ports, { folder: this.#folder, deviceId: settings.deviceId }, FACTORY_RECORD);
  }

  /** To a rest. Throws only where the record cannot be read or written: nothing is open then. */
  async run(): Promise<FirstBootRest> {
    await makeDirectoryDurably(this.#ports.disk, this.#settings.directory);
    await this.#load();
    try {
      demandProviders(this.#ports.providers);
      let event = await this.#comeIn();
      for (;;) {
        if (event !== undefined) await this.#step(event);
        event = await this.#runOwed();
        if (event === undefined) return this.#opened();
      }
    } catch (error) {
      return this.#block(troubleOf(error, this.#effects.working));
    }
  }

  /** The one place that says open. */
  #opened(): FirstBootRest {
    const { state, opened } = this.#record;
    if (!hasReached(state, 'open') || opened?.bootId !== this.#ports.boot.bootId)
      throw new Error(`the first boot came to its end in ${state} and did not open`);
    return { rest: 'open', record: this.#record };
  }

  async #load(): Promise<void> {
    const reading = await this.#store.read();
    if (reading.found === 'damaged') {
      const cure = 'none needed: new secrets are made; if this comes again, check the card';
      this.#ports.log.warn('the record of the first boot is damaged', {
        code: 'record-damaged',
        why: reading.detail,
        cure,
      });
    }
    // A number that was used once is never used again: the folder remembers what a lost record does not.
    const lost = { ...FACTORY_RECORD, epoch: await this.#folder.highestEpoch() };
    this.#record = reading.found === 'whole' ? reading.value : lost;
  }

  // --- transitions -------------------------------------------------------------------------------------------------

  /** What this boot brings, journaled: another board, a reset, a rotation, or just a start. Undefined: all is journaled. */
  async #comeIn(): Promise<FirstBootEvent | undefined> {
    this.#seen = await this.#ports.hardware();
    const { disk, log } = this.#ports;
    const found = await findRequests(disk, this.#settings.requests, log);
    const fresh = found.filter(({ digest }) => !this.#record.answered.includes(digest));
    const wants = (what: FoundRequest['wants']): boolean => fresh.some((request) => request.wants === what);
    const answered = found.map(({ digest }) => digest);
    let renewed = false;
    if (compareHardware(this.#record.hardware, this.#seen) === 'other') {
      const from =
        this.#record.state === 'clone-suspected' ? this.#record.movedFrom : hardwareId(this.#record.hardware);
      await this.#step('other-board', { movedFrom: from, hardware: [...this.#seen] });
      renewed = true;
    }
    if (wants('reset')) {
      await this.#step('reset', { answered });
      renewed = true;
    } else if (wants('rotate') && !renewed && takesRotation(this.#record.state)) {
      await this.#step('rotate', { answered });
      renewed = true;
    } else if (!renewed && !(await this.#isCovered())) {
      await this.#step('uncovered', { answered });
      renewed = true;
    }
    if (found.length > 0 || this.#record.answered.length > 0) await this.#answer(found);
    return renewed ? undefined : 'started';
  }

  /** The requests are taken up; a rotation that comes while new secrets are being made anyway is fulfilled by them. */
  async #answer(found: readonly FoundRequest[]): Promise<void> {
    await this.#journal({ answered: found.map(({ digest }) => digest) });
    const stay: string[] = [];
    for (const request of found) {
      if (!(await removeRequest(this.#ports.disk, request, this.#ports.log))) stay.push(request.digest);
    }
    await this.#journal({ answered: stay });
  }

  /** Does the epoch cover every provider, and is what it staged still what was sealed? */
  async #isCovered(): Promise<boolean> {
    const { providers, epoch, staged } = this.#record;
    const state = this.#resumed();
    // From then on an epoch's secrets are staged, and may be in effect.
    if (!hasReached(state, 'escrowed')) return true;
    if (!this.#ports.providers.every(({ name }) => providers.includes(name))) return false;
    if (state === 'open' && !(await this.#isSealedForThisDevice())) return false;
    if (state !== 'escrowed' && state !== 'applied') return true;
    return (await this.#folder.stagedDigest(epoch)) === staged;
  }

  /**
   * A copy that is given a claim of its own becomes another device: what it sealed under the former name, no owner would
   * open as its. Asked only until the server has this epoch; a claim or a blob that cannot be read says nothing here.
   */
  async #isSealedForThisDevice(): Promise<boolean> {
    if (this.#record.escrow === null) return true;
    const deviceId = await this.#settings.deviceId().catch((error: unknown) => {
      if (error instanceof Fault) return undefined;
      throw error;
    });
    const blob = await this.#folder.readEscrow(this.#record.epoch).catch(() => undefined);
    const sealed = blob === undefined ? undefined : decodeEscrow(blob);
    return deviceId === undefined || sealed?.ok !== true || sealed.blob.deviceId === deviceId;
  }

  #resumed(): FirstBootState {
    return this.#record.state === 'blocked' ? (this.#record.resume ?? 'factory') : this.#record.state;
  }

  /** Journals state and effects; runs nothing. */
  async #step(event: FirstBootEvent, change: Partial<FirstBootRecord> = {}): Promise<void> {
    const { state, owed } = this.#record;
    const transition = event === 'started' ? startFirstBoot(this.#resumed(), owed) : nextFirstBoot(state, event);
    if ('illegal' in transition) throw new Error(`the first boot has no way from ${state} on ${event}`);
    const effects = withDebts(transition.effects, owed);
    await this.#journal({ ...this.#pending, ...change, state: transition.state, resume: null, owed: [...effects] });
    this.#pending = {};
    this.#ports.log.info('first boot', { event, state: transition.state, epoch: this.#record.epoch });
  }

  /** Runs what is owed, to the event that the last of it yields; undefined when nothing is owed any more. */
  async #runOwed(): Promise<FirstBootEvent | undefined> {
    for (let effect = this.#record.owed[0]; effect !== undefined; effect = this.#record.owed[0]) {
      const { event, change = {} } = await this.#effects.run(effect, this.#record, this.#seen);
      if (event !== undefined) {
        this.#pending = change;
        return event;
      }
      await this.#journal({ ...change, owed: this.#record.owed.slice(1) });
    }
    return undefined;
  }

  async #block(trouble: BlockedBecause): Promise<FirstBootRest> {
    const resume = this.#resumed();
    const transition = nextFirstBoot(this.#record.state, 'failed');
    if ('illegal' in transition) throw new Error(`the first boot cannot fail in ${this.#record.state}`);
    // What is owed stays owed: it is where the resumed state goes on.
    const reboots = trouble.code === REBOOT_NEEDED && !this.#record.rebooted;
    const rebooted = this.#record.rebooted || reboots;
    await this.#journal({ state: transition.state, resume, trouble, rebooted });
    for (const effect of transition.effects) await this.#effects.run(effect, this.#record, this.#seen);
    return { rest: reboots ? 'reboot' : 'blocked', record: this.#record, trouble };
  }

  async #journal(change: Partial<FirstBootRecord>): Promise<void> {
    const next = { ...this.#record, ...change };
    if (JSON.stringify(next) === JSON.stringify(this.#record)) return;
    // A record of a wrong shape would be taken for a damaged one by its next reader.
    v.assert(FirstBootRecord, next);
    await this.#store.write(next);
    this.#record = next;
  }
}

/** Without any nothing of the factory's would be replaced; of two with one name, one would pass for the other. */
function demandProviders(providers: readonly CredentialProvider[]): void {
  const names = providers.map(({ name }) => name);
  if (names.length === 0) throw new FirstBootTrouble('providers-missing', 'agent.json names no provider that is wired');
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new FirstBootTrouble('providers-ambiguous', `two providers are called ${twice}`);
}
