/**
 * Unix passwords: nobody logs in with one, but the break-glass account with this device's own, and those to whom the
 * owner gave one. /etc/shadow (and passwd, group, gshadow) is rebuilt from the image's at every boot, so that an image
 * brings new system users and never a password.
 *
 * The record holds what shadow holds: hashes. The break-glass password itself is in memory from `stage` on, goes to the
 * escrow, and is nowhere else.
 */
import * as v from 'valibot';
import { EXIT, Fault } from '../../../platform/fault.ts';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import type { Check, CredentialProvider, EscrowedSecret, SecretSource, Staging } from '../../core/first-boot-ports.ts';
import {
  type ChosenPassword,
  decodePasswd,
  decodeShadow,
  isLocked,
  rebuildGroups,
  rebuildPasswd,
  rebuildShadow,
} from '../account-files.ts';
import { askLogins, formerLogins } from '../logins.ts';
import { judgePassword, type PasswordVerdict } from '../password-rules.ts';
import type { LoginTry } from '../private-sshd.ts';
import { decodeAs, encodeJson, ProviderRecord } from '../provider-record.ts';
import { randomPassword } from '../random-password.ts';
import { makeSha512Crypt } from '../sha-crypt.ts';
import type { ProviderWorld } from '../world.ts';

const PASSWD = '/etc/passwd';
const SHADOW = '/etc/shadow';
const GROUPS = ['/etc/group', '/etc/gshadow'];
const STAGED = 'unix-passwords.json';
const STAGED_CAP_BYTES = 4096;
const DAY_MS = 24 * 3600 * 1000;
/** Of the accounts whose state is told; those that are not locked come first. */
const MOST_ENTRIES = 16;

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Hash = v.pipe(v.string(), v.regex(/^\$6\$[^:\n]{1,200}$/));
const Own = v.strictObject({ user: v.string(), hash: Hash, madeUnixMs: v.nullable(Count) });
const Record = v.strictObject({
  format: v.literal('holdfast-passwords-1'),
  epoch: Count,
  breakGlass: v.nullable(Own),
  /** The hash that this epoch's replaced. */
  former: v.nullable(Hash),
  owner: v.pipe(v.array(Own), v.maxLength(32)),
});
type Record = v.InferOutput<typeof Record>;
const Staged = v.strictObject({ breakGlass: v.nullable(Own) });

const NOTHING: Record = { format: 'holdfast-passwords-1', epoch: 0, breakGlass: null, former: null, owner: [] };

export class UnixPasswords implements CredentialProvider {
  readonly name = 'unix-passwords';
  readonly #world: ProviderWorld;
  readonly #breakGlass: string | null;
  readonly #record: ProviderRecord<Record>;
  /** Of this process's own `stage`: lets `verifyNew` try it. */
  #typed: { readonly epoch: number; readonly text: string } | undefined;

