/**
 * The bytes of one simulated file at one moment. Immutable: a write makes another content that shares every page it did
 * not touch, so that a disk with images on it is cut in microseconds, and equal contents are found by identity.
 *
 * Invariant: bytes of the last page beyond the end are zero.
 */
import { createHash } from 'node:crypto';

const PAGE_BYTES = 4096;
const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

export class FileContent {
  static readonly EMPTY = new FileContent(0, []);
  readonly length: number;
  readonly #pages: readonly Uint8Array[];
  #whole: Uint8Array | undefined;

  private constructor(length: number, pages: readonly Uint8Array[]) {
    this.length = length;
    this.#pages = pages;
  }

  /** All of it; the same array each time, which nobody changes. */
  get bytes(): Uint8Array {
    this.#whole ??= this.read(this.length, 0);
    return this.#whole;
  }

  /** A copy of up to `length` bytes at `position`; fewer only at the end. */
  read(length: number, position: number): Uint8Array {
    const found = new Uint8Array(Math.max(Math.min(length, this.length - position), 0));
    this.readInto(found, position);
    return found;
  }

  /** Fills `into` from `position`; answers how many bytes came. */
  readInto(into: Uint8Array, position: number): number {
    let at = 0;
    for (const piece of this.pieces(into.length, position)) {
      into.set(piece, at);
      at += piece.length;
    }
    return at;
  }

  /** SHA-256 of a part, hex; nothing is copied. */
  digest(length = this.length, position = 0): string {
    const hash = createHash('sha256');
    for (const piece of this.pieces(length, position)) hash.update(piece);
    return hash.digest('hex');
  }

  /** The same bytes in pieces that nobody may change. */
  *pieces(length: number, position: number): Generator<Uint8Array> {
    const end = Math.min(position + length, this.length);
    for (let at = position; at < end; ) {
      const page = this.#pages[Math.floor(at / PAGE_BYTES)] ?? ZERO_PAGE;
      const from = at % PAGE_BYTES;
      const piece = page.subarray(from, from + Math.min(end - at, PAGE_BYTES - from));
      yield piece;
      at += piece.length;
    }
  }

  /** `bytes` are kept, not copied: the caller gives them away. */
  written(bytes: Uint8Array, position: number): FileContent {
    if (bytes.length === 0) return this;
    const length = Math.max(this.length, position + bytes.length);
    const pages = this.#pages.slice();
    while (pages.length < Math.ceil(length / PAGE_BYTES)) pages.push(ZERO_PAGE);
    for (let at = 0; at < bytes.length; ) {
      const index = Math.floor((position + at) / PAGE_BYTES);
      const from = (position + at) % PAGE_BYTES;
      const piece = bytes.subarray(at, at + PAGE_BYTES - from);
      if (piece.length === PAGE_BYTES) pages[index] = piece;
      else {
        const page = (pages[index] ?? ZERO_PAGE).slice();
        page.set(piece, from);
        pages[index] = page;
      }
      at += piece.length;
    }
    return new FileContent(length, pages);
  }

  truncated(length: number): FileContent {
    if (length === this.length) return this;
    const pages = this.#pages.slice(0, Math.ceil(length / PAGE_BYTES));
    while (pages.length < Math.ceil(length / PAGE_BYTES)) pages.push(ZERO_PAGE);
    const last = pages.length - 1;
    const rest = length % PAGE_BYTES;
    if (length < this.length && rest !== 0) pages[last] = (pages[last] ?? ZERO_PAGE).slice().fill(0, rest);
    return new FileContent(length, pages);
  }
}
