/**
 * Differences between an old and a new piece of data in the manner of bsdiff (Colin Percival, "Naive differences of
 * executable code", 2003): ranges of the new that are nearly a range of the old, told as byte differences, and the rest.
 * Where bsdiff sorts suffixes (eight bytes and more of memory to each byte of the old), this keeps chains of positions
 * with the same eight bytes: five bytes to each, and time in proportion to the length.
 */

/** `newLength` bytes from `newStart`: nearly the old ones at `oldStart`, or (undefined) nothing of the old. */
export interface MatchSink {
  near(newStart: number, length: number, oldStart: number): void;
  fresh(newStart: number, length: number): void;
}

const SEED_BYTES = 8;
const CHAIN_AT_MOST = 48;
const COMPARE_AT_MOST = 2048;
const HASH_BITS_AT_MOST = 22;
/** bsdiff's: a match elsewhere must be so much better than going on as before. */
const BETTER_BY = 8;
/** So long a match at the place where we are needs no search for a better one. */
const GOOD_ENOUGH = 32;

/** Where each eight bytes of the old data stand. */
export class SeedIndex {
  readonly old: Uint8Array;
  readonly #view: DataView;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #shift: number;

  constructor(old: Uint8Array) {
    this.old = old;
    this.#view = new DataView(old.buffer, old.byteOffset, old.byteLength);
    const bits = Math.min(HASH_BITS_AT_MOST, Math.max(10, Math.ceil(Math.log2(old.length + 1))));
    this.#shift = 32 - bits;
    this.#heads = new Int32Array(1 << bits).fill(-1);
    this.#next = new Int32Array(Math.max(0, old.length - SEED_BYTES + 1));
    this.#fill();
  }

  #fill(): void {
    const last = this.old.length - SEED_BYTES;
    // From the end, so that a chain is walked in ascending order.
    for (let at = last; at >= 0; at -= 1) {
      const low = this.#view.getUint32(at, true);
      const high = this.#view.getUint32(at + 4, true);
      // In a run of one byte value every position is as good as the first.
      if (low === high && at < last && this.#view.getUint32(at + 1, true) === low) continue;
      const slot = hashOf(low, high) >>> this.#shift;
      this.#next[at] = this.#heads[slot] ?? -1;
      this.#heads[slot] = at;
    }
  }

  /** The longest match of `bytes` at `at`, of those looked at. Reuses its answer. */
  readonly found = { length: 0, start: 0 };

  search(bytes: Uint8Array, view: DataView, at: number): void {
    this.found.length = 0;
    if (at + SEED_BYTES > bytes.length) return;
    const slot = hashOf(view.getUint32(at, true), view.getUint32(at + 4, true)) >>> this.#shift;
    let looked = 0;
    for (let candidate = this.#heads[slot] ?? -1; candidate >= 0 && looked < CHAIN_AT_MOST; looked += 1) {
      const best = this.found.length;
      if (this.old[candidate + best] === bytes[at + best]) {
        const length = commonLength(this.old, candidate, bytes, at, COMPARE_AT_MOST);
        if (length > best) {
          this.found.length = length;
          this.found.start = candidate;
          if (length === COMPARE_AT_MOST) break;
        }
      }
      candidate = this.#next[candidate] ?? -1;
    }
    if (this.found.length < SEED_BYTES) this.found.length = 0;
  }
}

function hashOf(low: number, high: number): number {
  return Math.imul(low ^ Math.imul(high, 0x85ebca6b) ^ (high >>> 15), 0x9e3779b1) >>> 0;
}

function commonLength(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number, atMost: number): number {
  const end = Math.min(atMost, a.length - aStart, b.length - bStart);
  let length = 0;
  while (length < end && a[aStart + length] === b[bStart + length]) length += 1;
  return length;
}

/** Tells `sink` what `fresh` is made of, without gaps and in order. `guess`: where in the old its start may stand. */
export function matchNew(index: SeedIndex, fresh: Uint8Array, guess: number, sink: MatchSink): void {
  new Scan(index, fresh, guess, sink).run();
}

