/**
 * What a plan says of the new image: piece by piece the parts it is made of.
 *
 * Invariants: the parts of a piece add up to it, in order.
 */
import { PIECE_BYTES } from '../format.ts';
import type { ImageFile, ImageRange } from './image-file.ts';
import { SeedIndex } from './matcher.ts';

/** A part of a piece: `length` bytes that are nearly those at `source` of the old image; −1: like nothing. */
export interface Part {
  readonly length: number;
  readonly source: number;
  /** Where the part belongs to a deflate stream that is made anew: `source` is the place in that stream. */
  readonly stream?: DeflateStream | undefined;
}

/** A deflate stream that the old image has, as it is stored; `prefixBytes` before it are no deflate. */
export interface StoredStream extends ImageRange {
  readonly prefixBytes: number;
}

/** One of the new image, to be made of old ones. */
export interface DeflateStream extends StoredStream {
  readonly inputs: readonly StoredStream[];
  /** Of its puffed form; sources are in the inputs puffed, one after another. */
  readonly parts: readonly Part[];
}

/** What a piece belongs to, for the profile. */
export const OWNERS = ['file', 'directory', 'inodes', 'structure', 'unknown'] as const;
export type Owner = (typeof OWNERS)[number];

export const ZERO = -1;
export const MISSING = -2;

export interface Plan {
  /** By piece: the old piece with this content, ZERO or MISSING. */
  readonly sources: Int32Array;
  /** For missing pieces: their parts, which add up to the piece. Where there are none, it is literal. */
  readonly parts: Map<number, Part[]>;
  readonly owners: Map<number, Owner>;
}

export interface PlanSettings {
  /** Of old data compared at a time; memory is about six times as much. */
  readonly sourceBytesAtMost: number;
  readonly onProgress: (step: string, done: number, total: number) => void;
}

/** Old data as one, and where in the image each byte of it is. */
export class Source {
  readonly index: SeedIndex;
  readonly #ranges: readonly ImageRange[];
  readonly #starts: number[] = [];

  constructor(image: ImageFile, ranges: readonly ImageRange[]) {
    this.#ranges = ranges;
    let at = 0;
    for (const range of ranges) {
      this.#starts.push(at);
      at += range.length;
    }
    this.index = new SeedIndex(image.gather(ranges));
  }

  /** `length` bytes at `start` of the data, as ranges of the image. */
  *locate(start: number, length: number): Generator<ImageRange> {
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= start) low = middle;
      else high = middle - 1;
    }
    for (let done = 0; done < length; low += 1) {
      const range = this.#ranges[low];
      if (range === undefined) throw new RangeError('beyond the source');
      const within = start + done - (this.#starts[low] ?? 0);
      const taken = Math.min(length - done, range.length - within);
      yield { offset: range.offset + within, length: taken };
      done += taken;
    }
  }
}

/** Cuts what the matcher tells at piece boundaries. */
export class PartCollector {
  readonly #firstPiece: number;
  readonly #source: Pick<Source, 'locate'>;
  readonly #plan: Plan;
  readonly #owner: Owner;

  constructor(firstPiece: number, source: Pick<Source, 'locate'>, plan: Plan, owner: Owner) {
    this.#firstPiece = firstPiece;
    this.#source = source;
    this.#plan = plan;
    this.#owner = owner;
  }

  near(newStart: number, length: number, oldStart: number): void {
    let at = newStart;
    for (const range of this.#source.locate(oldStart, length)) {
      this.#put(at, range.length, range.offset);
      at += range.length;
    }
  }

  fresh(newStart: number, length: number): void {
    this.#put(newStart, length, -1);
  }

  #put(start: number, length: number, source: number): void {
    for (let done = 0; done < length; ) {
      const at = start + done;
      const piece = this.#firstPiece + Math.floor(at / PIECE_BYTES);
      const taken = Math.min(length - done, PIECE_BYTES - (at % PIECE_BYTES));
      const part = { length: taken, source: source < 0 ? -1 : source + done };
      const parts = this.#plan.parts.get(piece);
      if (parts === undefined) this.#plan.parts.set(piece, [part]);
      else parts.push(part);
      this.#plan.owners.set(piece, this.#owner);
      done += taken;
    }
  }
}
