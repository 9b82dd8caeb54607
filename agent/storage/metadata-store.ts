/**
 * The TUF metadata that this device trusts, each file replaced whole and durably.
 *
 * File: 64 hex digits (SHA-256 of what follows) · newline · the metadata as received. A file that does not check out
 * is as good as none: it is moved aside by the next write, and a device whose root is damaged starts again from its
 * factory root, which the chain of signatures leads on from.
 * May not: judge metadata; the client (trust/tuf/client.ts) does.
 */

import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../platform/durable-file.ts';
import { EXIT, Fault, systemErrorCode } from '../../platform/fault.ts';
import { concat, utf8 } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import type { MetadataStore } from '../../trust/tuf/client.ts';
import { METADATA_CAP_BYTES, ROLE_NAMES, type RoleName } from '../../trust/tuf/metadata.ts';
import type { Log } from '../core/ports.ts';

const PREFIX_BYTES = 65;

export interface MetadataStoreFacts {
  readonly disk: Disk;
  readonly stateDirectory: string;
  readonly factoryRootPath: string;
  readonly log: Log;
}

export class DiskMetadataStore implements MetadataStore {
  readonly #facts: MetadataStoreFacts;
  readonly #directory: string;

  /** Makes the folder if it is not there. */
  static async open(facts: MetadataStoreFacts): Promise<DiskMetadataStore> {
    const store = new DiskMetadataStore(facts);
    await makeDirectoryDurably(facts.disk, facts.stateDirectory);
    await makeDirectoryDurably(facts.disk, store.#directory);
    return store;
  }

  /** For who only asks, as at every poll: makes no folder and syncs none. */
  static reading(facts: MetadataStoreFacts): Pick<DiskMetadataStore, 'read'> {
    return new DiskMetadataStore(facts);
  }

  private constructor(facts: MetadataStoreFacts) {
    this.#facts = facts;
    this.#directory = `${facts.stateDirectory}/metadata`;
  }

  async read(name: RoleName): Promise<Uint8Array | undefined> {
    const stored = await this.#readChecked(name);
    if (stored !== undefined || name !== 'root') return stored;
    return this.#factoryRoot();
  }

  write(name: RoleName, bytes: Uint8Array): Promise<void> {
    const checked = concat(utf8(`${sha256Hex(bytes)}\n`), bytes);
    return writeDurably(this.#facts.disk, this.#path(name), checked);
  }

  remove(name: RoleName): Promise<void> {
    return removeDurably(this.#facts.disk, this.#path(name));
  }

  async #readChecked(name: RoleName): Promise<Uint8Array | undefined> {
    const path = this.#path(name);
    const bytes = await readCapped(this.#facts.disk, path, PREFIX_BYTES + METADATA_CAP_BYTES[name]);
    if (bytes === undefined) return undefined;
    if (bytes !== 'unusable') {
      const content = bytes.subarray(PREFIX_BYTES);
      const prefix = new TextDecoder().decode(bytes.subarray(0, PREFIX_BYTES));
      if (prefix === `${sha256Hex(content)}\n`) return content;
    }
    const cure = 'none needed: it is fetched and verified again; if this comes again, check the card';
    this.#facts.log.warn('a stored metadata file is damaged and not used', { code: 'metadata-damaged', path, cure });
    return undefined;
  }

  async #factoryRoot(): Promise<Uint8Array> {
    const path = this.#facts.factoryRootPath;
    const bytes = await readCapped(this.#facts.disk, path, METADATA_CAP_BYTES.root);
    if (bytes !== undefined && bytes !== 'unusable') return bytes;
    throw new Fault({
      code: 'factory-root-missing',
      what: 'there is no factory root metadata that can be read, so nothing can be trusted',
      where: path,
      cure: 'Put the root.json of this fleet there; agent.json names the place (factoryRoot).',
      exitStatus: EXIT.corrupt,
    });
  }

  #path(name: RoleName): string {
    if (!ROLE_NAMES.includes(name)) throw new RangeError(`no such role: ${name}`);
    return `${this.#directory}/${name}.json`;
  }
}

async function readCapped(disk: Disk, path: string, capBytes: number): Promise<Uint8Array | 'unusable' | undefined> {
  try {
    return await disk.readFile(path, capBytes);
  } catch (error) {
    // A bad block makes the file as useless as a wrong size does; the next write puts another in its place.
    if (error instanceof FileTooLarge || systemErrorCode(error) === 'EIO') return 'unusable';
    throw error;
  }
}