class Scan {
  readonly #index: SeedIndex;
  readonly #old: Uint8Array;
  readonly #new: Uint8Array;
  readonly #sink: MatchSink;
  #lastScan = 0;
  #lastPos: number;
  #lastOffset: number;

  constructor(index: SeedIndex, fresh: Uint8Array, guess: number, sink: MatchSink) {
    this.#index = index;
    this.#old = index.old;
    this.#new = fresh;
    this.#sink = sink;
    this.#lastPos = guess;
    this.#lastOffset = guess;
  }

  /** The loop of bsdiff 4.3, with its search replaced. */
  run(): void {
    const fresh = this.#new;
    const old = this.#old;
    const view = new DataView(fresh.buffer, fresh.byteOffset, fresh.byteLength);
    let scan = 0;
    let length = 0;
    let pos = 0;
    while (scan < fresh.length) {
      let oldScore = 0;
      scan += length;
      for (let scored = scan; scan < fresh.length; scan += 1) {
        const here = scan + this.#lastOffset;
        const going = here < old.length ? commonLength(old, here, fresh, scan, fresh.length) : 0;
        if (going >= GOOD_ENOUGH) {
          length = going;
          pos = here;
        } else {
          this.#index.search(fresh, view, scan);
          length = this.#index.found.length;
          pos = this.#index.found.start;
          if (length === COMPARE_AT_MOST) length = commonLength(old, pos, fresh, scan, fresh.length);
        }
        for (; scored < scan + length; scored += 1) {
          if (old[scored + this.#lastOffset] === fresh[scored]) oldScore += 1;
        }
        if ((length === oldScore && length !== 0) || length > oldScore + BETTER_BY) break;
        if (old[here] === fresh[scan]) oldScore -= 1;
      }
      if (length !== oldScore || scan >= fresh.length) this.#emit(Math.min(scan, fresh.length), pos);
    }
  }

  /** What lies between the last match and the one at `scan`: forward from one, backward from the other, or neither. */
  #emit(scan: number, pos: number): void {
    let forward = this.#forward(scan);
    let backward = scan < this.#new.length ? this.#backward(scan, pos) : 0;
    const overlap = this.#lastScan + forward - (scan - backward);
    if (overlap > 0) {
      const kept = this.#split(forward, backward, scan, pos, overlap);
      forward += kept - overlap;
      backward -= kept;
    }
    if (forward > 0) this.#sink.near(this.#lastScan, forward, this.#lastPos);
    const freshStart = this.#lastScan + forward;
    const freshLength = scan - backward - freshStart;
    if (freshLength > 0) this.#sink.fresh(freshStart, freshLength);
    this.#lastScan = scan - backward;
    this.#lastPos = pos - backward;
    this.#lastOffset = pos - scan;
  }

  #forward(scan: number): number {
    let equal = 0;
    let best = 0;
    let length = 0;
    for (let i = 0; this.#lastScan + i < scan && this.#lastPos + i < this.#old.length; ) {
      if (this.#old[this.#lastPos + i] === this.#new[this.#lastScan + i]) equal += 1;
      i += 1;
      if (equal * 2 - i > best * 2 - length) {
        best = equal;
        length = i;
      }
    }
    return length;
  }

  #backward(scan: number, pos: number): number {
    let equal = 0;
    let best = 0;
    let length = 0;
    for (let i = 1; scan >= this.#lastScan + i && pos >= i; i += 1) {
      if (this.#old[pos - i] === this.#new[scan - i]) equal += 1;
      if (equal * 2 - i > best * 2 - length) {
        best = equal;
        length = i;
      }
    }
    return length;
  }

  /** How much of the overlap belongs to the range before. */
  #split(forward: number, backward: number, scan: number, pos: number, overlap: number): number {
    let score = 0;
    let best = 0;
    let kept = 0;
    for (let i = 0; i < overlap; i += 1) {
      const before = this.#lastScan + forward - overlap + i;
      if (this.#new[before] === this.#old[this.#lastPos + forward - overlap + i]) score += 1;
      if (this.#new[scan - backward + i] === this.#old[pos - backward + i]) score -= 1;
      if (score > best) {
        best = score;
        kept = i + 1;
      }
    }
    return kept;
  }
}
