/**
 * Runs the first-boot machine to a rest: this boot is open, or blocked and closed.
 *
 * Invariants: state and effects are durable before the first effect runs, and the outcome after it. Secrets that owners
 * may need are in memory between `stage` and `seal`, and nowhere else. What is applied is what was sealed: its digest
 * stands in the record. Whatever fails ends in `blocked`; a journal that cannot be written is thrown, and opens nothing.
 * May not: decide (agent/core/first-boot-machine.ts does), or know any kind of credential.
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { type BlockedBecause, ESCROW_CAP_BYTES, type EscrowNote } from '../../protocol/credentials.ts';
import type { Installed } from '../../protocol/device-api.ts';
import {
  type FirstBootEffect,
  type FirstBootEvent,
  type FirstBootState,
  nextFirstBoot,
  startFirstBoot,
  withDebts,
} from '../core/first-boot-machine.ts';
import type {
  CredentialProvider,
  Escrow,
  EscrowedSecret,
  HardwareTrait,
  SecretSource,
} from '../core/first-boot-ports.ts';
import { compareHardware, hardwareId, mergeHardware } from '../core/hardware.ts';
import type { BootFacts, Log } from '../core/ports.ts';
import type { StateRecord } from '../storage/state-record.ts';
import { FACTORY_RECORD, FirstBootRecord, firstBootRecord } from './first-boot-record.ts';
import { type FoundRequest, findRequests, type RequestPaths, removeRequest } from './requests.ts';
import { EpochFolder } from './staging.ts';
import { FirstBootTrouble, troubleOf } from './trouble.ts';

export interface FirstBootPorts {
  readonly disk: Disk;
  readonly providers: readonly CredentialProvider[];
  /** Undefined: agent.json names no owners. */
  readonly escrow: Escrow | undefined;
  readonly random: SecretSource;
  readonly hardware: () => Promise<readonly HardwareTrait[]>;
  readonly boot: BootFacts;
  /** What the booted slot holds, as far as the agent knows. */
  readonly release: Installed | null;
  /** Takes key and certificate of the other board away, durably. */
  readonly retireIdentity: () => Promise<void>;
  readonly wipeApplicationData: () => Promise<void>;
  readonly log: Log;
}

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

/** What an effect did: the event that it yields, and what the next write of the record says besides. */
interface Done {
  readonly event?: FirstBootEvent;
  readonly change?: Partial<FirstBootRecord>;
}

/** States from which on an epoch's secrets are staged, and may be in effect. */
const MADE: readonly FirstBootState[] = ['escrowed', 'applied', 'verified', 'open', 'enrolled', 'reported'];
/** A check's code: it will hold once the device was rebooted. */
const REBOOT_NEEDED = 'reboot-needed';
const OPEN: readonly FirstBootState[] = ['open', 'enrolled', 'reported'];
const TAKES_ROTATE: readonly FirstBootState[] = [...OPEN, 'blocked'];

export class FirstBoot {
  readonly #ports: FirstBootPorts;
  readonly #settings: FirstBootSettings;
  readonly #store: StateRecord<FirstBootRecord>;
  readonly #folder: EpochFolder;
  readonly #effects: Readonly<Record<FirstBootEffect, () => Promise<Done>>>;
  #record: FirstBootRecord = FACTORY_RECORD;
  #seen: readonly HardwareTrait[] = [];
  /** Between `generate` and `keep-escrow`; null: nothing of this epoch is for an owner. */
  #sealed: { readonly blob: Uint8Array; readonly note: EscrowNote } | null | undefined;
  /** The provider that is at work, for the trouble's sake. */
  #working: string | null = null;
  #verifiedNow = false;
  /** What an effect wants written, together with the transition that its event leads to. */
  #pending: Partial<FirstBootRecord> = {};

