/**
 * What the agent says to its server of its credentials, once they stand: that this epoch is enrolled, the sealed blob
 * for the owners, and a signed statement; and what it does when the server asks for new ones.
 *
 * Invariants: the blob is with the server before the statement that names it. A server that takes neither holds nothing
 * up but these. A rotation is asked of the next boot by a durable file, once, and needs a reboot that the application may
 * put off; not before the root chain was brought up to date, because the next boot seals to the owners whom it names. A
 * device without a first boot only renews its certificate.
 * May not: make or read a secret of any provider.
 */
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import type { Disk } from '../../platform/disk.ts';
import { errorText } from '../../platform/fault.ts';
import {
  type CredentialEntry,
  MAX_CREDENTIALS,
  type RotationStatement,
  statementMessage,
} from '../../protocol/credentials.ts';
import type { PollAnswer, PollRequest, Slot } from '../../protocol/device-api.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { hardwareId } from '../core/hardware.ts';
import { type Log, SourceUnreachable } from '../core/ports.ts';
import { type FirstBootRecord, firstBootDirectory, firstBootRecord } from '../first-boot/first-boot-record.ts';
import { readInventory } from '../first-boot/inventory-file.ts';
import { askRotation } from '../first-boot/requests.ts';
import { EpochFolder } from '../first-boot/staging.ts';
import type { StateRecord } from '../storage/state-record.ts';
import type { ServerLink } from '../transport/server-link.ts';
import type { Identity, IdentityPaths } from './identity.ts';
import { renewCertificate } from './renewal.ts';

/** What the server hears of an open device, and from which state on: the machine's own rows, without the machine (its test compares). */
export const TOLD = { enrolled: 'open', reported: 'enrolled' } as const;

type Asked = PollAnswer['requests'];

export interface TalkWorld {
  readonly disk: Disk;
  readonly log: Log;
  readonly link: Pick<ServerLink, 'nonce' | 'statement' | 'escrow' | 'renew'>;
  readonly dataDirectory: string;
  readonly identityPaths: IdentityPaths;
  identity(): Identity | undefined;
  /** From the next connection on. */
  becomes(identity: Identity): void;
  /** Fetches and stores the root chain, as an update does. Throws SourceUnreachable. */
  refreshRoot(): Promise<Verdict<unknown>>;
  /** Into the reports, limited by cause and hour. */
  notice(code: string, detail: string): void;
}

export class CredentialTalk {
  readonly #world: TalkWorld;
  readonly #directory: string;
  readonly #store: StateRecord<FirstBootRecord>;
  #asked = false;
  #staged = false;
  /** What the last poll said of it; follow() reads again only what it is about to change. */
  #told: { readonly record: FirstBootRecord | undefined } | undefined;

  constructor(world: TalkWorld) {
    this.#world = world;
    this.#directory = firstBootDirectory(world.dataDirectory);
    this.#store = firstBootRecord(world.disk, this.#directory);
  }

  /** The server wants new secrets, and only a boot makes them. */
  get rotationAsked(): boolean {
    return this.#asked || this.#staged;
  }

  /**
   * Leaves the request to the next boot; false while it must wait. Who left the owners must not be sealed to again: the
   * newest root comes first, each time. There is no bound after which it goes on with the owners known before: who can
   * keep the root away can keep the command away. The server counts a device that takes too long, and reports say why.
   * Not while the engine runs: both write the same metadata.
   */
  async stageRotation(): Promise<boolean> {
    const trouble = await this.#rootTrouble();
    if (trouble !== undefined) {
      this.#world.notice('rotation-waits-for-root', trouble);
      return false;
    }
    if (!this.#staged) await askRotation(this.#world.disk, this.#directory);
    this.#staged = true;
    return true;
  }

  async #rootTrouble(): Promise<string | undefined> {
    try {
      const refreshed = await this.#world.refreshRoot();
      return refreshed.ok ? undefined : `${refreshed.code}: ${refreshed.detail}`;
    } catch (error) {
      if (error instanceof SourceUnreachable) return errorText(error);
      throw error;
    }
  }

  /** For the poll; null where this device has no first boot. */
  async standing(): Promise<PollRequest['firstBoot']> {
    const record = await this.#record();
    this.#told = { record };
    return record === undefined ? null : { state: record.state, epoch: record.epoch };
  }

  /** After a poll. The first refusal, if there was one: told, and tried again at the next poll. */
  async follow(asked: Asked, bootedSlot: Slot | null): Promise<Verdict<undefined>> {
    const identity = this.#world.identity();
    if (identity === undefined) return accept(undefined);
    if (asked.includes('renew-certificate')) {
      const renewed = await this.#renew(identity);
      if (!renewed.ok) return renewed;
    }
    const told = this.#told;
    this.#told = undefined;
    this.#asked = asked.includes('rotate-credentials') && told?.record !== undefined;
    if (told !== undefined && !owesWord(told.record, asked)) return accept(undefined);
    const record = await this.#record();
    if (record === undefined) return accept(undefined);
    const enrolled = record.state === 'open' ? await this.#note(record, 'enrolled') : record;
    const owed = enrolled.state === 'enrolled' || asked.includes('report-credentials');
    return owed ? this.#report(enrolled, bootedSlot) : accept(undefined);
  }

