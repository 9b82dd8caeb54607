/**
 * What each effect of the first-boot machine does to the world. Every one of them may run twice.
 *
 * Invariants: plaintext of what owners may need lives between `stage` and `seal`, in this memory and nowhere else; the
 * sealed blob until it is kept. Nothing here writes the record: what it should say comes back as a change.
 */
import type { Disk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import {
  type CredentialEntry,
  ESCROW_CAP_BYTES,
  type EscrowNote,
  MAX_CREDENTIALS,
} from '../../protocol/credentials.ts';
import type { Installed } from '../../protocol/device-api.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import type { FirstBootEffect, FirstBootEvent } from '../core/first-boot-machine.ts';
import type {
  CredentialProvider,
  Escrow,
  EscrowedSecret,
  HardwareTrait,
  SecretSource,
} from '../core/first-boot-ports.ts';
import { mergeHardware } from '../core/hardware.ts';
import type { BootFacts, Log } from '../core/ports.ts';
import type { FirstBootRecord } from './first-boot-record.ts';
import { writeInventory } from './inventory-file.ts';
import type { EpochFolder, EraseFile } from './staging.ts';
import { FirstBootTrouble } from './trouble.ts';

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
  /** Before a staged file is removed. */
  readonly eraseFile: EraseFile;
  readonly log: Log;
}

/** What an effect did: the event that it yields, and what the next write of the record says besides. */
export interface Done {
  readonly event?: FirstBootEvent;
  readonly change?: Partial<FirstBootRecord>;
}

export interface EffectSettings {
  readonly folder: EpochFolder;
  /** Stands in the escrow; asked for when something is sealed. Throws a Fault where nothing says it. */
  readonly deviceId: () => Promise<string>;
}

export class FirstBootEffects {
  readonly #ports: FirstBootPorts;
  readonly #folder: EpochFolder;
  readonly #deviceId: () => Promise<string>;
  readonly #effects: Readonly<Record<FirstBootEffect, () => Promise<Done>>>;
  #record: FirstBootRecord;
  #seen: readonly HardwareTrait[] = [];
  /** Between `generate` and `keep-escrow`; null: nothing of this epoch is for an owner. */
  #sealed: { readonly blob: Uint8Array; readonly note: EscrowNote } | null | undefined;
  #working: string | null = null;
  #verifiedNow = false;

  constructor(ports: FirstBootPorts, { folder, deviceId }: EffectSettings, record: FirstBootRecord) {
    this.#ports = ports;
    this.#folder = folder;
    this.#deviceId = deviceId;
    this.#record = record;
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
      reconcile: () => this.#orRenew(() => this.#each((provider) => provider.reconcile()).then(nothing)),
      inspect: () => this.#orRenew(() => this.#inspect()),
      open: () => this.#open(),
      'report-blocked': () => this.#reportBlocked(),
      'refuse-trial': () => this.#refuseTrial(),
    };
  }

  /** The provider that is at work, or was when an effect failed: for the trouble's sake. */
  get working(): string | null {
    return this.#working;
  }

  /** `record`: as it stands; `seen`: the traits of this board. Throws whatever keeps the effect from being done. */
  async run(effect: FirstBootEffect, record: FirstBootRecord, seen: readonly HardwareTrait[]): Promise<Done> {
    this.#record = record;
    this.#seen = seen;
    const done = await this.#effects[effect]();
    this.#working = null;
    return done;
  }

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
    await this.#folder.makeStaging(epoch);
    const secrets: EscrowedSecret[] = [];
    await this.#each(async (provider) => {
      secrets.push(...(await provider.stage(this.#folder.staging(epoch, provider.name), this.#ports.random)));
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
    const sealed = await escrow.seal(secrets, { deviceId: await this.#deviceId(), epoch });
    if (!sealed.ok) throw new FirstBootTrouble(sealed.code, sealed.detail);
    if (sealed.blob.length > ESCROW_CAP_BYTES)
      throw new FirstBootTrouble('escrow-too-large', `the sealed blob has ${sealed.blob.length} bytes`);
    const sha256 = sha256Hex(sealed.blob);
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
    await provider.apply(this.#folder.staging(epoch, provider.name));
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
    // What a new image brings, a new epoch covers.
    if (this.#mayRenew()) return { event: 'uncovered' };
    this.#working = factory.provider;
    throw new FirstBootTrouble('still-factory', `${factory.name} is as the factory made it, or its check failed`);
  }

  /** Once in a boot: a provider that fails would renew for ever. */
  #mayRenew(): boolean {
    return this.#record.begunIn !== this.#ports.boot.bootId;
  }

  /** What a provider keeps of its own is damaged: no cure but to make it anew. */
  async #orRenew(act: () => Promise<Done>): Promise<Done> {
    try {
      return await act();
    } catch (error) {
      const isDamaged = error instanceof Fault && error.exitStatus === EXIT.corrupt;
      if (!isDamaged || !this.#mayRenew()) throw error;
      this.#ports.log.warn('what a provider keeps is damaged; all is made anew', {
        code: error.code,
        where: error.where,
      });
      return { event: 'uncovered' };
    }
  }

  /** Takes the inventory that the agent tells, and answers what in it is not this device's own. */
  async #findFactory(): Promise<{ readonly provider: string; readonly name: string } | undefined> {
    const inventory: CredentialEntry[] = [];
    let found: { readonly provider: string; readonly name: string } | undefined;
    await this.#each(async (provider) => {
      const entries = await provider.inspect();
      inventory.push(...entries);
      const entry = entries.find(({ state }) => state === 'factory' || state === 'failed');
      if (entry !== undefined) found ??= { provider: provider.name, name: entry.name };
    });
    await writeInventory(this.#ports.disk, this.#folder.directory, inventory.slice(0, MAX_CREDENTIALS));
    return found;
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