  constructor(world: ProviderWorld, settings: { readonly breakGlass: string | null }) {
    this.#world = world;
    this.#breakGlass = settings.breakGlass;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, this.name, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const record = await this.#standing();
    const shadow = await this.#shadowInEffect();
    const accounts = decodePasswd(await this.#text(PASSWD)).filter(({ name }) => /^[A-Za-z0-9_.@-]{1,64}$/.test(name));
    const told = accounts.filter(
      ({ name }) => name === 'root' || name === this.#breakGlass || !isLocked(shadow.get(name)),
    );
    const entries = told.map(({ name }): CredentialEntry => {
      const field = shadow.get(name);
      const own = record.breakGlass?.user === name ? record.breakGlass : undefined;
      const given = record.owner.find(({ user }) => user === name);
      const facts = { name: `password:${name}`, kind: 'password' as const, fingerprint: null };
      if (own !== undefined && field === own.hash)
        return { ...facts, state: 'own', epoch: record.epoch, madeUnixMs: own.madeUnixMs };
      if (given !== undefined && field === given.hash)
        return { ...facts, state: 'owner', epoch: record.epoch, madeUnixMs: given.madeUnixMs };
      return {
        ...facts,
        state: isLocked(field) ? 'locked' : 'factory',
        epoch: isLocked(field) ? record.epoch : 0,
        madeUnixMs: null,
      };
    });
    return entries.sort((a, b) => Number(a.state === 'locked') - Number(b.state === 'locked')).slice(0, MOST_ENTRIES);
  }

  async stage(staging: Staging, random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const user = this.#breakGlass;
    if (user === null) {
      await staging.write(STAGED, encodeJson({ breakGlass: null }));
      return [];
    }
    if (!(await this.#hasAccount(user))) throw noAccount(user, NO_BREAK_GLASS_CURE);
    const text = randomPassword(random);
    const breakGlass = { user, hash: makeSha512Crypt(text, random), madeUnixMs: this.#world.nowUnixMs() };
    await staging.write(STAGED, encodeJson({ breakGlass }));
    this.#typed = { epoch: staging.epoch, text };
    return [{ name: `password:${user}`, text }];
  }

  async apply(staging: Staging): Promise<void> {
    const bytes = await staging.read(STAGED, STAGED_CAP_BYTES);
    if (bytes === undefined) throw new Error('nothing is staged for unix-passwords');
    const { breakGlass } = decodeAs(bytes, Staged);
    const record = await this.#standing();
    if (record.epoch !== staging.epoch || record.breakGlass?.hash !== breakGlass?.hash) {
      const owner = record.owner.filter(({ user }) => user !== breakGlass?.user);
      const former = record.breakGlass?.hash ?? null;
      await this.#record.write({ format: NOTHING.format, epoch: staging.epoch, breakGlass, former, owner });
    }
    await this.reconcile();
  }

  async reconcile(): Promise<void> {
    const { breakGlass, owner } = await this.#standing();
    const own = [...owner, ...(breakGlass === null ? [] : [breakGlass])];
    const chosen = new Map(
      own.map(({ user, hash, madeUnixMs }): [string, ChosenPassword] => [
        user,
        { hash, lastChangeDays: daysOf(madeUnixMs) },
      ]),
    );
    const passwd = await this.#image(PASSWD);
    // A device without accounts: an emulated one.
    if (passwd === undefined) return;
    await this.#put(SHADOW, rebuildShadow((await this.#image(SHADOW)) ?? '', passwd, chosen), 0o640);
    await this.#put(PASSWD, rebuildPasswd(passwd), 0o644);
    for (const path of GROUPS) {
      const image = await this.#image(path);
      if (image !== undefined) await this.#put(path, rebuildGroups(image), path.endsWith('gshadow') ? 0o640 : 0o644);
    }
  }

  async verifyNew(): Promise<Check> {
    const { epoch, breakGlass } = await this.#standing();
    if (breakGlass === null) return { ok: true };
    if ((await this.#shadowInEffect()).get(breakGlass.user) !== breakGlass.hash) {
      return {
        ok: false,
        code: 'password-not-in-effect',
        detail: `the shadow file in effect has another field for ${breakGlass.user}`,
      };
    }
    const typed = this.#typed;
    if (typed?.epoch !== epoch)
      return { ok: true, detail: 'compared by hash: the password itself is in the escrow alone' };
    return askLogins(this.#world, [{ user: breakGlass.user, password: typed.text }], (accepted) => {
      if (accepted.length === 1) return undefined;
      return { ok: false, code: 'password-refused', detail: `sshd refuses the new password of ${breakGlass.user}` };
    });
  }

  async verifyOldRefused(): Promise<Check> {
    const { breakGlass, owner, former } = await this.#standing();
    const shadow = await this.#shadowInEffect();
    const passwd = await this.#text(PASSWD);
    const chosen = new Set(
      [...owner, ...(breakGlass === null ? [] : [breakGlass])].map(({ user, hash }) => `${user}:${hash}`),
    );
    const left = decodePasswd(passwd).find(
      ({ name }) => !isLocked(shadow.get(name)) && !chosen.has(`${name}:${shadow.get(name)}`),
    );
    if (left !== undefined)
      return { ok: false, code: 'factory-password-left', detail: `${left.name} has a password that was not made here` };
    if (rebuildPasswd(passwd) !== passwd)
      return { ok: false, code: 'factory-password-left', detail: '/etc/passwd has a password in it' };
    if (former !== null && former === breakGlass?.hash)
      return { ok: false, code: 'former-password-left', detail: 'the epoch before has the same hash' };
    return askLogins(this.#world, await this.#formerLogins(breakGlass), ([first]) => {
      if (first === undefined) return undefined;
      const detail = `sshd accepts a well-known password of ${first.user}`;
      return { ok: false, code: 'factory-password-accepted', detail };
    });
  }

  async wipe(): Promise<void> {
    this.#typed = undefined;
    await this.#record.remove();
    // Not the image's: until the next epoch's are applied, everybody is locked.
    await this.reconcile();
  }

  /**
   * The owner's own choice, given by a command; it survives boots and rotations, but not a factory reset. That of the
   * break-glass account stands until the next rotation, which makes and seals one again.
   */
  async setByOwner(user: string, typed: string, random: SecretSource): Promise<PasswordVerdict> {
    const verdict = judgePassword(typed, [user]);
    if (!verdict.ok) return verdict;
    if (!(await this.#hasAccount(user))) throw noAccount(user, 'Name an account that stands there.');
    const record = await this.#standing();
    const given = { user, hash: makeSha512Crypt(verdict.text, random), madeUnixMs: this.#world.nowUnixMs() };
    const breakGlass = record.breakGlass?.user === user ? null : record.breakGlass;
    await this.#record.write({
      ...record,
      breakGlass,
      owner: [...record.owner.filter((one) => one.user !== user), given],
    });
    await this.reconcile();
    return verdict;
  }

  /** Of every account that is here. Ours is not the image's, though in place it stands in the same file. */
  async #formerLogins(breakGlass: Record['breakGlass']): Promise<LoginTry[]> {
    const image = decodeShadow((await this.#image(SHADOW)) ?? '');
    if (breakGlass !== null && image.get(breakGlass.user) === breakGlass.hash) image.delete(breakGlass.user);
    return formerLogins(decodePasswd(await this.#text(PASSWD)), image);
  }

  async #hasAccount(user: string): Promise<boolean> {
    return decodePasswd(await this.#text(PASSWD)).some(({ name }) => name === user);
  }

  async #standing(): Promise<Record> {
    return (await this.#record.read()) ?? NOTHING;
  }

  async #shadowInEffect(): Promise<Map<string, string>> {
    return decodeShadow(await this.#text(SHADOW));
  }

  async #text(path: string): Promise<string> {
    return decodeText((await this.#world.files.readInEffect(path)) ?? new Uint8Array());
  }

  async #image(path: string): Promise<string | undefined> {
    const bytes = await this.#world.files.readImage(path);
    return bytes === undefined ? undefined : decodeText(bytes);
  }

  /** Owner and group as the image has them, and no mode wider than `widest`. */
  async #put(path: string, text: string, widest: number): Promise<void> {
    const form = (await this.#world.files.imageForm(path)) ?? { mode: widest & 0o600, uid: 0, gid: 0 };
    await this.#world.files.put(path, Buffer.from(text, 'latin1'), { ...form, mode: form.mode & widest });
  }
}

/** Byte for byte: what is not ASCII in a comment field comes back as it was. */
function decodeText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

function daysOf(unixMs: number | null): number | null {
  return unixMs === null ? null : Math.floor(unixMs / DAY_MS);
}

const NO_BREAK_GLASS_CURE = 'Name an account of the image as breakGlass in agent.json, or null for none.';

function noAccount(user: string, cure: string): Fault {
  return new Fault({
    code: 'account-missing',
    what: `there is no account ${user} on this device`,
    where: PASSWD,
    cure,
    exitStatus: EXIT.input,
  });
}
