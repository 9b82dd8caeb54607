/**
 * The device's TLS key and what it says of the certificate: a key that the factory baked into the data partition, and all
 * devices share, is replaced before anything opens, and its certificate goes. A key that was made here stays through
 * rotations and renewals (the server binds the claim to it), also one that the agent made because the first boot was
 * blocked; a factory reset makes a new one.
 *
 * It lies on the data partition, in agent/credentials' own place, so nothing is bound and no boot has to put it back.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../../platform/durable-file.ts';
import { Fault } from '../../../platform/fault.ts';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import type { Check, CredentialProvider, EscrowedSecret, SecretSource, Staging } from '../../core/first-boot-ports.ts';
import {
  type DeviceKey,
  fingerprintOf,
  KEY_FILE_CAP_BYTES,
  makeDeviceKey,
  readDeviceKey,
} from '../../credentials/device-key.ts';
import { STAGED_DEVICE_KEY, wasMadeHere } from '../../credentials/enrolment-key.ts';
import { type IdentityPaths, identityPaths } from '../../credentials/identity.ts';
import { makingOf, ProviderRecord } from '../provider-record.ts';
import type { ProviderWorld } from '../world.ts';

const CERTIFICATE_CAP_BYTES = 16 * 1024;

const Record = v.strictObject({
  format: v.literal('holdfast-device-key-1'),
  epoch: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** SHA-256 of the public key (SPKI). */
  fingerprint: v.string(),
  former: v.nullable(v.string()),
  madeUnixMs: v.nullable(v.number()),
});
type Record = v.InferOutput<typeof Record>;

export class DeviceKeyProvider implements CredentialProvider {
  readonly name = STAGED_DEVICE_KEY.provider;
  readonly #world: ProviderWorld;
  readonly #paths: IdentityPaths;
  readonly #adopt: boolean;
  readonly #record: ProviderRecord<Record>;

  /** `adopt`: a key that stands at the first epoch was made on this device, by an agent before this one: it stays. */
  constructor(world: ProviderWorld, settings: { readonly adopt: boolean }) {
    this.#world = world;
    this.#paths = identityPaths(world.dataDirectory);
    this.#adopt = settings.adopt;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, this.name, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const record = await this.#record.read();
    const fingerprint = fingerprintOrNull(await this.#standing());
    const certificate = await this.#certificate();
    const isOwn = record !== undefined && fingerprint === record.fingerprint;
    const state = fingerprint === null ? 'absent' : isOwn ? 'own' : 'factory';
    const times = makingOf(isOwn ? record : undefined);
    const key: CredentialEntry = { name: 'device-key', kind: 'device-key', state, fingerprint, ...times };
    if (certificate === undefined) return [key];
    const fits = isOwn && certificate.key === fingerprint;
    return [
      key,
      {
        name: 'device-certificate',
        kind: 'device-certificate',
        state: fits ? 'own' : 'factory',
        fingerprint: certificate.sha256,
        ...times,
        epoch: fits ? times.epoch : 0,
      },
    ];
  }

  async stage(staging: Staging, _random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const standing = await this.#standing();
    const stays = standing !== undefined && (await this.#isOwn(standing));
    const { privateKeyPem } = stays ? standing : makeDeviceKey();
    await staging.write(STAGED_DEVICE_KEY.name, new TextEncoder().encode(privateKeyPem));
    return [];
  }

  async #isOwn(standing: DeviceKey): Promise<boolean> {
    const record = await this.#record.read();
    if (record !== undefined) return record.fingerprint === fingerprintOf(standing);
    return this.#adopt || wasMadeHere(this.#world.disk, this.#paths, standing);
  }

  async apply(staging: Staging): Promise<void> {
    const pem = await this.stagedKey(staging);
    if (pem === undefined) throw new Error('nothing is staged for device-key');
    const fingerprint = fingerprintOf({ privateKey: createPrivateKey(pem), privateKeyPem: pem });
    const former = fingerprintOrNull(await this.#standing());
    if (former !== fingerprint) {
      await makeDirectoryDurably(this.#world.disk, dirname(this.#paths.key));
      // First: a certificate for another key would be taken for damage.
      await removeDurably(this.#world.disk, this.#paths.certificate);
      await writeDurably(this.#world.disk, this.#paths.key, new TextEncoder().encode(pem));
    }
    const record = await this.#record.read();
    if (record?.epoch === staging.epoch && record.fingerprint === fingerprint) return;
    const madeUnixMs = record?.fingerprint === fingerprint ? record.madeUnixMs : this.#world.nowUnixMs();
    await this.#record.write({
      format: 'holdfast-device-key-1',
      epoch: staging.epoch,
      fingerprint,
      former: former === fingerprint ? null : former,
      madeUnixMs,
    });
  }

  /** What signs for this epoch before it is applied: the escrow's blob, above all. */
  async stagedKey(staging: Staging): Promise<string | undefined> {
    const bytes = await staging.read(STAGED_DEVICE_KEY.name, KEY_FILE_CAP_BYTES);
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
  }

  /** Nothing of it is in the slot. */
  async reconcile(): Promise<void> {}

  async verifyNew(): Promise<Check> {
    const record = await this.#record.read();
    const fingerprint = fingerprintOrNull(await this.#standing());
    if (record === undefined || fingerprint !== record.fingerprint)
      return {
        ok: false,
        code: 'device-key-not-in-effect',
        detail: `${this.#paths.key} is not the key that was made here`,
      };
    const certificate = await this.#certificate();
    if (certificate === undefined || certificate.key === fingerprint) return { ok: true };
    return { ok: false, code: 'former-certificate-left', detail: `${this.#paths.certificate} is for another key` };
  }

  async verifyOldRefused(): Promise<Check> {
    const former = (await this.#record.read())?.former ?? null;
    if (former === null || fingerprintOrNull(await this.#standing()) !== former) return { ok: true };
    return { ok: false, code: 'factory-device-key-left', detail: `${this.#paths.key} is what it was before` };
  }

  async wipe(): Promise<void> {
    await makeDirectoryDurably(this.#world.disk, dirname(this.#paths.key));
    await removeDurably(this.#world.disk, this.#paths.certificate);
    await removeDurably(this.#world.disk, this.#paths.key);
    await removeDurably(this.#world.disk, this.#paths.madeHere);
    await this.#record.remove();
  }

  /** A key that cannot be read is nobody's here: it is replaced like the factory's. */
  async #standing(): Promise<DeviceKey | undefined> {
    try {
      return await readDeviceKey(this.#world.disk, this.#paths.key);
    } catch (error) {
      if (error instanceof Fault && (await this.#record.read()) === undefined) return undefined;
      throw error;
    }
  }

  async #certificate(): Promise<{ key: string; sha256: string } | undefined> {
    const bytes = await this.#world.disk.readFile(this.#paths.certificate, CERTIFICATE_CAP_BYTES);
    if (bytes === undefined) return undefined;
    try {
      const { publicKey, raw } = new X509Certificate(bytes);
      return { key: sha256Hex(publicKey.export({ type: 'spki', format: 'der' })), sha256: sha256Hex(raw) };
    } catch {
      return { key: '', sha256: sha256Hex(bytes) };
    }
  }
}

function fingerprintOrNull(key: DeviceKey | undefined): string | null {
  return key === undefined ? null : fingerprintOf(key);
}
