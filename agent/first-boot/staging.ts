/**
 * What an epoch keeps on the data partition until it is verified: `epoch-N/` with what providers staged (0700, files
 * 0600), and `escrow-N`, the sealed blob.
 *
 * Invariants: everything written is durable once it is written; an epoch's number stands in the names, so that a lost
 * record can count on from them. What is removed is gone for good once a function returns; flash that moves what is
 * written may keep old blocks.
 */
import { createHash } from 'node:crypto';
import type { Disk } from '../../platform/disk.ts';
import { makeDirectoryDurably, removeDurably, writeDurably } from '../../platform/durable-file.ts';
import { ESCROW_CAP_BYTES } from '../../protocol/credentials.ts';
import type { Staging } from '../core/first-boot-ports.ts';

/** Keys, hashes, lists of keys: anything larger is a mistake. */
const STAGED_FILE_CAP_BYTES = 256 * 1024;
const NAME = /^(epoch|escrow)-(\d{1,15})(?:\.new)?$/;

/** Takes the bytes of a file away where they lie (erase-file.ts). */
export type EraseFile = (path: string) => Promise<void>;

export class EpochFolder {
  readonly #disk: Disk;
  readonly directory: string;
  readonly #erase: EraseFile | undefined;

  /** `erase` is for who discards. */
  constructor(disk: Disk, directory: string, erase?: EraseFile) {
    this.#disk = disk;
    this.directory = directory;
    this.#erase = erase;
  }

  /** The highest number that any name carries; 0 without one. */
  async highestEpoch(): Promise<number> {
    const names = await this.#disk.list(this.directory);
    return Math.max(0, ...names.map((name) => Number(NAME.exec(name)?.[2] ?? 0)));
  }

  /** An empty folder for this epoch; `discardStaged` was called before. */
  async makeStaging(epoch: number): Promise<void> {
    await makeDirectoryDurably(this.#disk, `${this.directory}/epoch-${epoch}`);
  }

  /** Its own names for each provider: two that call something `key` do not meet. */
  staging(epoch: number, provider: string): Staging {
    const path = (name: string): string =>
      `${this.directory}/epoch-${epoch}/${encodeURIComponent(provider)}.${checked(name)}`;
    return {
      epoch,
      read: (name, capBytes) => this.#disk.readFile(path(name), capBytes),
      write: (name, bytes) => writeDurably(this.#disk, path(name), bytes),
    };
  }

  /** SHA-256 over names and bytes of everything that is staged. A file that cannot be read counts as another one. */
  async stagedDigest(epoch: number): Promise<string> {
    const folder = `${this.directory}/epoch-${epoch}`;
    const digest = createHash('sha256');
    for (const name of await this.#disk.list(folder)) {
      const bytes = await this.#disk.readFile(`${folder}/${name}`, STAGED_FILE_CAP_BYTES).catch(() => undefined);
      digest.update(`${name}\0${bytes?.length ?? 'unreadable'}\0`);
      digest.update(bytes ?? new Uint8Array());
    }
    return digest.digest('hex');
  }

  /** Everything staged, of every epoch, is overwritten and gone: what was applied stands with its consumer, and nowhere else. */
  async discardStaged(): Promise<void> {
    for (const name of await this.#disk.list(this.directory)) {
      if (NAME.exec(name)?.[1] !== 'epoch') continue;
      const folder = `${this.directory}/${name}`;
      for (const file of await this.#disk.list(folder)) {
        await this.#erase?.(`${folder}/${file}`);
        await this.#disk.remove(`${folder}/${file}`);
      }
      await this.#disk.removeDirectory(folder);
      await this.#disk.syncDirectory(this.directory);
    }
  }

  async keepEscrow(epoch: number, blob: Uint8Array): Promise<void> {
    await writeDurably(this.#disk, this.#escrowPath(epoch), blob);
  }

  /** Undefined when there is none. Throws FileTooLarge for what no escrow is. */
  readEscrow(epoch: number): Promise<Uint8Array | undefined> {
    return this.#disk.readFile(this.#escrowPath(epoch), ESCROW_CAP_BYTES);
  }

  #escrowPath(epoch: number): string {
    return `${this.directory}/escrow-${epoch}`;
  }

  /** Blobs of the epochs before: called once this one is verified, never earlier. */
  async discardEscrowBefore(epoch: number): Promise<void> {
    for (const name of await this.#disk.list(this.directory)) {
      const found = NAME.exec(name);
      if (found?.[1] !== 'escrow' || Number(found[2]) >= epoch) continue;
      await removeDurably(this.#disk, `${this.directory}/${name}`);
    }
  }
}

/** With the provider's name before it and `.new` behind, a file's name has at most 255 bytes. */
function checked(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._@-]{0,54}$/.test(name)) return name;
  throw new RangeError(`not a name for something staged: ${name}`);
}
