/**
 * What a provider remembers between boots: one JSON file each, durable, 0600, at `<data>/credentials/<provider>.json`.
 * It is the truth from which `reconcile` makes what is in effect; it may hold what its consumer's file holds anyway (a
 * hash, a key's fingerprint, a password that a consumer takes in plaintext), and nothing more.
 */
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../platform/durable-file.ts';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import type { CredentialEntry } from '../../protocol/credentials.ts';

const RECORD_CAP_BYTES = 256 * 1024;

export class ProviderRecord<T> {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #schema: v.GenericSchema<unknown, T>;

  constructor(disk: Disk, dataDirectory: string, name: string, schema: v.GenericSchema<unknown, T>) {
    this.#disk = disk;
    this.#path = join(dataDirectory, 'credentials', `${name}.json`);
    this.#schema = schema;
  }

  /** Undefined when this provider made nothing yet. A damaged record is a Fault: nothing opens on a guess. */
  async read(): Promise<T | undefined> {
    try {
      const bytes = await this.#disk.readFile(this.#path, RECORD_CAP_BYTES);
      return bytes === undefined ? undefined : decodeAs(bytes, this.#schema);
    } catch (error) {
      if (error instanceof Error && 'syscall' in error) throw error;
      throw new Fault({
        code: 'credential-record-damaged',
        what: `what the device remembers of a credential cannot be read (${error instanceof FileTooLarge ? 'too large' : errorText(error)})`,
        where: this.#path,
        cure: 'Restore the file from a backup of the data partition, or reset the device: that makes all its credentials anew.',
        exitStatus: EXIT.corrupt,
      });
    }
  }

  async write(value: T): Promise<void> {
    await makeDirectoryDurably(this.#disk, dirname(this.#path));
    await writeDurably(this.#disk, this.#path, encodeJson(value));
  }

  async remove(): Promise<void> {
    await makeDirectoryDurably(this.#disk, dirname(this.#path));
    await removeDurably(this.#disk, this.#path);
  }
}

/** For the inventory, of what this device made; without a record it was made elsewhere, nobody knows when. */
export function makingOf(
  record: { readonly epoch: number; readonly madeUnixMs: number | null } | undefined,
): Pick<CredentialEntry, 'epoch' | 'madeUnixMs'> {
  return { epoch: record?.epoch ?? 0, madeUnixMs: record?.madeUnixMs ?? null };
}

export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

/** Throws when the bytes are not JSON text of the schema. The message names no value: there may be secrets in it. */
export function decodeAs<T>(bytes: Uint8Array, schema: v.GenericSchema<unknown, T>): T {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new Error('it is not JSON text');
  }
  const parsed = v.safeParse(schema, json);
  if (parsed.success) return parsed.output;
  throw new Error(`its field ${v.getDotPath(parsed.issues[0]) ?? '(the whole)'} is not as it should be`);
}
