/**
 * Deflate streams spelled in whole bytes and back ("puffed", after ChromiumOS's puffin): the same blocks, codes and
 * matches, so that two streams of nearly the same text are nearly the same bytes, and the very stream comes back
 * whatever program wrote it. Nothing is decompressed: a match stays a match.
 *
 * Puffed: `prefix` bytes as they are (the header of zlib or gzip) · blocks · what follows the last block as it is.
 * A block: one byte final | type << 1. Stored: u16 length, bytes. Dynamic: three counts, lengths of the code of
 * lengths, lengths run by run (16 + n: repeat 3 + n; 20 + n: 3 + n zeros; 28 + n: 11 + n zeros), one byte each. Then
 * tokens: 0 … 126: n + 1 literals follow; 127: the block ends; 128 + n: a match of 3 + n bytes (255: another byte more),
 * its distance − 1 in two bytes.
 *
 * Invariants: neither direction reads past its input nor writes past its output; every loop takes input or gives output.
 */
import { CODE_BITS, CODE_BITS_AT_MOST, CODE_MASK, FAST_MASK, SymbolReader, writeCodes } from './huffman.ts';

const STORED = 0;
const FIXED = 1;
const DYNAMIC = 2;
const END = 127;
const MATCH = 128;
const LONG_MATCH = 255;
const LITERALS_AT_MOST = 127;
const END_SYMBOL = 256;
/** The symbol of the shortest match. */
const LENGTHS_FROM = 257;
/** So many bits are there at least when a symbol is read: a code and the bits after a length's. */
const REFILL_BITS = 22;
const DISTANCE_AT_MOST = 32_768;
const DISTANCE_SYMBOLS = 30;

const LENGTH_ORDER = Uint8Array.of(16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15);
const LENGTH_EXTRA = Uint8Array.of(
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  1,
  1,
  1,
  1,
  2,
  2,
  2,
  2,
  3,
  3,
  3,
  3,
  4,
  4,
  4,
  4,
  5,
  5,
  5,
  5,
  0,
);
const LENGTH_BASE = new Uint16Array(29);
const DISTANCE_EXTRA = new Uint8Array(DISTANCE_SYMBOLS);
const DISTANCE_BASE = new Uint16Array(DISTANCE_SYMBOLS);
/** Length − 3 to its symbol − 257. */
const LENGTH_SYMBOL = new Uint8Array(256);
const FIXED_LENGTHS = new Uint8Array(288);
const FIXED_DISTANCES = new Uint8Array(DISTANCE_SYMBOLS).fill(5);

for (let symbol = 0, base = 3; symbol < 28; symbol += 1) {
  LENGTH_BASE[symbol] = base;
  LENGTH_SYMBOL.fill(symbol, base - 3);
  base += 1 << (LENGTH_EXTRA[symbol] ?? 0);
}
LENGTH_BASE[28] = 258;
LENGTH_SYMBOL[255] = 28;
for (let symbol = 0, base = 1; symbol < DISTANCE_SYMBOLS; symbol += 1) {
  DISTANCE_EXTRA[symbol] = symbol < 4 ? 0 : (symbol >> 1) - 1;
  DISTANCE_BASE[symbol] = base;
  base += 1 << (DISTANCE_EXTRA[symbol] ?? 0);
}
FIXED_LENGTHS.fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280);

/** Length of what was written into `out`; undefined: `bytes` holds no such stream, or `out` is too short. */
export function puff(bytes: Uint8Array, prefix: number, out: Uint8Array): number | undefined {
  return new Puffer(bytes, out).run(prefix);
}

/** The stream of which `puffed` is the puffed form. Undefined as above. */
export function unpuff(puffed: Uint8Array, prefix: number, out: Uint8Array): number | undefined {
  return new Unpuffer(puffed, out).run(prefix);
}

const lengths = new Uint8Array(288 + 32);
const codeLengths = new Uint8Array(19);

