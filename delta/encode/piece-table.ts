/**
 * The 4 KiB pieces of an old image by their content: 24 bytes and a few to each, whatever the image's size.
 *
 * Pieces count as equal when the first 128 bits of their SHA-256 are; the encoder's result is applied and compared
 * before it is given out, so that a collision costs a recipe, never an image.
 */
import { hash } from 'node:crypto';
import { PIECE_BYTES } from '../format.ts';
import type { ImageFile } from './image-file.ts';

const READ_BYTES = 1024 * 1024;
const WORDS = 4;

export class PieceTable {
  readonly count: number;
  readonly #digests: Uint32Array;
  readonly #slots: Int32Array;
  readonly #mask: number;

  constructor(image: ImageFile, onRead: (bytes: number) => void = () => {}) {
    this.count = Math.floor(image.sizeBytes / PIECE_BYTES);
    this.#digests = new Uint32Array(this.count * WORDS);
    let slots = 1024;
    while (slots < this.count * 2) slots *= 2;
    this.#slots = new Int32Array(slots).fill(-1);
    this.#mask = slots - 1;
    let number = 0;
    for (let at = 0; number < this.count; at += READ_BYTES) {
      const bytes = image.read(at, Math.min(READ_BYTES, this.count * PIECE_BYTES - at));
      for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
        this.#insert(number, digestOf(bytes.subarray(start, start + PIECE_BYTES)));
        number += 1;
      }
      onRead(bytes.length);
    }
  }

  /** The first old piece with this content, or −1. `preferred` is taken when it has the same content. */
  find(digest: Uint32Array, preferred: number): number {
    if (preferred >= 0 && preferred < this.count && this.#equal(preferred, digest)) return preferred;
    for (let slot = (digest[0] ?? 0) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const number = this.#slots[slot] ?? -1;
      if (number < 0 || this.#equal(number, digest)) return number;
    }
  }

  #insert(number: number, digest: Uint32Array): void {
    this.#digests.set(digest, number * WORDS);
    for (let slot = (digest[0] ?? 0) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const there = this.#slots[slot] ?? -1;
      if (there >= 0 && this.#equal(there, digest)) return;
      if (there >= 0) continue;
      this.#slots[slot] = number;
      return;
    }
  }

  #equal(number: number, digest: Uint32Array): boolean {
    const at = number * WORDS;
    for (let word = 0; word < WORDS; word += 1) if (this.#digests[at + word] !== digest[word]) return false;
    return true;
  }
}

export function digestOf(piece: Uint8Array): Uint32Array {
  const digest = hash('sha256', piece, 'buffer');
  return new Uint32Array(digest.buffer.slice(digest.byteOffset, digest.byteOffset + WORDS * 4));
}
