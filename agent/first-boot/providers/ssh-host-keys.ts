/**
 * SSH host keys of this device's own. ssh-keygen makes them in memory, and we put them on the disk, synced, before
 * anything of the factory's is taken away: `ssh-keygen -A` syncs nothing, and a cut in it can leave a device without any.
 * Every other host key in the folder is removed, or, in a read-only slot, covered with an empty file.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import { mustSucceed } from '../../boards/board-program.ts';
import type { Check, CredentialProvider, EscrowedSecret, SecretSource, Staging } from '../../core/first-boot-ports.ts';
import { SECRET_FORM } from '../file-form.ts';
import { PrivateSshd } from '../private-sshd.ts';
import { makingOf, ProviderRecord } from '../provider-record.ts';
import type { ProviderWorld } from '../world.ts';

const FOLDER = '/etc/ssh';
const IS_HOST_KEY = /^ssh_host_[a-z0-9_]+_key(?:\.pub)?$/;
const KEY_CAP_BYTES = 16 * 1024;
const PUBLIC_FORM = { mode: 0o644, uid: 0, gid: 0 };

/** What sshd calls a key of each type when it offers it. */
const ALGORITHMS = { ed25519: 'ssh-ed25519', ecdsa: 'ecdsa-sha2-nistp256', rsa: 'rsa-sha2-512' } as const;
/** RSA by NIST SP 800-57: 3072 bits are worth 128. */
const SIZES = { ed25519: [], ecdsa: ['-b', '256'], rsa: ['-b', '3072'] } as const;
export type HostKeyType = keyof typeof ALGORITHMS;
const TYPES = Object.keys(ALGORITHMS) as HostKeyType[];

const Fingerprint = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Record = v.strictObject({
  format: v.literal('holdfast-host-keys-1'),
  epoch: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  madeUnixMs: v.nullable(v.number()),
  keys: v.pipe(
    v.array(v.strictObject({ type: v.picklist(TYPES), fingerprint: Fingerprint })),
    v.minLength(1),
    v.maxLength(3),
  ),
  /** Of the epoch before. */
  former: v.pipe(v.array(Fingerprint), v.maxLength(3)),
});
type Record = v.InferOutput<typeof Record>;

export class SshHostKeys implements CredentialProvider {
  readonly name = 'ssh-host-keys';
  readonly #world: ProviderWorld;
  readonly #types: readonly HostKeyType[];
  readonly #record: ProviderRecord<Record>;

