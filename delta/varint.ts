/**
 * Whole numbers as LEB128, in one spelling each. Signed ones are folded first (0, −1, 1, −2, …).
 *
 * Invariants: a reader never passes its end and takes no number of 2⁴⁸ or more, nor one with needless bytes.
 */

const AT_MOST = 2 ** 48;

export class VarintReader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get ended(): boolean {
    return this.at === this.#bytes.length;
  }

  /** undefined at the end, and for anything that a writer does not write. */
  unsigned(): number | undefined {
    let value = 0;
    for (let scale = 1; scale < AT_MOST; scale *= 128) {
      const byte = this.#bytes[this.at];
      if (byte === undefined) return undefined;
      this.at += 1;
      value += (byte & 127) * scale;
      if (byte < 128) return (byte === 0 && scale > 1) || value >= AT_MOST ? undefined : value;
    }
    return undefined;
  }

  signed(): number | undefined {
    const folded = this.unsigned();
    if (folded === undefined) return undefined;
    return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
  }
}

/** Grows as it is written. */
export class ByteWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length] = value;
    this.#length += 1;
  }

  bytes(values: Uint8Array): void {
    this.#reserve(values.length);
    this.#bytes.set(values, this.#length);
    this.#length += values.length;
  }

  /** Throws RangeError for what a reader would refuse. */
  unsigned(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= AT_MOST) throw new RangeError(`${value} is no length`);
    let left = value;
    while (left >= 128) {
      this.byte((left % 128) | 128);
      left = Math.floor(left / 128);
    }
    this.byte(left);
  }

  signed(value: number): void {
    this.unsigned(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  /** What was written; the writer is empty afterwards. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return taken;
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}