class Puffer {
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  static readonly #codes = new SymbolReader(19);
  static readonly #symbols = new SymbolReader(288);
  static readonly #distances = new SymbolReader(32);
  #at = 0;
  #to = 0;
  #hold = 0;
  #held = 0;

  constructor(bytes: Uint8Array, out: Uint8Array) {
    this.#in = bytes;
    this.#out = out;
  }

  run(prefix: number): number | undefined {
    if (prefix > this.#in.length || this.#in.length > this.#out.length) return undefined;
    this.#out.set(this.#in.subarray(0, prefix));
    this.#at = this.#to = prefix;
    for (let final = false; !final; ) {
      const head = this.#bits(3);
      final = (head & 1) === 1;
      this.#put(head);
      const type = head >> 1;
      const done = type === STORED ? this.#stored() : this.#codesOf(type) && this.#tokens();
      if (!done) return undefined;
    }
    if (!this.#align()) return undefined;
    const rest = this.#in.subarray(this.#at);
    if (this.#to + rest.length > this.#out.length) return undefined;
    this.#out.set(rest, this.#to);
    return this.#to + rest.length;
  }

  /** Past the end zeros are read: `#align` and `#tokens` look whether that was so. */
  #bits(count: number): number {
    while (this.#held < count) {
      this.#hold |= (this.#in[this.#at] ?? 0) << this.#held;
      this.#at += 1;
      this.#held += 8;
    }
    const value = this.#hold & ((1 << count) - 1);
    this.#hold >>>= count;
    this.#held -= count;
    return value;
  }

  /** Past the end nothing is written: who ends looks whether that was so. */
  #put(byte: number): void {
    this.#out[this.#to] = byte;
    this.#to += 1;
  }

  /** Up to the next whole byte, and back to what was not used. */
  #align(): boolean {
    if (this.#bits(this.#held & 7) !== 0) return false;
    this.#at -= this.#held >> 3;
    this.#hold = this.#held = 0;
    return this.#at <= this.#in.length && this.#to <= this.#out.length;
  }

  #stored(): boolean {
    if (!this.#align()) return false;
    const length = this.#bits(16);
    if (this.#bits(16) !== (length ^ 0xffff)) return false;
    this.#put(length >> 8);
    this.#put(length & 255);
    const bytes = this.#in.subarray(this.#at, this.#at + length);
    if (bytes.length !== length || this.#to + length > this.#out.length) return false;
    this.#out.set(bytes, this.#to);
    this.#at += length;
    this.#to += length;
    return true;
  }

  #codesOf(type: number): boolean {
    if (type === FIXED) return Puffer.#symbols.build(FIXED_LENGTHS) && Puffer.#distances.build(FIXED_DISTANCES);
    if (type !== DYNAMIC) return false;
    const symbols = this.#bits(5) + 257;
    const distances = this.#bits(5) + 1;
    const count = this.#bits(4) + 4;
    this.#put(symbols - 257);
    this.#put(distances - 1);
    this.#put(count - 4);
    codeLengths.fill(0);
    for (let place = 0; place < count; place += 1) {
      const bits = this.#bits(3);
      codeLengths[LENGTH_ORDER[place] ?? 0] = bits;
      this.#put(bits);
    }
    if (!Puffer.#codes.build(codeLengths)) return false;
    for (let at = 0; at < symbols + distances; ) {
      const symbol = this.#symbol(Puffer.#codes);
      if (symbol < 0) return false;
      const more = symbol < 16 ? 0 : this.#bits(symbol === 16 ? 2 : symbol === 17 ? 3 : 7);
      const spelled = symbol < 17 ? symbol + more : symbol === 17 ? 20 + more : 28 + more;
      this.#put(spelled);
      at = spellLengths(spelled, at, symbols + distances);
      if (at < 0) return false;
    }
    return (
      Puffer.#symbols.build(lengths.subarray(0, symbols)) &&
      Puffer.#distances.build(lengths.subarray(symbols, symbols + distances))
    );
  }

  #symbol(reader: SymbolReader): number {
    while (this.#held < CODE_BITS_AT_MOST) {
      this.#hold |= (this.#in[this.#at] ?? 0) << this.#held;
      this.#at += 1;
      this.#held += 8;
    }
    const entry = reader.fast[this.#hold & FAST_MASK] || reader.slow(this.#hold);
    if (entry === 0) return -1;
    this.#hold >>>= entry >> 9;
    this.#held -= entry >> 9;
    return entry & 511;
  }

  /** In local variables throughout: this is what taking an image apart spends its time on. */
  #tokens(): boolean {
    const bytes = this.#in;
    const out = this.#out;
    const symbols = Puffer.#symbols;
    const distances = Puffer.#distances;
    const symbolsFast = symbols.fast;
    const distancesFast = distances.fast;
    let at = this.#at;
    let to = this.#to;
    let hold = this.#hold;
    let held = this.#held;
    let runAt = 0;
    let run = 0;
    // Input that has ended reads as zeros; a token takes at most six bytes of it, and gives at most four.
    while (at <= bytes.length + 6 && to + 5 <= out.length) {
      for (; held <= REFILL_BITS; held += 8) {
        hold |= (bytes[at] ?? 0) << held;
        at += 1;
      }
      const entry = symbolsFast[hold & FAST_MASK] || symbols.slow(hold);
      if (entry === 0) return false;
      hold >>>= entry >> 9;
      held -= entry >> 9;
      const symbol = entry & 511;
      if (symbol < END_SYMBOL) {
        if (run === 0) {
          runAt = to;
          to += 1;
        }
        out[to] = symbol;
        out[runAt] = run;
        to += 1;
        run = run === LITERALS_AT_MOST - 1 ? 0 : run + 1;
        continue;
      }
      run = 0;
      if (symbol === END_SYMBOL) {
        this.#at = at;
        this.#to = to;
        this.#hold = hold;
        this.#held = held;
        this.#put(END);
        return true;
      }
      const extra = LENGTH_EXTRA[symbol - LENGTHS_FROM] ?? 0;
      const over = (LENGTH_BASE[symbol - LENGTHS_FROM] ?? 0) + (hold & ((1 << extra) - 1)) - 3;
      hold >>>= extra;
      held -= extra;
      // 258 has two spellings, and two symbols stand for nothing: only what comes back the same is taken.
      if (LENGTH_SYMBOL[over] !== symbol - LENGTHS_FROM) return false;
      for (; held <= REFILL_BITS; held += 8) {
        hold |= (bytes[at] ?? 0) << held;
        at += 1;
      }
      const place = distancesFast[hold & FAST_MASK] || distances.slow(hold);
      hold >>>= place >> 9;
      held -= place >> 9;
      for (; held <= REFILL_BITS; held += 8) {
        hold |= (bytes[at] ?? 0) << held;
        at += 1;
      }
      const more = DISTANCE_EXTRA[place & 511] ?? -1;
      if (place === 0 || more < 0) return false;
      const distance = (DISTANCE_BASE[place & 511] ?? 0) + (hold & ((1 << more) - 1)) - 1;
      hold >>>= more;
      held -= more;
      if (over < LONG_MATCH - MATCH) out[to] = MATCH + over;
      else {
        out[to] = LONG_MATCH;
        to += 1;
        out[to] = over - (LONG_MATCH - MATCH);
      }
      out[to + 1] = distance >> 8;
      out[to + 2] = distance;
      to += 3;
    }
    return false;
  }
}

/** Sets what one byte of a puffed code says, from `at` on; the next place, or −1. */
function spellLengths(spelled: number, at: number, end: number): number {
  if (spelled < 16) {
    lengths[at] = spelled;
    return at + 1;
  }
  const again = spelled < 20;
  const count = again ? spelled - 13 : spelled - 17;
  if (at + count > end || spelled > 155 || (again && at === 0)) return -1;
  lengths.fill(again ? (lengths[at - 1] ?? 0) : 0, at, at + count);
  return at + count;
}

class Unpuffer {
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  static readonly #lengthCodes = new Uint32Array(19);
  static readonly #symbols = new Uint32Array(288);
  static readonly #distances = new Uint32Array(32);
  #symbolBits = FIXED_LENGTHS;
  #distanceBits = FIXED_DISTANCES;
  #at = 0;
  #to = 0;
  #hold = 0;
  #held = 0;

  constructor(puffed: Uint8Array, out: Uint8Array) {
    this.#in = puffed;
    this.#out = out;
  }

  run(prefix: number): number | undefined {
    if (prefix > this.#in.length || prefix > this.#out.length) return undefined;
    this.#out.set(this.#in.subarray(0, prefix));
    this.#at = this.#to = prefix;
    for (let final = false; !final; ) {
      const head = this.#take();
      final = (head & 1) === 1;
      if (head > 5) return undefined;
      this.#bits(head, 3);
      const type = head >> 1;
      const done = type === STORED ? this.#stored() : this.#codesOf(type) && this.#tokens();
      if (!done || this.#to > this.#out.length) return undefined;
    }
    this.#align();
    const rest = this.#in.subarray(this.#at);
    if (this.#at > this.#in.length || this.#to + rest.length > this.#out.length) return undefined;
    this.#out.set(rest, this.#to);
    return this.#to + rest.length;
  }

  /** Past the end: what no block, code or token starts with. */
  #take(): number {
    const byte = this.#in[this.#at] ?? 255;
    this.#at += 1;
    return byte;
  }

  /** Past the end nothing is written: who ends looks whether that was so. At most 16 bits. */
  #bits(value: number, count: number): void {
    this.#hold |= value << this.#held;
    this.#held += count;
    while (this.#held >= 8) {
      this.#out[this.#to] = this.#hold;
      this.#to += 1;
      this.#hold >>>= 8;
      this.#held -= 8;
    }
  }

  #align(): void {
    if (this.#held > 0) this.#bits(0, 8 - this.#held);
  }

  #stored(): boolean {
    const length = (this.#take() << 8) | this.#take();
    this.#align();
    this.#bits(length, 16);
    this.#bits(length ^ 0xffff, 16);
    const bytes = this.#in.subarray(this.#at, this.#at + length);
    if (bytes.length !== length || this.#to + length > this.#out.length) return false;
    this.#out.set(bytes, this.#to);
    this.#at += length;
    this.#to += length;
    return true;
  }

  #codesOf(type: number): boolean {
    if (type === FIXED) {
      this.#symbolBits = FIXED_LENGTHS;
      this.#distanceBits = FIXED_DISTANCES;
    } else {
      const counts = [this.#take(), this.#take(), this.#take()] as const;
      if (counts[0] > 31 || counts[1] > 31 || counts[2] > 15) return false;
      this.#bits(counts[0], 5);
      this.#bits(counts[1], 5);
      this.#bits(counts[2], 4);
      if (!this.#dynamic(counts[0] + 257, counts[1] + 1, counts[2] + 4)) return false;
    }
    return writeCodes(this.#symbolBits, Unpuffer.#symbols) && writeCodes(this.#distanceBits, Unpuffer.#distances);
  }

  #dynamic(symbols: number, distances: number, count: number): boolean {
    codeLengths.fill(0);
    for (let place = 0; place < count; place += 1) {
      const bits = this.#take();
      if (bits > 7) return false;
      codeLengths[LENGTH_ORDER[place] ?? 0] = bits;
      this.#bits(bits, 3);
    }
    if (!writeCodes(codeLengths, Unpuffer.#lengthCodes)) return false;
    for (let at = 0; at < symbols + distances; ) {
      const spelled = this.#take();
      const symbol = spelled < 16 ? spelled : spelled < 20 ? 16 : spelled < 28 ? 17 : 18;
      at = spellLengths(spelled, at, symbols + distances);
      const code = Unpuffer.#lengthCodes[symbol] ?? 0;
      if (at < 0 || code === 0) return false;
      this.#bits(code & CODE_MASK, code >> CODE_BITS);
      if (symbol === 16) this.#bits(spelled - 16, 2);
      if (symbol === 17) this.#bits(spelled - 20, 3);
      if (symbol === 18) this.#bits(spelled - 28, 7);
    }
    // Both are read until the block's end, and set anew before.
    this.#symbolBits = lengths.subarray(0, symbols);
    this.#distanceBits = lengths.subarray(symbols, symbols + distances);
    return true;
  }

  #tokens(): boolean {
    const bytes = this.#in;
    const out = this.#out;
    const symbols = Unpuffer.#symbols;
    const distances = Unpuffer.#distances;
    let at = this.#at;
    let to = this.#to;
    let hold = this.#hold;
    let held = this.#held;
    while (at < bytes.length) {
      const token = bytes[at] ?? 0;
      at += 1;
      if (token === END) {
        this.#at = at;
        this.#to = to;
        this.#hold = hold;
        this.#held = held;
        const end = symbols[END_SYMBOL] ?? 0;
        this.#bits(end & CODE_MASK, end >> CODE_BITS);
        return end !== 0;
      }
      // The most that one token gives.
      if (to + LITERALS_AT_MOST * 2 + 6 > out.length) return false;
      if (token < END) {
        const end = at + token + 1;
        if (end > bytes.length) return false;
        for (; at < end; at += 1) {
          const code = symbols[bytes[at] ?? 0] ?? 0;
          if (code === 0) return false;
          hold |= (code & CODE_MASK) << held;
          held += code >> CODE_BITS;
          if (held >= 16) {
            out[to] = hold;
            out[to + 1] = hold >> 8;
            to += 2;
            hold >>>= 16;
            held -= 16;
          }
        }
        continue;
      }
      let over = token - MATCH;
      if (token === LONG_MATCH) {
        over += bytes[at] ?? 255;
        at += 1;
      }
      const distance = ((bytes[at] ?? 255) << 8) | (bytes[at + 1] ?? 255);
      at += 2;
      if (at > bytes.length || over > 255 || distance >= DISTANCE_AT_MOST) return false;
      const symbol = LENGTH_SYMBOL[over] ?? 0;
      const code = symbols[LENGTHS_FROM + symbol] ?? 0;
      const high = 31 - Math.clz32(distance);
      const place = distance < 2 ? distance : 2 * high + ((distance >> (high - 1)) & 1);
      const placeCode = distances[place] ?? 0;
      if (code === 0 || placeCode === 0) return false;
      hold |= (code & CODE_MASK) << held;
      held += code >> CODE_BITS;
      if (held >= 16) {
        out[to] = hold;
        out[to + 1] = hold >> 8;
        to += 2;
        hold >>>= 16;
        held -= 16;
      }
      hold |= (over + 3 - (LENGTH_BASE[symbol] ?? 0)) << held;
      held += LENGTH_EXTRA[symbol] ?? 0;
      if (held >= 16) {
        out[to] = hold;
        out[to + 1] = hold >> 8;
        to += 2;
        hold >>>= 16;
        held -= 16;
      }
      hold |= (placeCode & CODE_MASK) << held;
      held += placeCode >> CODE_BITS;
      if (held >= 16) {
        out[to] = hold;
        out[to + 1] = hold >> 8;
        to += 2;
        hold >>>= 16;
        held -= 16;
      }
      hold |= (distance + 1 - (DISTANCE_BASE[place] ?? 0)) << held;
      held += DISTANCE_EXTRA[place] ?? 0;
      if (held >= 16) {
        out[to] = hold;
        out[to + 1] = hold >> 8;
        to += 2;
        hold >>>= 16;
        held -= 16;
      }
    }
    return false;
  }
}
