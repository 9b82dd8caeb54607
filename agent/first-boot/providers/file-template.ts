/**
 * Passwords and tokens that programs read from files: an MQTT password, an application's, an API token. The image brings a
 * template; the device renders it with a random password into the file that its consumer reads, 0600, at every boot anew.
 *
 *   {{password}} {{password:base64}} {{password:sha512crypt}} {{password:mosquitto}} {{password:sha256}} (hex)
 *
 * The record keeps the forms that the templates take, and no other: where they take a hash alone, no plaintext is written.
 */
import * as v from 'valibot';
import { EXIT, Fault } from '../../../platform/fault.ts';
import type { CredentialEntry, CredentialKind } from '../../../protocol/credentials.ts';
import { utf8 } from '../../../trust/bytes.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import type { Check, CredentialProvider, EscrowedSecret, SecretSource, Staging } from '../../core/first-boot-ports.ts';
import { decodePasswd } from '../account-files.ts';
import type { FileForm } from '../file-form.ts';
import { makeMosquittoHash } from '../mosquitto-hash.ts';
import { decodeAs, encodeJson, makingOf, ProviderRecord } from '../provider-record.ts';
import { randomPassword } from '../random-password.ts';
import { makeSha512Crypt } from '../sha-crypt.ts';
import type { ProviderWorld } from '../world.ts';

const PLACE = /\{\{password(?::(base64|sha512crypt|mosquitto|sha256))?\}\}/g;
const STAGED_CAP_BYTES = 64 * 1024;
const CHECK_DEADLINE_MS = 60_000;

const Text = v.pipe(v.string(), v.maxLength(512));
const Forms = v.strictObject({
  plain: v.optional(Text),
  base64: v.optional(Text),
  sha512crypt: v.optional(Text),
  mosquitto: v.optional(Text),
  sha256: v.optional(Text),
});
type Forms = v.InferOutput<typeof Forms>;
const Staged = v.strictObject({
  forms: Forms,
  madeUnixMs: v.nullable(v.number()),
  /** SHA-256 of each file as it was before, in the order of the settings; null: there was none. */
  former: v.pipe(v.array(v.nullable(v.string())), v.maxLength(8)),
});
const Record = v.strictObject({
  format: v.literal('holdfast-template-1'),
  epoch: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  ...Staged.entries,
});
type Record = v.InferOutput<typeof Record>;

interface TemplateFile {
  readonly template: string;
  readonly path: string;
  /** Names in /etc/passwd and /etc/group of the image. */
  readonly owner: string;
  readonly group: string;
  readonly mode: number;
}

export interface TemplateSettings {
  readonly name: string;
  readonly kind: Extract<CredentialKind, 'mqtt-password' | 'application-password' | 'api-token'>;
  readonly files: readonly TemplateFile[];
  readonly escrow: boolean;
  /** Commands, as words; status 0: the new one is accepted, the former are refused. */
  readonly checkNew: readonly string[] | null;
  readonly checkOldRefused: readonly string[] | null;
}

export class FileTemplate implements CredentialProvider {
  readonly name: string;
  readonly #world: ProviderWorld;
  readonly #settings: TemplateSettings;
  readonly #record: ProviderRecord<Record>;

