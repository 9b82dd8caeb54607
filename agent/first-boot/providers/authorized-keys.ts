/**
 * authorized_keys: the owner's, for the accounts that are named, and nobody's for every other account of the device.
 * Which files sshd reads is asked of sshd itself. The owner's keys come from signed root metadata or the factory image,
 * at every boot anew: a key that is revoked there is gone with the next boot.
 */
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { EXIT, Fault } from '../../../platform/fault.ts';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import type { Check, CredentialProvider, EscrowedSecret, Staging } from '../../core/first-boot-ports.ts';
import { type Account, decodePasswd } from '../account-files.ts';
import { askSshdSettings } from '../private-sshd.ts';
import { ProviderRecord } from '../provider-record.ts';
import type { ProviderWorld } from '../world.ts';

const DEFAULT_FILES = ['.ssh/authorized_keys', '.ssh/authorized_keys2'];
/** No options: what an owner's key may do is not said here. */
const KEY_LINE =
  /^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+={0,2}(?: [ -~]{0,200})?$/;
const NO_LOGIN = /\/(?:nologin|false)$/;

const Record = v.strictObject({
  format: v.literal('holdfast-authorized-keys-1'),
  epoch: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
});
type Record = v.InferOutput<typeof Record>;

/** One file that sshd reads for an account, and whether the owner's keys belong in it. */
interface KeyFile {
  readonly account: Account;
  readonly path: string;
  readonly isOwners: boolean;
}

export class AuthorizedKeys implements CredentialProvider {
  readonly name = 'authorized-keys';
  readonly #world: ProviderWorld;
  readonly #accounts: readonly string[];
  readonly #record: ProviderRecord<Record>;

