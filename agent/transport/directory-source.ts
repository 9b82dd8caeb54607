/**
 * The same files from a directory: a USB stick, a mirror on disk. `metadata/` and `targets/` lie in it as the server
 * serves them, and where somebody put them there, packed blocks and recipes in `transport/`. The verifier is the same; only physical presence is different, and that is the caller's to say.
 */
import { join, sep } from 'node:path';
import { type Disk, FileTooLarge } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { type ImageTransport, type RangeMemory, type ReleaseSource, SourceUnreachable } from '../core/ports.ts';

export class DirectorySource implements ReleaseSource {
  readonly description: string;
  readonly #disk: Disk;
  readonly #directory: string;

  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
    this.description = directory;
  }

  fetchMetadata(name: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>> {
    return this.#read(this.#inside('metadata', name), capBytes);
  }

  async fetchTarget(path: string, capBytes: number): Promise<Verdict<Uint8Array>> {
    const file = this.#inside('targets', path);
    const bytes = await this.#read(file, capBytes);
    if (!bytes.ok) return bytes;
    if (bytes.value === undefined) throw new SourceUnreachable(`there is no file ${file}`);
    return accept(bytes.value);
  }

  async fetchRange(path: string, offset: number, length: number, into?: RangeMemory): Promise<Verdict<Uint8Array>> {
    const file = this.#inside('targets', path);
    try {
      const opened = await this.#disk.open(file, 'read');
      try {
        const bytes = into?.bytes ?? new Uint8Array(length);
        const found = await opened.readInto(bytes, offset);
        if (into !== undefined) into.received = found;
        if (found === length) return accept(bytes);
        return refuse('image-size-mismatch', `${path}: ${found} of ${length} bytes at offset ${offset}`);
      } finally {
        await opened.close();
      }
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      throw new SourceUnreachable(`${file} cannot be read (${systemErrorCode(error)})`, { cause: error });
    }
  }

  get transport(): ImageTransport {
    return {
      read: async (path, offset, into) => {
        const file = this.#inside('transport', path.slice(DEVICE_PATHS.transport.length + 1));
        try {
          const opened = await this.#disk.open(file, 'read');
          try {
            const totalBytes = await opened.sizeBytes();
            into.received = await opened.readInto(into.bytes, offset);
            return { found: 'bytes', bytes: into.bytes.subarray(0, into.received), totalBytes };
          } finally {
            await opened.close();
          }
        } catch (error) {
          // A whole image may still lie beside it.
          if (systemErrorCode(error) === undefined) throw error;
          return { found: 'nothing', why: `${file}: ${systemErrorCode(error)}` };
        }
      },
      askPieces: async () => ({ found: 'nothing', why: 'a directory cuts no pieces' }),
    };
  }

  async #read(file: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>> {
    try {
      return accept(await this.#disk.readFile(file, capBytes));
    } catch (error) {
      if (error instanceof FileTooLarge)
        return refuse('transfer-endless', `${file} has ${error.sizeBytes} bytes, at most ${capBytes} are read`);
      if (systemErrorCode(error) === undefined) throw error;
      throw new SourceUnreachable(`${file} cannot be read (${systemErrorCode(error)})`, { cause: error });
    }
  }

  /** Paths come from metadata that is not verified yet: none may lead out of the folder. */
  #inside(folder: 'metadata' | 'targets' | 'transport', path: string): string {
    const base = join(this.#directory, folder);
    const file = join(base, path);
    if (!file.startsWith(base + sep)) throw new SourceUnreachable(`${path} leads out of ${base}`);
    return file;
  }
}
