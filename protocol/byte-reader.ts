/** Flat binary formats of ours: unsigned integers, big-endian, and what is taken from the front. */

/** `value` in `bytes` bytes. A value that does not fit is a bug of the caller, who checked it. */
export function unsignedBytes(value: number, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  for (let at = bytes - 1, left = value; at >= 0; at -= 1, left = Math.floor(left / 256)) out[at] = left % 256;
  return out;
}

/** Takes from the front; every length was compared with what is left before it is taken. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.at;
  }

  /** A copy of the next bytes; undefined when there are not so many. */
  take(length: number): Uint8Array | undefined {
    if (length > this.left) return undefined;
    this.at += length;
    return this.#bytes.slice(this.at - length, this.at);
  }

  /** Undefined also beyond 2^53 − 1. */
  unsigned(length: number): number | undefined {
    const value = this.take(length)?.reduce((sum, byte) => sum * 256 + byte, 0);
    return value !== undefined && Number.isSafeInteger(value) ? value : undefined;
  }
}