  constructor(ports: FirstBootPorts, settings: FirstBootSettings) {
    this.#ports = ports;
    this.#settings = settings;
    this.#store = firstBootRecord(ports.disk, settings.directory);
    this.#folder = new EpochFolder(ports.disk, settings.directory);
    this.#effects = {
      'begin-epoch': () => this.#beginEpoch(),
      'discard-staged': () => this.#folder.discardStaged().then(nothing),
      wipe: () => this.#wipe(),
      'retire-identity': () => this.#retireIdentity(),
      generate: () => this.#generate(),
      'keep-escrow': () => this.#keepEscrow(),
      'apply-next': () => this.#applyNext(),
      verify: () => this.#verify(),
      'clear-staged': () => this.#clearStaged(),
      reconcile: () => this.#each((provider) => provider.reconcile()).then(nothing),
      inspect: () => this.#inspect(),
      open: () => this.#open(),
      'report-blocked': () => this.#reportBlocked(),
      'refuse-trial': () => this.#refuseTrial(),
    };
  }

  /** To a rest. Throws only where the record cannot be read or written: nothing is open then. */
  async run(): Promise<FirstBootRest> {
    await makeDirectoryDurably(this.#ports.disk, this.#settings.directory);
    await this.#load();
    try {
      if (this.#ports.providers.length === 0)
        throw new FirstBootTrouble(
          'providers-missing',
          'no provider is named, and so nothing of the factory is replaced',
        );
      let event = await this.#comeIn();
      for (;;) {
        if (event !== undefined) await this.#step(event);
        event = await this.#runOwed();
        if (event === undefined) return this.#opened();
      }
    } catch (error) {
      return this.#block(troubleOf(error, this.#working));
    }
  }

  /** The one place that says open. */
  #opened(): FirstBootRest {
    const { state, opened } = this.#record;
    if (!OPEN.includes(state) || opened?.bootId !== this.#ports.boot.bootId)
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
    } else if (wants('rotate') && !renewed && TAKES_ROTATE.includes(this.#record.state)) {
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
    if (!MADE.includes(state)) return true;
    if (!this.#ports.providers.every(({ name }) => providers.includes(name))) return false;
    if (state !== 'escrowed' && state !== 'applied') return true;
    return (await this.#folder.stagedDigest(epoch)) === staged;
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
      const { event, change = {} } = await this.#effects[effect]();
      this.#working = null;
      if (event !== undefined) {
        this.#pending = change;
        return event;
      }
      await this.#journal({ ...change, owed: this.#record.owed.slice(1) });
    }
    return undefined;
  }

  async #block(trouble: BlockedBecause): Promise<FirstBootRest> {
    this.#sealed = undefined;
    const resume = this.#resumed();
    const transition = nextFirstBoot(this.#record.state, 'failed');
    if ('illegal' in transition) throw new Error(`the first boot cannot fail in ${this.#record.state}`);
    // What is owed stays owed: it is where the resumed state goes on.
    const reboots = trouble.code === REBOOT_NEEDED && !this.#record.rebooted;
    const rebooted = this.#record.rebooted || reboots;
    await this.#journal({ state: transition.state, resume, trouble, rebooted });
    for (const effect of transition.effects) await this.#effects[effect]();
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

  // --- effects -----------------------------------------------------------------------------------------------------

  async #beginEpoch(): Promise<Done> {
    const epoch = Math.max(this.#record.epoch, await this.#folder.highestEpoch()) + 1;
    const hardware = [...mergeHardware(this.#record.hardware, this.#seen)];
    this.#verifiedNow = false;
    const begunIn = this.#ports.boot.bootId;
    return {
      change: { epoch, begunIn, providers: [], staged: null, applied: [], escrow: null, hardware, rebooted: false },
    };
  }

  async #wipe(): Promise<Done> {
    await this.#each((provider) => provider.wipe());
    await this.#ports.wipeApplicationData();
    return {};
  }

  async #retireIdentity(): Promise<Done> {
    await this.#each((provider) => provider.wipe());
    await this.#ports.retireIdentity();
    return {};
  }

  async #generate(): Promise<Done> {
    const { epoch } = this.#record;
    const staging = await this.#folder.makeStaging(epoch);
    const secrets: EscrowedSecret[] = [];
    await this.#each(async (provider) => {
      secrets.push(...(await provider.stage(staging, this.#ports.random)));
    });
    this.#sealed = await this.#seal(secrets);
    const providers = this.#ports.providers.map(({ name }) => name);
    return { event: 'generated', change: { providers, staged: await this.#folder.stagedDigest(epoch) } };
  }

  async #seal(secrets: readonly EscrowedSecret[]): Promise<{ blob: Uint8Array; note: EscrowNote } | null> {
    if (secrets.length === 0) return null;
    const { escrow } = this.#ports;
    if (escrow === undefined)
      throw new FirstBootTrouble(
        'escrow-missing',
        'there are secrets that an owner may need, and no owner to seal them to',
      );
    const { epoch } = this.#record;
    const sealed = await escrow.seal(secrets, { deviceId: await this.#settings.deviceId(), epoch });
    if (!sealed.ok) throw new FirstBootTrouble(sealed.code, sealed.detail);
    if (sealed.blob.length > ESCROW_CAP_BYTES)
      throw new FirstBootTrouble('escrow-too-large', `the sealed blob has ${sealed.blob.length} bytes`);
    const sha256 = createHash('sha256').update(sealed.blob).digest('hex');
    return { blob: sealed.blob, note: { sha256, owners: [...sealed.owners].sort() } };
  }

  async #keepEscrow(): Promise<Done> {
    if (this.#sealed === undefined) throw new Error('nothing was sealed in this run');
    if (this.#sealed !== null) await this.#folder.keepEscrow(this.#record.epoch, this.#sealed.blob);
    const escrow = this.#sealed?.note ?? null;
    this.#sealed = undefined;
    return { event: 'escrow-kept', change: { escrow } };
  }

  async #applyNext(): Promise<Done> {
    const { applied, epoch } = this.#record;
    const left = this.#ports.providers.filter(({ name }) => !applied.includes(name));
    const [provider] = left;
    if (provider === undefined) return { event: 'all-applied' };
    this.#working = provider.name;
    await provider.apply(this.#folder.staging(epoch));
    const change = { applied: [...applied, provider.name] };
    return { event: left.length > 1 ? 'one-applied' : 'all-applied', change };
  }

  async #verify(): Promise<Done> {
    await this.#each(async (provider) => {
      for (const check of [await provider.verifyNew(), await provider.verifyOldRefused()])
        if (!check.ok) throw new FirstBootTrouble(check.code, check.detail);
    });
    this.#verifiedNow = true;
    return { event: 'verified' };
  }

  async #clearStaged(): Promise<Done> {
    await this.#folder.discardStaged();
    await this.#folder.discardEscrowBefore(this.#record.epoch);
    return {};
  }

  /** Another image is verified as a new epoch is: it may bring what still takes an old secret. */
  async #inspect(): Promise<Done> {
    const { opened } = this.#record;
    const { boot, release } = this.#ports;
    const sameImage =
      release !== null && opened?.slot === boot.slot && JSON.stringify(opened.release) === JSON.stringify(release);
    if (!sameImage && !this.#verifiedNow) await this.#verify();
    const factory = await this.#findFactory();
    if (factory === undefined) return { event: 'reconciled' };
    // What a new image brings, a new epoch covers: once in a boot, else a provider that fails would renew for ever.
    if (this.#record.begunIn !== boot.bootId) return { event: 'uncovered' };
    this.#working = factory.provider;
    throw new FirstBootTrouble('still-factory', `${factory.name} is as the factory made it, or its check failed`);
  }

  async #findFactory(): Promise<{ readonly provider: string; readonly name: string } | undefined> {
    for (const provider of this.#ports.providers) {
      this.#working = provider.name;
      const entry = (await provider.inspect()).find(({ state }) => state === 'factory' || state === 'failed');
      if (entry !== undefined) return { provider: provider.name, name: entry.name };
    }
    return undefined;
  }

  async #open(): Promise<Done> {
    const { boot, release } = this.#ports;
    const hardware = [...mergeHardware(this.#record.hardware, this.#seen)];
    const opened = { bootId: boot.bootId, slot: boot.slot, release };
    return { change: { opened, hardware, trouble: null, rebooted: false } };
  }

  async #reportBlocked(): Promise<Done> {
    this.#ports.log.warn('the first boot is blocked: this device stays closed', { ...this.#record.trouble });
    return {};
  }

  /** The agent's health check reads the record (agent/health/first-boot-check.ts); its engine then goes back. */
  async #refuseTrial(): Promise<Done> {
    if (this.#ports.boot.trial) this.#ports.log.warn('a trial that cannot open goes back', { code: 'trial-refused' });
    return {};
  }

  async #each(act: (provider: CredentialProvider) => Promise<void>): Promise<void> {
    for (const provider of this.#ports.providers) {
      this.#working = provider.name;
      await act(provider);
    }
    this.#working = null;
  }
}

function nothing(): Done {
  return {};
}
