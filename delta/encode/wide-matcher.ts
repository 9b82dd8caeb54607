/**
 * Equal runs of 48 bytes and more anywhere in a large old image, at any offset: for images whose file system is not
 * known (squashfs packs files at byte offsets, so that an unchanged one lies at another place of its 4 KiB piece).
 * Every 32nd byte of the old image starts an entry; memory is four bytes to each and capped.
 */
import type { ImageFile } from './image-file.ts';
import type { MatchSink } from './matcher.ts';

const WINDOW_BYTES = 32;
const LEAST_MATCH_BYTES = 48;
const CHUNK_BYTES = 256 * 1024;
const CHUNKS_KEPT = 64;
const MULTIPLIER = 0x01000193;

/** MULTIPLIER to the power of the window, for taking a byte out of the rolling hash. */
const LEAVING = (() => {
  let power = 1;
  for (let i = 0; i < WINDOW_BYTES; i += 1) power = Math.imul(power, MULTIPLIER);
  return power;
})();

function mix(hash: number): number {
  const folded = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (folded ^ (folded >>> 13)) >>> 0;
}

export class WideIndex {
  readonly #image: ImageFile;
  readonly #heads: Int32Array;
  readonly #shift: number;
  readonly #stride: number;
  readonly #chunks = new Map<number, Uint8Array>();

  constructor(image: ImageFile, memoryBytes: number) {
    this.#image = image;
    let bits = 10;
    while (2 ** (bits + 3) <= memoryBytes && 2 ** bits * WINDOW_BYTES < image.sizeBytes * 2) bits += 1;
    this.#shift = 32 - bits;
    this.#stride = WINDOW_BYTES;
    this.#heads = new Int32Array(2 ** bits).fill(-1);
    for (let start = 0; start < image.sizeBytes; start += CHUNK_BYTES) {
      const bytes = image.read(start, Math.min(CHUNK_BYTES, image.sizeBytes - start));
      for (let at = 0; at + WINDOW_BYTES <= bytes.length; at += this.#stride) {
        const slot = mix(hashAt(bytes, at)) >>> this.#shift;
        if (this.#heads[slot] === -1) this.#heads[slot] = (start + at) / this.#stride;
      }
    }
  }

  candidate(hash: number): number {
    const entry = this.#heads[mix(hash) >>> this.#shift] ?? -1;
    return entry < 0 ? -1 : entry * this.#stride;
  }

  byteAt(position: number): number {
    if (position < 0 || position >= this.#image.sizeBytes) return -1;
    const number = Math.floor(position / CHUNK_BYTES);
    return this.#chunk(number)[position - number * CHUNK_BYTES] ?? -1;
  }

  #chunk(number: number): Uint8Array {
    const kept = this.#chunks.get(number);
    if (kept !== undefined) return kept;
    if (this.#chunks.size >= CHUNKS_KEPT) {
      const [oldest] = this.#chunks.keys();
      if (oldest !== undefined) this.#chunks.delete(oldest);
    }
    const start = number * CHUNK_BYTES;
    const bytes = this.#image.read(start, Math.min(CHUNK_BYTES, this.#image.sizeBytes - start));
    this.#chunks.set(number, bytes);
    return bytes;
  }
}

function hashAt(bytes: Uint8Array, at: number): number {
  let hash = 0;
  for (let i = 0; i < WINDOW_BYTES; i += 1) hash = (Math.imul(hash, MULTIPLIER) + (bytes[at + i] ?? 0)) | 0;
  return hash;
}

/** Tells `sink` what `fresh` is made of, without gaps and in order; old positions are those of the image. */
export function matchAnywhere(index: WideIndex, fresh: Uint8Array, sink: MatchSink): void {
  let told = 0;
  let hash = fresh.length >= WINDOW_BYTES ? hashAt(fresh, 0) : 0;
  for (let at = 0; at + WINDOW_BYTES <= fresh.length; ) {
    const candidate = index.candidate(hash);
    const match = candidate < 0 ? undefined : extend(index, fresh, at, candidate, told);
    if (match !== undefined) {
      if (match.start > told) sink.fresh(told, match.start - told);
      sink.near(match.start, match.length, match.source);
      told = match.start + match.length;
      at = told;
      if (at + WINDOW_BYTES <= fresh.length) hash = hashAt(fresh, at);
      continue;
    }
    hash = (Math.imul(hash, MULTIPLIER) + (fresh[at + WINDOW_BYTES] ?? 0) - Math.imul(fresh[at] ?? 0, LEAVING)) | 0;
    at += 1;
  }
  if (told < fresh.length) sink.fresh(told, fresh.length - told);
}

function extend(index: WideIndex, fresh: Uint8Array, at: number, candidate: number, told: number) {
  let length = 0;
  while (at + length < fresh.length && index.byteAt(candidate + length) === fresh[at + length]) length += 1;
  if (length < WINDOW_BYTES) return undefined;
  let back = 0;
  while (at - back > told && index.byteAt(candidate - back - 1) === fresh[at - back - 1]) back += 1;
  if (length + back < LEAST_MATCH_BYTES) return undefined;
  return { start: at - back, length: length + back, source: candidate - back };
}
