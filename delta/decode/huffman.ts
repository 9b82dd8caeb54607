/**
 * Canonical Huffman codes of deflate (RFC 1951 §3.2.2), for reading and for writing.
 *
 * Invariants: lengths that oversubscribe the code are refused; an incomplete code is taken (zlib writes one for a single
 * distance), and bits that stand for nothing are refused when they are read.
 */

export const CODE_BITS_AT_MOST = 15;
/** Where a written code's length stands. */
export const CODE_BITS = 16;
export const CODE_MASK = (1 << CODE_BITS) - 1;
const FAST_BITS = 10;
export const FAST_MASK = (1 << FAST_BITS) - 1;

/** Symbols by their code: those of few bits in one look, the others bit by bit. */
export class SymbolReader {
  /** By the next FAST_BITS bits: length << 9 | symbol; 0 where the code is longer or none. */
  readonly fast = new Uint16Array(1 << FAST_BITS);
  readonly #counts = new Uint16Array(CODE_BITS_AT_MOST + 1);
  readonly #symbols: Uint16Array;

  constructor(symbolsAtMost: number) {
    this.#symbols = new Uint16Array(symbolsAtMost);
  }

  /** `false` when the lengths are no code. */
  build(lengths: Uint8Array): boolean {
    const starts = countCodes(lengths, this.#counts);
    if (starts === undefined) return false;
    this.fast.fill(0);
    const places = new Uint16Array(CODE_BITS_AT_MOST + 1);
    for (let bits = 1; bits < CODE_BITS_AT_MOST; bits += 1) {
      places[bits + 1] = (places[bits] ?? 0) + (this.#counts[bits] ?? 0);
    }
    for (let symbol = 0; symbol < lengths.length; symbol += 1) {
      const bits = lengths[symbol] ?? 0;
      if (bits === 0) continue;
      this.#symbols[places[bits] ?? 0] = symbol;
      places[bits] = (places[bits] ?? 0) + 1;
      const code = starts[bits] ?? 0;
      starts[bits] = code + 1;
      for (let at = reversed(code, bits); bits <= FAST_BITS && at < this.fast.length; at += 1 << bits) {
        this.fast[at] = (bits << 9) | symbol;
      }
    }
    return true;
  }

  /** For a code of more than FAST_BITS bits, which start in `hold`: length << 9 | symbol; 0 for none. */
  slow(hold: number): number {
    let code = 0;
    let first = 0;
    let place = 0;
    for (let bits = 1; bits <= CODE_BITS_AT_MOST; bits += 1) {
      code |= (hold >>> (bits - 1)) & 1;
      const count = this.#counts[bits] ?? 0;
      if (code - first < count) return (bits << 9) | (this.#symbols[place + code - first] ?? 0);
      place += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    return 0;
  }
}

/**
 * The code of each symbol as it is written, its bits reversed, with its length above CODE_BITS; 0: no code. `false` when
 * the lengths are no code.
 */
export function writeCodes(lengths: Uint8Array, codes: Uint32Array): boolean {
  const starts = countCodes(lengths, new Uint16Array(CODE_BITS_AT_MOST + 1));
  if (starts === undefined) return false;
  codes.fill(0);
  for (let symbol = 0; symbol < lengths.length; symbol += 1) {
    const bits = lengths[symbol] ?? 0;
    const code = starts[bits] ?? 0;
    starts[bits] = code + 1;
    codes[symbol] = bits === 0 ? 0 : (bits << CODE_BITS) | reversed(code, bits);
  }
  return true;
}

/** The first code of each length; `counts` is filled. */
function countCodes(lengths: Uint8Array, counts: Uint16Array): Uint16Array | undefined {
  counts.fill(0);
  for (const bits of lengths) counts[bits] = (counts[bits] ?? 0) + 1;
  counts[0] = 0;
  const starts = new Uint16Array(CODE_BITS_AT_MOST + 1);
  let code = 0;
  for (let bits = 1; bits <= CODE_BITS_AT_MOST; bits += 1) {
    code = (code + (counts[bits - 1] ?? 0)) << 1;
    starts[bits] = code;
    if (code + (counts[bits] ?? 0) > 1 << bits) return undefined;
  }
  return starts;
}

function reversed(code: number, bits: number): number {
  let left = code;
  let turned = 0;
  for (let bit = 0; bit < bits; bit += 1) {
    turned = (turned << 1) | (left & 1);
    left >>>= 1;
  }
  return turned;
}
