/**
 * Notes every decision, for support (protocol/history.ts). Appended and not synced: a power cut may take the last lines.
 * Nothing hangs on it, so that a full or failing disk costs the note and never the update.
 */
import type { Disk } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import type { HistoryEntry } from '../../protocol/history.ts';
import { HISTORY_CAP_BYTES, HISTORY_FILE, OLDER_HISTORY_FILE } from '../../protocol/history-file.ts';

export class History {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #olderPath: string;
  /** A line that an earlier process left torn ends here. */
  #separator = '\n';

  constructor(disk: Disk, stateDirectory: string) {
    this.#disk = disk;
    this.#path = `${stateDirectory}/${HISTORY_FILE}`;
    this.#olderPath = `${stateDirectory}/${OLDER_HISTORY_FILE}`;
  }

  async note(entry: HistoryEntry): Promise<void> {
    const line = new TextEncoder().encode(`${this.#separator}${JSON.stringify(entry)}\n`);
    try {
      await this.#append(line);
      this.#separator = '';
    } catch (error) {
      // Bugs must surface; what a disk throws must not.
      if (systemErrorCode(error) === undefined) throw error;
    }
  }

  async #append(line: Uint8Array): Promise<void> {
    const file = await this.#open(line.length);
    try {
      await file.write(line, await file.sizeBytes());
    } finally {
      await file.close();
    }
  }

  async #open(moreBytes: number) {
    try {
      const file = await this.#disk.open(this.#path, 'update');
      if ((await file.sizeBytes()) + moreBytes <= HISTORY_CAP_BYTES) return file;
      await file.close();
      await this.#disk.rename(this.#path, this.#olderPath);
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    }
    return this.#disk.open(this.#path, 'create');
  }
}