  constructor(world: ProviderWorld, settings: TemplateSettings) {
    this.name = `${settings.kind}:${settings.name}`;
    this.#world = world;
    this.#settings = settings;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, `${settings.kind}-${settings.name}`, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const record = await this.#record.read();
    const facts = { name: this.name, kind: this.#settings.kind, fingerprint: null };
    const states = await Promise.all(this.#settings.files.map((file) => this.#stateOf(file)));
    if (states.every((state) => state === 'absent'))
      return [{ ...facts, state: record === undefined ? 'absent' : 'failed', ...makingOf(undefined) }];
    const isOwn = record !== undefined && states.every((state) => state === 'own');
    return [{ ...facts, state: isOwn ? 'own' : 'factory', ...makingOf(isOwn ? record : undefined) }];
  }

  async stage(staging: Staging, random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const text = randomPassword(random);
    const templates = await Promise.all(this.#settings.files.map((file) => this.#template(file)));
    for (const [at, template] of templates.entries())
      if (template === undefined) throw this.#noTemplate(this.#settings.files[at]?.template ?? '');
    const wanted = new Set(templates.flatMap((template) => formsIn(template ?? '')));
    const former = await Promise.all(
      this.#settings.files.map(async ({ path }) => {
        const bytes = await this.#world.files.readInEffect(path);
        return bytes === undefined ? null : sha256Hex(bytes);
      }),
    );
    await staging.write(
      this.#staged,
      encodeJson({ forms: makeForms(text, wanted, random), madeUnixMs: this.#world.nowUnixMs(), former }),
    );
    return this.#settings.escrow ? [{ name: this.name, text }] : [];
  }

  async apply(staging: Staging): Promise<void> {
    const bytes = await staging.read(this.#staged, STAGED_CAP_BYTES);
    if (bytes === undefined) throw new Error(`nothing is staged for ${this.name}`);
    if ((await this.#record.read())?.epoch !== staging.epoch) {
      await this.#record.write({ format: 'holdfast-template-1', epoch: staging.epoch, ...decodeAs(bytes, Staged) });
    }
    await this.reconcile();
  }

  async reconcile(): Promise<void> {
    const record = await this.#record.read();
    if (record === undefined) return;
    for (const file of this.#settings.files) {
      const text = render(await this.#template(file), record.forms);
      // A template that is gone, or wants a form that was not kept: the last rendering stands until a rotation.
      if (text === undefined) await this.#world.files.activate(file.path);
      else await this.#world.files.put(file.path, new TextEncoder().encode(text), await this.#form(file));
    }
  }

  async verifyNew(): Promise<Check> {
    for (const file of this.#settings.files) {
      if ((await this.#stateOf(file)) !== 'own')
        return { ok: false, code: 'template-not-in-effect', detail: `${file.path} is not what the device made` };
    }
    return this.#ask(this.#settings.checkNew, 'new-refused');
  }

  async verifyOldRefused(): Promise<Check> {
    const former = (await this.#record.read())?.former ?? [];
    for (const [at, { path }] of this.#settings.files.entries()) {
      const bytes = await this.#world.files.readInEffect(path);
      if (bytes !== undefined && sha256Hex(bytes) === former[at])
        return { ok: false, code: 'former-file-left', detail: `${path} is what it was before` };
    }
    return this.#ask(this.#settings.checkOldRefused, 'former-accepted');
  }

  async wipe(): Promise<void> {
    for (const { path } of this.#settings.files) {
      if ((await this.#world.files.readOwn(path)) !== undefined) await this.#world.files.cover(path);
      await this.#world.files.forget(path);
    }
    await this.#record.remove();
  }

  async #ask(words: readonly string[] | null, code: string): Promise<Check> {
    const [program, ...rest] = words ?? [];
    if (program === undefined)
      return { ok: true, detail: 'read in the file: no command is given that asks its consumer' };
    const { status, said } = await this.#world.run(program, rest, { deadlineMs: CHECK_DEADLINE_MS });
    return status === 0 ? { ok: true } : { ok: false, code, detail: `${program} says: ${said}` };
  }

  async #stateOf({ path }: TemplateFile): Promise<'own' | 'factory' | 'absent'> {
    const [inEffect, own] = [await this.#world.files.readInEffect(path), await this.#world.files.readOwn(path)];
    if (inEffect === undefined || inEffect.length === 0) return 'absent';
    return own !== undefined && sha256Hex(inEffect) === sha256Hex(own) ? 'own' : 'factory';
  }

  async #template({ template }: TemplateFile): Promise<string | undefined> {
    const bytes = await this.#world.files.readImage(template);
    const text = bytes === undefined ? undefined : new TextDecoder().decode(bytes);
    return text === undefined || formsIn(text).length === 0 ? undefined : text;
  }

  /** By name at every boot: another image may number its users otherwise. */
  async #form({ owner, group, mode }: TemplateFile): Promise<FileForm> {
    const read = async (path: string) =>
      Buffer.from((await this.#world.files.readInEffect(path)) ?? []).toString('latin1');
    const uid = decodePasswd(await read('/etc/passwd')).find(({ name }) => name === owner)?.uid;
    const gid = (await read('/etc/group'))
      .split('\n')
      .map((line) => line.split(':'))
      .find(([name]) => name === group)?.[2];
    if (uid !== undefined && gid !== undefined) return { mode, uid, gid: Number(gid) };
    throw new Fault({
      code: 'account-missing',
      what: `there is no ${uid === undefined ? `user ${owner}` : `group ${group}`} on this device`,
      where: `${this.name} in agent.json`,
      cure: 'Name a user and a group of the image as owner and group.',
      exitStatus: EXIT.input,
    });
  }

  get #staged(): string {
    return `${this.#settings.kind}-${this.#settings.name}.json`;
  }

  #noTemplate(path: string): Fault {
    const cure =
      'Ship the template in the image, with {{password}} or one of its forms in it; docs/FIRST_BOOT.md lists them.';
    return new Fault({
      code: 'template-missing',
      what: 'there is no template, or no place for a password in it',
      where: path,
      cure,
      exitStatus: EXIT.input,
    });
  }
}

function formsIn(template: string): (keyof Forms)[] {
  return [...template.matchAll(PLACE)].map(([, form]) => (form ?? 'plain') as keyof Forms);
}

function makeForms(text: string, wanted: ReadonlySet<keyof Forms>, random: SecretSource): Forms {
  return {
    ...(wanted.has('plain') ? { plain: text } : {}),
    ...(wanted.has('base64') ? { base64: Buffer.from(text).toString('base64') } : {}),
    ...(wanted.has('sha512crypt') ? { sha512crypt: makeSha512Crypt(text, random) } : {}),
    ...(wanted.has('mosquitto') ? { mosquitto: makeMosquittoHash(text, random) } : {}),
    ...(wanted.has('sha256') ? { sha256: sha256Hex(utf8(text)) } : {}),
  };
}

/** Undefined when there is no template, or it takes a form that is not there. */
function render(template: string | undefined, forms: Forms): string | undefined {
  if (template === undefined || formsIn(template).some((form) => forms[form] === undefined)) return undefined;
  return template.replaceAll(PLACE, (_, form: string | undefined) => forms[(form ?? 'plain') as keyof Forms] ?? '');
}
