/**
 * An agent whose journal has a later format, N+1: what it writes goes through this disk, once its release runs. By the
 * rule it begins with the later format in Sealing, so that a trial leaves only what its predecessor reads.
 */
import type { Disk, DiskFile, OpenMode } from '../../../platform/disk.ts';
import { decodeCopy, encodeCopy } from '../../../platform/two-copy-record.ts';
import { STATE } from '../simulated-device.ts';

const FORMAT = { old: 'holdfast-journal-1', later: 'holdfast-journal-2' } as const;
const BEFORE_SEALING = ['armed', 'trial', 'confirming', 'rolling-back'];

export class NewerAgentDisk implements Disk {
  readonly #disk: Disk;
  readonly #runs: () => boolean;
  readonly #alsoInTrial: boolean;

  /** `runs`: is it the newer agent that is running? `alsoInTrial` breaks the rule, to see that it is noticed. */
  constructor(disk: Disk, runs: () => boolean, alsoInTrial = false) {
    this.#disk = disk;
    this.#runs = runs;
    this.#alsoInTrial = alsoInTrial;
  }

  async open(path: string, mode: OpenMode, permissions?: number): Promise<DiskFile> {
    const file = await this.#disk.open(path, mode, permissions);
    if (mode !== 'create' || !path.startsWith(`${STATE}/journal.`) || !this.#runs()) return file;
    return {
      read: (length, position) => file.read(length, position),
      readInto: (into, position) => file.readInto(into, position),
      write: (bytes, position) => file.write(this.#later(bytes), position),
      truncate: (lengthBytes) => file.truncate(lengthBytes),
      sizeBytes: () => file.sizeBytes(),
      sync: () => file.sync(),
      close: () => file.close(),
    };
  }

  /** The newer agent reads both formats; the older one finds the later one as it is. */
  async readFile(path: string, capBytes: number): Promise<Uint8Array | undefined> {
    const bytes = await this.#disk.readFile(path, capBytes);
    if (bytes === undefined || !path.startsWith(`${STATE}/journal.`) || !this.#runs()) return bytes;
    return changed(bytes, (journal) => {
      const { addedLater: _, ...known } = journal;
      return { ...known, format: FORMAT.old };
    });
  }

  rename = (from: string, to: string) => this.#disk.rename(from, to);
  remove = (path: string) => this.#disk.remove(path);
  makeDirectory = (path: string, permissions?: number) => this.#disk.makeDirectory(path, permissions);
  removeDirectory = (path: string) => this.#disk.removeDirectory(path);
  list = (path: string) => this.#disk.list(path);
  syncDirectory = (path: string) => this.#disk.syncDirectory(path);

  #later(bytes: Uint8Array): Uint8Array {
    return changed(bytes, (journal) => {
      if (BEFORE_SEALING.includes(String(journal.state)) && !this.#alsoInTrial) return journal;
      return { ...journal, format: FORMAT.later, addedLater: 1 };
    });
  }
}

function changed(bytes: Uint8Array, change: (journal: Record<string, unknown>) => Record<string, unknown>): Uint8Array {
  const copy = decodeCopy(bytes);
  if (copy === undefined) return bytes;
  const payload = JSON.stringify(change(JSON.parse(new TextDecoder().decode(copy.payload))));
  return encodeCopy({ generation: copy.generation, payload: new TextEncoder().encode(payload) });
}
