/**
 * The TUF repository on disk, as it is served: `<version>.root.json`, `<version>.targets.json`,
 * `<version>.snapshot.json` and `timestamp.json`. Every file is written durably; all but the timestamp are immutable.
 */
import { join } from 'node:path';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../../platform/durable-file.ts';
import { METADATA_CAP_BYTES, type RoleName } from '../../trust/tuf/metadata.ts';

type Versioned = Exclude<RoleName, 'timestamp'>;

export class MetadataFolder {
  readonly #disk: Disk;
  readonly #directory: string;

  private constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  static async open(disk: Disk, directory: string): Promise<MetadataFolder> {
    await makeDirectoryDurably(disk, directory);
    return new MetadataFolder(disk, directory);
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  /** A file by its served name, whose form the caller has checked. Files above their role's cap count as absent. */
  async read(name: string): Promise<Uint8Array | undefined> {
    try {
      return await this.#disk.readFile(this.path(name), METADATA_CAP_BYTES.targets);
    } catch (error) {
      if (error instanceof FileTooLarge) return undefined;
      throw error;
    }
  }

  write(name: string, bytes: Uint8Array): Promise<void> {
    return writeDurably(this.#disk, this.path(name), bytes, 0o644);
  }

  /** Versions of a role's files, ascending. */
  async versions(role: Versioned): Promise<number[]> {
    const names = await this.#disk.list(this.#directory);
    const found = names.map((name) => new RegExp(`^([1-9]\\d{0,11})\\.${role}\\.json$`).exec(name)?.[1]);
    return found
      .filter((version) => version !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
  }
}