  constructor(world: ProviderWorld, settings: { readonly types: readonly HostKeyType[] }) {
    this.#world = world;
    this.#types = settings.types;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, this.name, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const record = await this.#record.read();
    const entries = TYPES.map(async (type): Promise<CredentialEntry[]> => {
      const inEffect = await this.#world.files.readInEffect(privatePath(type));
      const own = record?.keys.find((key) => key.type === type);
      if ((inEffect === undefined || inEffect.length === 0) && own === undefined) return [];
      const fingerprint = fingerprintOf(await this.#world.files.readInEffect(publicPath(type)));
      const facts = { name: `ssh-host-key:${type}`, kind: 'ssh-host-key' as const, fingerprint };
      if (own === undefined) return [{ ...facts, state: 'factory', ...makingOf(undefined) }];
      const state = own.fingerprint === fingerprint ? 'own' : 'failed';
      return [{ ...facts, state, ...makingOf(record) }];
    });
    return (await Promise.all(entries)).flat();
  }

  async stage(staging: Staging, _random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const folder = join(this.#world.scratchDirectory, `host-keys-${randomBytes(8).toString('hex')}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      for (const type of this.#types) {
        const file = join(folder, type);
        const words = ['-q', '-t', type, ...SIZES[type], '-N', '', '-C', '', '-f', file];
        mustSucceed('ssh-keygen', await this.#world.run('ssh-keygen', words, { deadlineMs: 300_000 }));
        await staging.write(`host-key-${type}`, await readFile(file));
        await staging.write(`host-key-${type}.pub`, await readFile(`${file}.pub`));
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return [];
  }

  async apply(staging: Staging): Promise<void> {
    const { files } = this.#world;
    const keys: Record['keys'] = [];
    for (const type of this.#types) {
      const secret = await staging.read(`host-key-${type}`, KEY_CAP_BYTES);
      const open = await staging.read(`host-key-${type}.pub`, KEY_CAP_BYTES);
      const fingerprint = fingerprintOf(open);
      if (secret === undefined || open === undefined || fingerprint === null)
        throw new Error(`no host key of type ${type} is staged`);
      await files.writeOwn(privatePath(type), secret, SECRET_FORM);
      await files.writeOwn(publicPath(type), open, PUBLIC_FORM);
      keys.push({ type, fingerprint });
    }
    const standing = await this.#record.read();
    if (standing?.epoch !== staging.epoch) {
      const former = standing?.keys.map(({ fingerprint }) => fingerprint) ?? [];
      await this.#record.write({
        format: 'holdfast-host-keys-1',
        epoch: staging.epoch,
        madeUnixMs: this.#world.nowUnixMs(),
        keys,
        former,
      });
    }
    await this.reconcile();
  }

  async reconcile(): Promise<void> {
    const { files } = this.#world;
    const own = (await this.#record.read())?.keys.flatMap(({ type }) => [privatePath(type), publicPath(type)]) ?? [];
    for (const path of own) await files.activate(path);
    for (const path of await this.#others(own)) await files.cover(path);
  }

  async verifyNew(): Promise<Check> {
    const record = await this.#record.read();
    if (record === undefined)
      return { ok: false, code: 'host-key-missing', detail: 'no host key was made on this device' };
    for (const { type, fingerprint } of record.keys) {
      const open = await this.#derivePublic(type);
      if (fingerprintOf(open) !== fingerprint)
        return {
          ok: false,
          code: 'host-key-not-in-effect',
          detail: `${privatePath(type)} is not the key that was made here`,
        };
    }
    if (this.#world.files.root !== '/') return { ok: true, detail: 'sshd was not asked: this device is a folder' };
    const sshd = await PrivateSshd.open(this.#world.scratchDirectory);
    if ('missing' in sshd) return { ok: true, detail: sshd.missing };
    try {
      return await this.#askShown(sshd, record);
    } finally {
      await sshd.close();
    }
  }

  async verifyOldRefused(): Promise<Check> {
    const record = await this.#record.read();
    const own = record?.keys.flatMap(({ type }) => [privatePath(type), publicPath(type)]) ?? [];
    const [left] = await this.#others(own);
    if (left !== undefined) return { ok: false, code: 'factory-host-key-left', detail: `${left} is the image's` };
    for (const { type, fingerprint } of record?.keys ?? []) {
      const isFormer = record?.former.includes(fingerprint);
      if (isFormer)
        return {
          ok: false,
          code: 'former-host-key-left',
          detail: `the key of type ${type} is that of the epoch before`,
        };
    }
    return { ok: true };
  }

  async wipe(): Promise<void> {
    for (const type of TYPES) {
      for (const path of [privatePath(type), publicPath(type)]) {
        if ((await this.#world.files.readOwn(path)) !== undefined) await this.#world.files.cover(path);
        await this.#world.files.forget(path);
      }
    }
    await this.#record.remove();
  }

  async #askShown(sshd: PrivateSshd, { keys }: Record): Promise<Check> {
    for (const type of TYPES) {
      const isOwn = keys.some((key) => key.type === type);
      const lines = isOwn ? [lineOf(await this.#derivePublic(type))] : [];
      const shown = await sshd.shows(ALGORITHMS[type], lines);
      if (shown === (isOwn ? 'these' : 'none')) continue;
      const detail =
        typeof shown === 'string'
          ? `for ${ALGORITHMS[type]} sshd shows ${shown === 'none' ? 'no key' : 'another key'}`
          : shown.unclear;
      return { ok: false, code: 'host-key-shown-wrong', detail: detail.slice(0, 400) };
    }
    return { ok: true };
  }

  /** Host keys in effect that are not ours; empty ones are covered already. */
  async #others(own: readonly string[]): Promise<string[]> {
    const names = (await this.#world.files.list(FOLDER)).filter((name) => IS_HOST_KEY.test(name));
    const paths = names.map((name) => join(FOLDER, name)).filter((path) => !own.includes(path));
    const found: string[] = [];
    for (const path of paths) if ((await this.#world.files.readInEffect(path))?.length !== 0) found.push(path);
    return found;
  }

  /** From the private key in effect, so that a public file beside it proves nothing. */
  async #derivePublic(type: HostKeyType): Promise<Uint8Array | undefined> {
    const end = await this.#world.run('ssh-keygen', ['-y', '-f', join(this.#world.files.root, privatePath(type))]);
    return end.status === 0 ? new TextEncoder().encode(end.stdout) : undefined;
  }
}

function privatePath(type: HostKeyType): string {
  return join(FOLDER, `ssh_host_${type}_key`);
}

function publicPath(type: HostKeyType): string {
  return `${privatePath(type)}.pub`;
}

function lineOf(open: Uint8Array | undefined): string {
  return new TextDecoder().decode(open).trim().split(' ').slice(0, 2).join(' ');
}

/** SHA-256 of the key blob, as `ssh-keygen -l` prints it, in hex; null when it is no public key. */
function fingerprintOf(open: Uint8Array | undefined): string | null {
  const blob = lineOf(open).split(' ')[1];
  return blob === undefined || blob === '' ? null : sha256Hex(Buffer.from(blob, 'base64'));
}
