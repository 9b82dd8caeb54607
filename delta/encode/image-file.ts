/**
 * An image on disk, read by ranges, so that an encoder's memory does not grow with it. Synchronous, because encoding is
 * computing: it runs in a process or worker of its own.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface ImageRange {
  readonly offset: number;
  readonly length: number;
}

export class ImageFile {
  readonly sizeBytes: number;
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
    this.sizeBytes = fstatSync(this.#fd).size;
  }

  /** Exactly `length` bytes; throws RangeError past the end. */
  read(offset: number, length: number): Uint8Array {
    if (offset < 0 || offset + length > this.sizeBytes)
      throw new RangeError(`${length} bytes at ${offset} of an image`);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const got = readSync(this.#fd, bytes, done, length - done, offset + done);
      if (got === 0) throw new RangeError(`the image became shorter at ${offset + done}`);
      done += got;
    }
    return bytes;
  }

  /** Several ranges as one. */
  gather(ranges: readonly ImageRange[]): Uint8Array {
    const bytes = new Uint8Array(ranges.reduce((sum, range) => sum + range.length, 0));
    let at = 0;
    for (const range of ranges) {
      bytes.set(this.read(range.offset, range.length), at);
      at += range.length;
    }
    return bytes;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
