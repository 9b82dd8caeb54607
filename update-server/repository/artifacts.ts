/**
 * The artifact folder: `<2 hex>/<sha256>`, immutable, content-addressed. A name stands only for bytes that were hashed
 * and synced before it was given: uploads go to `uploads/`, and a cut upload leaves nothing but a file that the next
 * start removes. Never reads more than was declared.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Disk, DiskFile } from '../../platform/disk.ts';
import { makeDirectoryDurably } from '../../platform/durable-file.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import { hex } from '../../trust/bytes.ts';
import { Sha256 } from '../../trust/crypto.ts';

export const ARTIFACT_CAP_BYTES = 32 * 1024 ** 3;
const READ_PIECE_BYTES = 256 * 1024;

export type PutOutcome =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: string; readonly what: string; readonly cure: string };

const no = (code: string, what: string, cure: string): PutOutcome => ({ ok: false, code, what, cure });
const UPLOAD_AGAIN = 'Upload the file again; nothing of this upload was kept.';

export class ArtifactFolder {
  readonly #disk: Disk;
  readonly #directory: string;

  private constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Opens the folder, makes it when it is not there, and removes what cut uploads left. */
  static async open(disk: Disk, directory: string): Promise<ArtifactFolder> {
    const uploads = join(directory, 'uploads');
    await makeDirectoryDurably(disk, directory);
    await makeDirectoryDurably(disk, uploads);
    for (const name of await disk.list(uploads)) await disk.remove(join(uploads, name));
    return new ArtifactFolder(disk, directory);
  }

  /** Size in bytes of what is stored under this digest, or undefined. */
  async sizeOf(sha256: string): Promise<number | undefined> {
    try {
      return (await stat(this.path(sha256))).size;
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Bytes `first` to `last`, both inclusive. */
  read(sha256: string, first: number, last: number): Readable {
    return createReadStream(this.path(sha256), { start: first, end: last, highWaterMark: READ_PIECE_BYTES });
  }

  /** The whole of a small artifact, or undefined. Throws FileTooLarge above the cap. */
  readWhole(sha256: string, capBytes: number): Promise<Uint8Array | undefined> {
    return this.#disk.readFile(this.path(sha256), capBytes);
  }

  /** Stores a stream of exactly `sizeBytes` bytes that hash to `sha256`. What is there already is not read again. */
  async put(sha256: string, stream: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<PutOutcome> {
    if (sizeBytes > ARTIFACT_CAP_BYTES) {
      return no('artifact-too-large', `an artifact has at most ${ARTIFACT_CAP_BYTES} bytes`, 'Make the image smaller.');
    }
    if ((await this.sizeOf(sha256)) !== undefined) return { ok: true };
    const path = join(this.#directory, 'uploads', `${sha256}.${randomBytes(8).toString('hex')}`);
    const file = await this.#disk.open(path, 'create');
    try {
      const outcome = await receive(file, stream, sha256, sizeBytes);
      if (outcome.ok) await this.#keep(path, sha256);
      return outcome;
    } finally {
      await file.close();
      await this.#disk.remove(path);
    }
  }

  async #keep(upload: string, sha256: string): Promise<void> {
    const path = this.path(sha256);
    await makeDirectoryDurably(this.#disk, dirname(path));
    await this.#disk.rename(upload, path);
    await this.#disk.syncDirectory(dirname(path));
  }

  /** For a process that reads it by itself. Throws RangeError for what is no digest. */
  path(sha256: string): string {
    // The name comes from outside: anything but a digest would be a path of somebody else's choice.
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new RangeError('an artifact is named by its SHA-256');
    return join(this.#directory, sha256.slice(0, 2), sha256);
  }
}

async function receive(
  file: DiskFile,
  stream: AsyncIterable<Uint8Array>,
  sha256: string,
  sizeBytes: number,
): Promise<PutOutcome> {
  const hash = new Sha256();
  let receivedBytes = 0;
  for await (const piece of stream) {
    if (receivedBytes + piece.length > sizeBytes) {
      return no('artifact-too-large', `more bytes came than the ${sizeBytes} that were announced`, UPLOAD_AGAIN);
    }
    await file.write(piece, receivedBytes);
    hash.update(piece);
    receivedBytes += piece.length;
  }
  if (receivedBytes !== sizeBytes) {
    return no('artifact-cut-off', `${receivedBytes} of ${sizeBytes} bytes came`, UPLOAD_AGAIN);
  }
  const found = hex(hash.digest());
  if (found !== sha256) {
    return no('artifact-digest-mismatch', `the bytes hash to ${found}, not to ${sha256}`, UPLOAD_AGAIN);
  }
  await file.sync();
  return { ok: true };
}
