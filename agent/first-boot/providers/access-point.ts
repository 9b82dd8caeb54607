/**
 * The passphrase of the device's own Wi-Fi access point: random, in the image's configuration, and in the escrow, for
 * whoever stands before the device must be able to get it from its owner. The record keeps it in plaintext, 0600, as the
 * configuration does: every boot's image gets it anew.
 *
 * Nobody is asked but the file in effect: hostapd and NetworkManager do not run yet, and bind to the same gate.
 */
import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { sameSecret } from '../../../platform/same-secret.ts';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import { utf8 } from '../../../trust/bytes.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import type { Check, CredentialProvider, EscrowedSecret, SecretSource, Staging } from '../../core/first-boot-ports.ts';
import { type AccessPointForm, passphrasesOf, setPassphrase } from '../access-point-files.ts';
import { SECRET_FORM } from '../file-form.ts';
import { decodeAs, encodeJson, makingOf, ProviderRecord } from '../provider-record.ts';
import { randomPassword } from '../random-password.ts';
import type { ProviderWorld } from '../world.ts';

const STAGED_CAP_BYTES = 8192;
const Staged = v.strictObject({
  passphrase: v.pipe(v.string(), v.minLength(26), v.maxLength(63)),
  /** SHA-256 of what was in effect before. */
  former: v.pipe(v.array(v.string()), v.maxLength(64)),
  madeUnixMs: v.nullable(v.number()),
});
const Record = v.strictObject({
  format: v.literal('holdfast-access-point-1'),
  epoch: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  ...Staged.entries,
});
type Record = v.InferOutput<typeof Record>;

export interface AccessPointSettings {
  readonly name: string;
  readonly form: AccessPointForm;
  readonly path: string;
}

export class AccessPoint implements CredentialProvider {
  readonly name: string;
  readonly #world: ProviderWorld;
  readonly #settings: AccessPointSettings;
  readonly #record: ProviderRecord<Record>;

  constructor(world: ProviderWorld, settings: AccessPointSettings) {
    this.name = `access-point:${settings.name}`;
    this.#world = world;
    this.#settings = settings;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, `access-point-${settings.name}`, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const record = await this.#record.read();
    const inEffect = await this.#inEffect();
    const facts = { name: this.#credential, kind: 'access-point-passphrase' as const, fingerprint: null };
    if (inEffect.length === 0)
      return [{ ...facts, state: record === undefined ? 'absent' : 'failed', ...makingOf(undefined) }];
    const isOwn = record !== undefined && inEffect.every((text) => sameSecret(text, record.passphrase));
    return [{ ...facts, state: isOwn ? 'own' : 'factory', ...makingOf(isOwn ? record : undefined) }];
  }

  async stage(staging: Staging, random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const passphrase = randomPassword(random);
    // What cannot be rendered is found out before anything changes.
    await this.#render(passphrase);
    const former = (await this.#inEffect()).map((text) => sha256Hex(utf8(text)));
    await staging.write(this.#staged, encodeJson({ passphrase, former, madeUnixMs: this.#world.nowUnixMs() }));
    return [{ name: this.#credential, text: passphrase }];
  }

  async apply(staging: Staging): Promise<void> {
    const bytes = await staging.read(this.#staged, STAGED_CAP_BYTES);
    if (bytes === undefined) throw new Error(`nothing is staged for ${this.name}`);
    if ((await this.#record.read())?.epoch !== staging.epoch) {
      await this.#record.write({ format: 'holdfast-access-point-1', epoch: staging.epoch, ...decodeAs(bytes, Staged) });
    }
    await this.reconcile();
  }

  async reconcile(): Promise<void> {
    const record = await this.#record.read();
    if (record === undefined) return;
    await this.#world.files.put(this.#settings.path, await this.#render(record.passphrase), SECRET_FORM);
  }

  async verifyNew(): Promise<Check> {
    const record = await this.#record.read();
    const inEffect = await this.#inEffect();
    const isOwn =
      record !== undefined && inEffect.length > 0 && inEffect.every((text) => sameSecret(text, record.passphrase));
    if (isOwn) return { ok: true, detail: 'read in the configuration: the access point does not run yet' };
    return {
      ok: false,
      code: 'passphrase-not-in-effect',
      detail: `${this.#settings.path} has another passphrase than the device's`,
    };
  }

  async verifyOldRefused(): Promise<Check> {
    const former = new Set((await this.#record.read())?.former);
    const isLeft = (await this.#inEffect()).some((text) => former.has(sha256Hex(utf8(text))));
    if (!isLeft) return { ok: true, detail: 'read in the configuration: the access point does not run yet' };
    return {
      ok: false,
      code: 'factory-passphrase-left',
      detail: `${this.#settings.path} has a passphrase that it had before`,
    };
  }

  async wipe(): Promise<void> {
    if ((await this.#world.files.readOwn(this.#settings.path)) !== undefined) await this.#blot();
    await this.#world.files.forget(this.#settings.path);
    await this.#record.remove();
  }

  /** In place the configuration is the template of the next epoch: it stays, with a word that lets nobody in. */
  async #blot(): Promise<void> {
    await this.#world.files.put(this.#settings.path, await this.#render(randomBytes(31).toString('hex')), SECRET_FORM);
  }

  get #credential(): string {
    return `access-point-passphrase:${this.#settings.name}`;
  }

  get #staged(): string {
    return `access-point-${this.#settings.name}.json`;
  }

  async #inEffect(): Promise<string[]> {
    const bytes = await this.#world.files.readInEffect(this.#settings.path);
    return passphrasesOf(this.#settings.form, new TextDecoder().decode(bytes));
  }

  async #render(passphrase: string): Promise<Uint8Array> {
    const { form, path } = this.#settings;
    const image = new TextDecoder().decode(await this.#world.files.readImage(path));
    const text = setPassphrase(form, image, passphrase);
    if (text !== undefined) return new TextEncoder().encode(text);
    throw new Fault({
      code: 'access-point-form-unknown',
      what: `the configuration has no passphrase of its own for ${form === 'hostapd' ? 'hostapd' : 'a NetworkManager access point'}`,
      where: path,
      cure: 'Give it wpa_passphrase= or sae_password= (hostapd), or mode=ap and psk= (NetworkManager); secrets in other files need a provider of your own.',
      exitStatus: EXIT.input,
    });
  }
}