  async #report(record: FirstBootRecord, bootedSlot: Slot | null): Promise<Verdict<undefined>> {
    const { link, log } = this.#world;
    const kept = await this.#sendEscrow(record);
    if (!kept.ok) return kept;
    const nonce = await link.nonce();
    if (!nonce.ok) return nonce;
    const identity = this.#world.identity();
    if (identity === undefined) return accept(undefined);
    const statement = await this.#statement(record, identity, nonce.value.nonce, bootedSlot);
    const bytes = new TextEncoder().encode(JSON.stringify(statement));
    const answer = await link.statement(bytes, signStatement(bytes, identity));
    if (!answer.ok) return answer;
    const { verdict, flags } = answer.value;
    log[verdict === 'proven' ? 'info' : 'warn']('the server judged the credentials', { verdict, flags });
    await this.#note(record, 'reported');
    return accept(undefined);
  }

  async #sendEscrow({ escrow, epoch }: FirstBootRecord): Promise<Verdict<undefined>> {
    if (escrow === null) return accept(undefined);
    const blob = await new EpochFolder(this.#world.disk, this.#directory).readEscrow(epoch);
    if (blob === undefined) {
      this.#world.log.warn('the sealed secrets of this epoch are gone', {
        code: 'escrow-missing',
        cure: 'rotate the credentials of this device: holdfast credentials rotate',
      });
      return accept(undefined);
    }
    const answer = await this.#world.link.escrow(epoch, escrow, blob);
    if (!answer.ok) return answer;
    if (answer.value.sha256 === escrow.sha256) return accept(undefined);
    return refuse('answer-malformed', `the server keeps ${answer.value.sha256} for epoch ${epoch}`);
  }

  async #statement(
    record: FirstBootRecord,
    identity: Identity,
    nonce: string,
    bootedSlot: Slot | null,
  ): Promise<RotationStatement> {
    const { state, epoch, escrow, hardware, movedFrom } = record;
    const inventory = await readInventory(this.#world.disk, this.#directory);
    const others = inventory.filter(({ kind }) => kind !== 'device-key');
    return {
      format: 'holdfast-rotation-1',
      deviceId: identity.deviceId,
      nonce,
      epoch,
      state,
      bootedSlot,
      hardwareId: hardware.length === 0 ? null : hardwareId(hardware),
      movedFrom,
      credentials: [deviceKeyEntry(identity, epoch), ...others].slice(0, MAX_CREDENTIALS),
      escrow,
    };
  }

  async #renew(identity: Identity): Promise<Verdict<undefined>> {
    const { disk, identityPaths, link, log } = this.#world;
    const renewed = await renewCertificate(disk, identityPaths, identity.deviceId, (request) => link.renew(request));
    if (!renewed.ok) return renewed;
    this.#world.becomes(renewed.value);
    log.info('the certificate is renewed', { deviceId: identity.deviceId });
    return accept(undefined);
  }

  async #record(): Promise<FirstBootRecord | undefined> {
    const reading = await this.#store.read();
    return reading.found === 'whole' ? reading.value : undefined;
  }

  async #note(record: FirstBootRecord, event: keyof typeof TOLD): Promise<FirstBootRecord> {
    if (record.state !== TOLD[event]) return record;
    const noted = { ...record, state: event };
    await this.#store.write(noted);
    this.#world.log.info('first boot', { event, state: event, epoch: record.epoch });
    return noted;
  }
}

/** Has the server to hear of this record, whatever it is by now? */
function owesWord(record: FirstBootRecord | undefined, asked: Asked): boolean {
  if (record === undefined) return false;
  return Object.values(TOLD).some((state) => state === record.state) || asked.includes('report-credentials');
}

/** The key that signs: told here, so that no statement is without it. */
function deviceKeyEntry({ privateKeyPem }: Identity, epoch: number): CredentialEntry {
  const spki = createPublicKey(privateKeyPem).export({ type: 'spki', format: 'der' });
  return {
    name: 'device-key',
    kind: 'device-key',
    state: 'own',
    epoch,
    fingerprint: sha256Hex(spki),
    madeUnixMs: null,
  };
}

function signStatement(bytes: Uint8Array, { privateKeyPem }: Identity): Uint8Array {
  const key = createPrivateKey(privateKeyPem);
  return sign('sha256', statementMessage(bytes), { key, dsaEncoding: 'ieee-p1363' });
}
