/**
 * A maker's own executable, for secrets that no other provider knows. One verb a call, JSON in and out, never a secret in
 * an argument or the environment; docs/FIRST_BOOT.md is the protocol, "A provider of your own".
 *
 * Invariants: what it says is decoded strictly; randomness comes from here; what it stages is kept by us, durable, before
 * it is asked to apply anything.
 * May not: guess. An answer that is not understood is a Fault, and the device stays closed.
 */
import * as v from 'valibot';
import { type CredentialEntry, CredentialState } from '../../../protocol/credentials.ts';
import { Sha256Hex } from '../../../protocol/device-api.ts';
import { boardFault } from '../../boards/board-program.ts';
import type { Check, CredentialProvider, EscrowedSecret, SecretSource, Staging } from '../../core/first-boot-ports.ts';
import type { ProviderWorld } from '../world.ts';

/** Version of the protocol, in every request. */
const PROTOCOL = 1;
const STAGED_CAP_BYTES = 32 * 1024;
const RANDOM_BYTES = 64;

const Part = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.@-]{1,40}$/));
const Line = (most: number) => v.pipe(v.string(), v.maxLength(most), v.regex(/^[^\n\r]*$/));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Inspected = v.strictObject({
  credentials: v.pipe(
    v.array(v.strictObject({ name: Part, state: CredentialState, epoch: Count, fingerprint: v.nullable(Sha256Hex) })),
    v.maxLength(8),
  ),
});
const Made = v.strictObject({
  staged: v.pipe(v.string(), v.base64(), v.maxLength((STAGED_CAP_BYTES / 3) * 4)),
  escrow: v.pipe(v.array(v.strictObject({ name: Part, text: v.pipe(Line(512), v.minLength(1)) })), v.maxLength(8)),
});
const Verdict = v.variant('ok', [
  v.strictObject({ ok: v.literal(true), detail: v.optional(Line(400)) }),
  v.strictObject({ ok: v.literal(false), code: v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,64}$/)), detail: Line(400) }),
]);

export interface MakerSettings {
  readonly name: string;
  readonly executable: string;
  /** For each call. */
  readonly deadlineMs: number;
}

export class MakerProvider implements CredentialProvider {
  readonly name: string;
  readonly #world: ProviderWorld;
  readonly #settings: MakerSettings;

  constructor(world: ProviderWorld, settings: MakerSettings) {
    this.name = `maker:${settings.name}`;
    this.#world = world;
    this.#settings = settings;
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const { credentials } = await this.#ask('inspect', {}, Inspected);
    return credentials.map((entry) => ({ ...entry, name: this.#named(entry.name), kind: 'maker', madeUnixMs: null }));
  }

  async stage(staging: Staging, random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const given = { epoch: staging.epoch, random: Buffer.from(random.bytes(RANDOM_BYTES)).toString('base64') };
    const { staged, escrow } = await this.#ask('stage', given, Made);
    await staging.write(this.#staged, Buffer.from(staged, 'base64'));
    return escrow.map(({ name, text }) => ({ name: this.#named(name), text }));
  }

  async apply(staging: Staging): Promise<void> {
    const bytes = await staging.read(this.#staged, STAGED_CAP_BYTES);
    if (bytes === undefined) throw new Error(`nothing is staged for ${this.name}`);
    await this.#call('apply', { epoch: staging.epoch, staged: Buffer.from(bytes).toString('base64') });
  }

  async reconcile(): Promise<void> {
    await this.#call('reconcile', {});
  }

  verifyNew(): Promise<Check> {
    return this.#judge('verify-new');
  }

  verifyOldRefused(): Promise<Check> {
    return this.#judge('verify-old-refused');
  }

  async wipe(): Promise<void> {
    await this.#call('wipe', {});
  }

  async #judge(verb: string): Promise<Check> {
    const verdict = await this.#ask(verb, {}, Verdict);
    if (!verdict.ok) return verdict;
    return verdict.detail === undefined ? { ok: true } : { ok: true, detail: verdict.detail };
  }

  async #ask<T>(verb: string, facts: Record<string, unknown>, schema: v.GenericSchema<unknown, T>): Promise<T> {
    const answer = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), await this.#call(verb, facts));
    if (answer.success) return answer.output;
    // The field, never its value: it may be a secret.
    const field = v.getDotPath(answer.issues[0]) ?? '(the whole)';
    throw this.#wrong(`its answer to ${verb} is not of the protocol, at ${field}`);
  }

  async #call(verb: string, facts: Record<string, unknown>): Promise<string> {
    const { executable, deadlineMs } = this.#settings;
    const input = `${JSON.stringify({ protocol: PROTOCOL, ...facts })}\n`;
    const { status, stdout, said } = await this.#world.run(executable, [verb], { input, deadlineMs });
    if (status === 0) return stdout;
    throw this.#wrong(`it failed at ${verb}: ${said}`);
  }

  #wrong(what: string) {
    const cure = 'Call it by hand with the same verb, and correct it; docs/FIRST_BOOT.md has the protocol.';
    return boardFault(
      'maker-provider-failed',
      `a provider of credentials cannot be relied on: ${what}`.slice(0, 400),
      this.#settings.executable,
      cure,
    );
  }

  #named(part: string): string {
    return `maker:${this.#settings.name}.${part}`.slice(0, 70);
  }

  get #staged(): string {
    return `maker-${this.#settings.name}`;
  }
}
