/** Deflate streams of an image in their puffed form: what is compared, and what is told. */

import { puff, unpuff } from '../decode/puff.ts';
import { DEFLATED_CAP_BYTES, PUFFED_CAP_BYTES } from '../format.ts';
import type { ImageFile } from './image-file.ts';
import type { StoredStream } from './parts.ts';

const KEPT = 16;
const scratch = new Uint8Array(PUFFED_CAP_BYTES);
/** As large as where a device makes streams: what has no room there is none. */
const back = new Uint8Array(DEFLATED_CAP_BYTES);

export class PuffedStreams {
  readonly #image: ImageFile;
  /** By offset, the one used longest ago first. */
  readonly #kept = new Map<number, Uint8Array | undefined>();

  constructor(image: ImageFile) {
    this.#image = image;
  }

  /** undefined where there is no deflate stream, or none that comes back the same. */
  of(stream: StoredStream): Uint8Array | undefined {
    const known = this.#kept.has(stream.offset);
    const puffed = known ? this.#kept.get(stream.offset) : this.#puff(stream);
    this.#kept.delete(stream.offset);
    this.#kept.set(stream.offset, puffed);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT && oldest !== undefined) this.#kept.delete(oldest);
    return puffed;
  }

  #puff({ offset, length, prefixBytes }: StoredStream): Uint8Array | undefined {
    const stored = this.#image.read(offset, length);
    const puffedBytes = puff(stored, prefixBytes, scratch);
    if (puffedBytes === undefined) return undefined;
    const puffed = scratch.slice(0, puffedBytes);
    const same = unpuff(puffed, prefixBytes, back) === length && Buffer.compare(back.subarray(0, length), stored) === 0;
    return same ? puffed : undefined;
  }
}
