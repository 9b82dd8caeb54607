/**
 * The owners of the rotated fleet: two keys, and what can be read with them in the blobs that the server keeps. Lock-outs
 * are counted here: a device whose secret in effect nobody can read is one, and so is one that still takes the former.
 *
 * Blobs are read from the server's database beside the server: to be given them out one by one would have each device
 * rotated again, because what was given out counts as opened. They are the same bytes (`holdfast escrow fetch`, a sample).
 */
import { generateKeyPairSync } from 'node:crypto';
import Database from 'better-sqlite3';
import { openEscrow } from '../../../keys/escrow-open.ts';
import type { HpkeKeyPair } from '../../../platform/hpke.ts';
import { decodeEscrowFile } from '../../../protocol/escrow-resealed.ts';
import { hex } from '../../../trust/bytes.ts';
import { FACTORY_PASSWORD, type FleetDevice, SECRET_NAME } from './device.ts';

const BLOB = 'SELECT blob FROM escrow_blobs WHERE device_id = ? AND epoch = ? ORDER BY life DESC LIMIT 1';

/** Of one device, at one moment. */
export interface WayIn {
  /** An owner opens the blob of this epoch, and the device takes what it says. */
  readonly open: boolean;
  /** The factory's secret, or an epoch's before, is taken. */
  readonly formerAccepted: boolean;
}

export function makeOwner(): HpkeKeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    publicKey: Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
    privateKey: Uint8Array.from(privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32)),
  };
}

export class Owners {
  readonly #pairs: readonly [HpkeKeyPair, HpkeKeyPair] = [makeOwner(), makeOwner()];
  readonly #database: Database.Database;
  readonly #blob: Database.Statement<unknown[], { blob: Uint8Array }>;
  opened = 0;

  /** `database`: the living server's db.sqlite. */
  constructor(database: string) {
    this.#database = new Database(database, { readonly: true });
    this.#blob = this.#database.prepare<unknown[], { blob: Uint8Array }>(BLOB);
  }

  /** For the factory's image. */
  get file(): string {
    return `${this.#pairs.map(({ publicKey }) => hex(publicKey)).join('\n')}\n`;
  }

  keptBlob(deviceId: string, epoch: number): Uint8Array | undefined {
    return this.#blob.get(deviceId, epoch)?.blob;
  }

  /** By the server's blobs alone, with the key of owner 0 or 1. */
  async wayIn(device: FleetDevice, owner: 0 | 1): Promise<WayIn> {
    const { epoch } = device;
    const text = await this.#read(device, this.keptBlob(device.id, epoch), epoch, owner);
    const former = [FACTORY_PASSWORD];
    for (let past = 1; past < epoch; past += 1) {
      const old = await this.#read(device, this.keptBlob(device.id, past), past, owner);
      if (old !== undefined) former.push(old);
    }
    return {
      open: text !== undefined && device.accepts(text),
      formerAccepted: former.some((old) => device.accepts(old)),
    };
  }

  /** At a power cut, with the device in hand: by the server's blobs or by those on its data partition. */
  async isReachable(device: FleetDevice): Promise<boolean> {
    const kept = [device.epoch, device.epoch + 1].map((epoch) => this.keptBlob(device.id, epoch));
    for (const blob of [...device.ownBlobs(), ...kept]) {
      const text = await this.#read(device, blob, undefined, 0);
      if (text !== undefined && device.accepts(text)) return true;
    }
    return false;
  }

  close(): void {
    this.#database.close();
  }

  async #read(
    device: FleetDevice,
    blob: Uint8Array | undefined,
    epoch: number | undefined,
    owner: 0 | 1,
  ): Promise<string | undefined> {
    const decoded = blob === undefined ? undefined : decodeEscrowFile(Uint8Array.from(blob));
    if (decoded?.ok !== true) return undefined;
    const expected = {
      deviceId: device.id,
      devicePublicKey: device.publicKey(),
      ...(epoch === undefined ? {} : { epoch }),
    };
    const opened = await openEscrow(decoded.file, this.#pairs[owner], expected);
    if (!opened.ok) return undefined;
    this.opened += 1;
    return opened.secrets.find(({ name }) => name === SECRET_NAME)?.text;
  }
}
