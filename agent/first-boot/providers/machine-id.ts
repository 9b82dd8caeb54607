/**
 * /etc/machine-id: random, of this device, and in D-Bus's copy. Images ship it empty or `uninitialized`; where one ships a
 * whole id, all its devices share it, and PID 1 has read it before anything of ours ran: a new one is written, and one
 * reboot is asked for before the device opens. Source: machine-id(5).
 *
 * Over a read-only slot a reboot would change nothing (PID 1 reads the slot's file again): what starts after us reads this
 * device's id, and the check says so.
 */
import * as v from 'valibot';
import type { CredentialEntry } from '../../../protocol/credentials.ts';
import { utf8 } from '../../../trust/bytes.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import {
  type Check,
  type CredentialProvider,
  type EscrowedSecret,
  REBOOT_NEEDED,
  type SecretSource,
  type Staging,
} from '../../core/first-boot-ports.ts';
import { decodeAs, encodeJson, makingOf, ProviderRecord } from '../provider-record.ts';
import type { ProviderWorld } from '../world.ts';

const PATH = '/etc/machine-id';
const DBUS_PATH = '/var/lib/dbus/machine-id';
const STAGED = 'machine-id.json';
const STAGED_CAP_BYTES = 1024;
const FORM = { mode: 0o444, uid: 0, gid: 0 };
const IS_ID = /^[0-9a-f]{32}$/;

const Id = v.pipe(v.string(), v.regex(IS_ID));
const Staged = v.strictObject({ id: Id, madeUnixMs: v.nullable(v.number()) });
const Record = v.strictObject({
  format: v.literal('holdfast-machine-id-1'),
  epoch: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  ...Staged.entries,
  /** Of the id that stood before, if one did. */
  formerSha256: v.nullable(v.string()),
  /** The boot in which programs may have taken up the former id; null when none can have. */
  takenUpIn: v.nullable(v.string()),
});
type Record = v.InferOutput<typeof Record>;

export class MachineId implements CredentialProvider {
  readonly name = 'machine-id';
  readonly #world: ProviderWorld;
  readonly #record: ProviderRecord<Record>;

  constructor(world: ProviderWorld) {
    this.#world = world;
    this.#record = new ProviderRecord(world.disk, world.dataDirectory, this.name, Record);
  }

  async inspect(): Promise<readonly CredentialEntry[]> {
    const record = await this.#record.read();
    const id = await this.#idAt(PATH);
    const isOwn = record !== undefined && id === record.id;
    const state = id === undefined ? 'absent' : isOwn ? 'own' : 'factory';
    const fingerprint = id === undefined ? null : sha256Hex(utf8(`holdfast machine-id\0${id}`));
    return [{ name: 'machine-id', kind: 'machine-id', state, fingerprint, ...makingOf(isOwn ? record : undefined) }];
  }

  /** It is no secret: a rotation keeps it, a factory reset does not. */
  async stage(staging: Staging, random: SecretSource): Promise<readonly EscrowedSecret[]> {
    const standing = await this.#record.read();
    const made = { id: makeId(random.bytes(16)), madeUnixMs: this.#world.nowUnixMs() };
    const staged = standing === undefined ? made : { id: standing.id, madeUnixMs: standing.madeUnixMs };
    await staging.write(STAGED, encodeJson(staged));
    return [];
  }

  async apply(staging: Staging): Promise<void> {
    const bytes = await staging.read(STAGED, STAGED_CAP_BYTES);
    if (bytes === undefined) throw new Error('nothing is staged for machine-id');
    const staged = decodeAs(bytes, Staged);
    const standing = await this.#record.read();
    if (standing === undefined || standing.epoch !== staging.epoch || standing.id !== staged.id) {
      const { formerSha256, takenUpIn } = standing ?? { formerSha256: null, takenUpIn: null };
      await this.#record.write({
        format: 'holdfast-machine-id-1',
        epoch: staging.epoch,
        ...staged,
        formerSha256,
        takenUpIn,
      });
    }
    await this.reconcile();
  }

  async reconcile(): Promise<void> {
    const record = await this.#record.read();
    if (record === undefined) return;
    const { files } = this.#world;
    const bytes = new TextEncoder().encode(`${record.id}\n`);
    await this.#noteFormer(record);
    await files.put(PATH, bytes, FORM);
    // Often a link to the one above, or not there at all.
    const dbus = await files.readInEffect(DBUS_PATH);
    if (dbus !== undefined && (await this.#idAt(DBUS_PATH)) !== record.id) await files.put(DBUS_PATH, bytes, FORM);
  }

  async verifyNew(): Promise<Check> {
    const record = await this.#record.read();
    for (const path of [PATH, DBUS_PATH]) {
      const isThere = path === PATH || (await this.#world.files.readInEffect(path)) !== undefined;
      if (isThere && (await this.#idAt(path)) !== record?.id)
        return { ok: false, code: 'machine-id-not-in-effect', detail: `${path} is not this device's own` };
    }
    if (record?.takenUpIn != null && record.takenUpIn === (await this.#world.bootId())) {
      return {
        ok: false,
        code: REBOOT_NEEDED,
        detail: 'the system started with the former machine-id; one reboot, and none of it is left',
      };
    }
    if (record?.formerSha256 == null || record.takenUpIn !== null) return { ok: true };
    return { ok: true, detail: "PID 1 has the slot's machine-id: ship it empty in the image" };
  }

  async verifyOldRefused(): Promise<Check> {
    const former = (await this.#record.read())?.formerSha256 ?? null;
    const inEffect = await this.#idAt(PATH);
    if (former === null || inEffect === undefined || sha256Hex(utf8(inEffect)) !== former) return { ok: true };
    return { ok: false, code: 'factory-machine-id-left', detail: `${PATH} is what it was before` };
  }

  async wipe(): Promise<void> {
    for (const path of [PATH, DBUS_PATH]) await this.#world.files.forget(path);
    await this.#record.remove();
  }

  /** Before another id is replaced: which one, and in which boot; a cut between the two asks for the reboot again. */
  async #noteFormer(record: Record): Promise<void> {
    const former = await this.#idAt(PATH);
    if (former === undefined || former === record.id) return;
    const takenUpIn = (await this.#world.files.isBesideSlot(PATH)) ? null : await this.#world.bootId();
    const formerSha256 = sha256Hex(utf8(former));
    if (record.formerSha256 === formerSha256 && record.takenUpIn === takenUpIn) return;
    await this.#record.write({ ...record, formerSha256, takenUpIn });
  }

  async #idAt(path: string): Promise<string | undefined> {
    const text = new TextDecoder().decode(await this.#world.files.readInEffect(path)).trim();
    return IS_ID.test(text) ? text : undefined;
  }
}

/** A UUID of version 4, as systemd makes them: some programs look. */
function makeId(bytes: Uint8Array): string {
  const made = Buffer.from(bytes);
  made[6] = ((made[6] ?? 0) & 0x0f) | 0x40;
  made[8] = ((made[8] ?? 0) & 0x3f) | 0x80;
  return made.toString('hex');
}
