/**
 * A part of a file as bytes: a whole image, or one partition of it.
 *
 * Invariants: nothing outside of the part is ever read; what lies past its end is a RangeError, never zeros.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export class ByteSource {
  readonly #file: number;
  readonly path: string;
  readonly startBytes: number;
  readonly sizeBytes: number;

  private constructor(file: number, path: string, startBytes: number, sizeBytes: number) {
    this.#file = file;
    this.path = path;
    this.startBytes = startBytes;
    this.sizeBytes = sizeBytes;
  }

  static open(path: string): ByteSource {
    const file = openSync(path, 'r');
    return new ByteSource(file, path, 0, fstatSync(file).size);
  }

  /** Cut to what is there: an image may end before its partition table says. */
  part(startBytes: number, sizeBytes: number): ByteSource {
    const start = Math.min(Math.max(0, startBytes), this.sizeBytes);
    const size = Math.max(0, Math.min(sizeBytes, this.sizeBytes - start));
    return new ByteSource(this.#file, this.path, this.startBytes + start, size);
  }

  read(offset: number, length: number): Buffer {
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new RangeError(`bytes ${offset} to ${offset + length} of ${this.sizeBytes}`);
    }
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const got = readSync(this.#file, bytes, at, length - at, this.startBytes + offset + at);
      if (got === 0) throw new RangeError('the file became shorter');
      at += got;
    }
    return bytes;
  }

  /** Ends all parts. */
  close(): void {
    closeSync(this.#file);
  }
}