  constructor(world: ProviderWorld, settings: { readonly accounts: readonly string[] }) {
    this.#world = world;
    this.#accounts = settings.accounts;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, this.name, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const epoch = (await this.#record.read())?.epoch ?? 0;
    const entries = new Map<string, CredentialEntry>();
    for (const { account, path, isOwners } of await this.#files()) {
      const bytes = await this.#world.files.readInEffect(path);
      const foreign = keyLines(bytes).some((line) => !isOwners || !this.#world.ownerKeys.includes(line));
      if (!isOwners && !foreign) continue;
      const name = `authorized-keys:${account.name}`;
      const fingerprint = bytes === undefined || bytes.length === 0 ? null : sha256Hex(bytes);
      const state = foreign ? 'factory' : fingerprint === null ? 'absent' : 'owner';
      if (entries.get(name)?.state === 'factory') continue;
      entries.set(name, {
        name,
        kind: 'authorized-keys',
        state,
        epoch: foreign ? 0 : epoch,
        fingerprint,
        madeUnixMs: null,
      });
    }
    return [...entries.values()].filter(({ name }) => /^[a-z-]+:[A-Za-z0-9_.@-]{1,64}$/.test(name)).slice(0, 16);
  }

  async stage(_staging: Staging): Promise<readonly EscrowedSecret[]> {
    const wrong = this.#world.ownerKeys.findIndex((line) => !KEY_LINE.test(line));
    if (wrong < 0) return [];
    throw new Fault({
      code: 'owner-key-malformed',
      what: `the owner's SSH key number ${wrong + 1} is not a line "type base64 comment"`,
      cure: 'Give it as it stands in the .pub file, without options.',
      exitStatus: EXIT.input,
    });
  }

  async apply(staging: Staging): Promise<void> {
    if ((await this.#record.read())?.epoch !== staging.epoch) {
      await this.#record.write({ format: 'holdfast-authorized-keys-1', epoch: staging.epoch });
    }
    await this.reconcile();
  }

  async reconcile(): Promise<void> {
    const { files } = this.#world;
    for (const { account, path, isOwners } of await this.#files()) {
      if (!(await files.isStraight(path, account.home))) continue;
      if (!isOwners) {
        if (keyLines(await files.readInEffect(path)).length > 0) await files.cover(path);
        continue;
      }
      const { uid, gid } = account;
      await files.makeFolder(dirname(path), { mode: 0o700, uid, gid });
      await files.put(path, this.#render(), { mode: 0o600, uid, gid });
    }
  }

  async verifyNew(): Promise<Check> {
    const wanted = sha256Hex(this.#render());
    const files = await this.#files();
    for (const { account, path } of files.filter(({ isOwners }) => isOwners)) {
      const bytes = await this.#world.files.readInEffect(path);
      if (bytes !== undefined && sha256Hex(bytes) === wanted) continue;
      return { ok: false, code: 'owner-keys-not-in-effect', detail: `${path} of ${account.name} is not the owner's` };
    }
    const missing = this.#accounts.find(
      (name) => !files.some(({ account, isOwners }) => isOwners && account.name === name),
    );
    if (missing === undefined) return { ok: true };
    return {
      ok: false,
      code: 'owner-keys-not-read',
      detail: `there is no account ${missing}, or sshd reads no file of keys for it`,
    };
  }

  async verifyOldRefused(): Promise<Check> {
    for (const { account, path, isOwners } of await this.#files()) {
      const foreign = keyLines(await this.#world.files.readInEffect(path)).filter(
        (line) => !isOwners || !this.#world.ownerKeys.includes(line),
      );
      if (foreign.length > 0)
        return {
          ok: false,
          code: 'factory-key-accepted',
          detail: `${path} of ${account.name} has ${foreign.length} keys that are not the owner's`,
        };
      if (!(await this.#world.files.isStraight(path, account.home))) {
        return {
          ok: false,
          code: 'key-file-astray',
          detail: `${dirname(path)} of ${account.name} is a link to elsewhere`,
        };
      }
    }
    const settings = await this.#settings();
    const other = ['authorizedkeyscommand', 'trustedusercakeys'].find(
      (name) => (settings?.get(name)?.[0] ?? 'none') !== 'none',
    );
    return other === undefined
      ? { ok: true }
      : { ok: true, detail: `sshd also asks ${other}, which this does not judge` };
  }

  async wipe(): Promise<void> {
    for (const { path } of await this.#files()) {
      if ((await this.#world.files.readOwn(path)) === undefined) continue;
      await this.#world.files.cover(path);
      await this.#world.files.forget(path);
    }
    await this.#record.remove();
  }

  #render(): Uint8Array {
    return new TextEncoder().encode(this.#world.ownerKeys.map((line) => `${line}\n`).join(''));
  }

  /** The owner's keys go into the first file that sshd reads for an account; every other one is nobody's. */
  async #files(): Promise<KeyFile[]> {
    const passwd = decodePasswd(
      Buffer.from((await this.#world.files.readInEffect('/etc/passwd')) ?? []).toString('latin1'),
    );
    const common = (await this.#settings())?.get('authorizedkeysfile') ?? DEFAULT_FILES;
    const found = new Map<string, KeyFile>();
    for (const account of passwd.filter(({ home }) => home.startsWith('/'))) {
      const isOwners = this.#accounts.includes(account.name);
      // Match blocks are asked for where somebody can log in: each question takes a start of sshd.
      const own =
        isOwners || !NO_LOGIN.test(account.shell)
          ? (await this.#settings(account.name))?.get('authorizedkeysfile')
          : undefined;
      const paths = [...new Set([...(own ?? common), ...common])].filter((name) => name !== 'none');
      for (const [at, name] of paths.entries()) {
        const path = expand(name, account);
        const belongs = isOwners && at === 0;
        if (belongs || !found.has(path)) found.set(path, { account, path, isOwners: belongs });
      }
    }
    return [...found.values()];
  }

  async #settings(user?: string): Promise<ReadonlyMap<string, readonly string[]> | undefined> {
    return this.#world.files.root === '/' ? askSshdSettings(user) : undefined;
  }
}

/** The tokens of AuthorizedKeysFile, sshd_config(5). */
function expand(name: string, { name: user, uid, home }: Account): string {
  const tokens: Readonly<globalThis.Record<string, string>> = { '%': '%', h: home, u: user, U: String(uid) };
  const path = name.replaceAll(/%([%huU])/g, (_, token: string) => tokens[token] ?? '');
  return path.startsWith('/') ? path : join(home, path);
}

function keyLines(bytes: Uint8Array | undefined): string[] {
  const lines = new TextDecoder().decode(bytes).split('\n');
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
}
