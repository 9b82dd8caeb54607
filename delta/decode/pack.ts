/**
 * One pack of a recipe, read and checked as a whole before any block is made of it: every operation inside its block,
 * every source inside the old image, every stream used up to its last byte.
 *
 * May not: read the old image.
 */
import { BLOCK_BYTES } from '../../trust/blocks.ts';
import {
  type Decoding,
  OPERATIONS,
  type PackEntry,
  PIECE_BYTES,
  type RecipeIndex,
  SOURCE_DIGEST_BYTES,
  STREAMS,
  type StreamName,
} from '../format.ts';
import { VarintReader } from '../varint.ts';
import { DifferenceCursor, type DifferencePlace } from './differences.ts';
import { unpackStream } from './streams.ts';

/** One operation: `sizeBytes` of the new block. */
export interface Operation {
  readonly kind: number;
  readonly sizeBytes: number;
  /** Of copies and additions: where in the old image. Of literals: where in their stream. */
  readonly at: number;
}

export interface BlockPlan {
  readonly sizeBytes: number;
  readonly operations: readonly Operation[];
  /** Where the differences of its first addition start. */
  readonly differences: DifferencePlace;
  /** Of everything that its patches read, in order; undefined where there is none. */
  readonly sourceDigest: Uint8Array | undefined;
}

export interface Pack {
  readonly entry: PackEntry;
  readonly blocks: readonly BlockPlan[];
  readonly streams: Readonly<Record<StreamName, Uint8Array>>;
}

export function decodePack(index: RecipeIndex, entry: PackEntry, packed: Uint8Array): Decoding<Pack> {
  if (packed.length !== entry.sizeBytes) return { ok: false, detail: `a pack of ${packed.length} bytes` };
  const streams: Partial<Record<StreamName, Uint8Array>> = {};
  let at = 0;
  for (const [place, name] of STREAMS.entries()) {
    const stream = entry.streams[place];
    const plain = stream && unpackStream(stream, packed.subarray(at, at + stream.packedBytes));
    if (stream === undefined || plain === undefined) return { ok: false, detail: `stream ${name} does not unpack` };
    streams[name] = plain;
    at += stream.packedBytes;
  }
  const whole = streams as Record<StreamName, Uint8Array>;
  try {
    return { ok: true, value: { entry, streams: whole, blocks: new PackReader(index, entry, whole).read() } };
  } catch (error) {
    if (error instanceof WrongOperation) return { ok: false, detail: error.message };
    throw error;
  }
}

/** Stays inside this file: decodePack makes a value of it. */
class WrongOperation extends Error {}

class PackReader {
  readonly #index: RecipeIndex;
  readonly #entry: PackEntry;
  readonly #streams: Readonly<Record<StreamName, Uint8Array>>;
  readonly #lengths: VarintReader;
  readonly #offsets: VarintReader;
  readonly #differences: DifferenceCursor;
  #kindsAt = 0;
  #literalsAt = 0;
  #digestsAt = 0;
  /** Where the last copy, and the last patch, ended in the old image: sources are told from there. */
  #copyEnd = 0;
  #patchEnd = 0;

  constructor(index: RecipeIndex, entry: PackEntry, streams: Readonly<Record<StreamName, Uint8Array>>) {
    this.#index = index;
    this.#entry = entry;
    this.#streams = streams;
    this.#lengths = new VarintReader(streams.lengths);
    this.#offsets = new VarintReader(streams.offsets);
    this.#differences = new DifferenceCursor(streams);
  }

  read(): BlockPlan[] {
    const blocks: BlockPlan[] = [];
    const { firstBlock, blockCount } = this.#entry;
    for (let number = firstBlock; number < firstBlock + blockCount; number += 1) {
      const sizeBytes = Math.min(BLOCK_BYTES, this.#index.newSizeBytes - number * BLOCK_BYTES);
      blocks.push(this.#block(sizeBytes));
    }
    const { kinds, literals, digests } = this.#streams;
    const used =
      this.#kindsAt === kinds.length &&
      this.#lengths.ended &&
      this.#offsets.ended &&
      this.#differences.ended &&
      this.#literalsAt === literals.length &&
      this.#digestsAt === digests.length;
    if (!used) throw new WrongOperation('a stream has more than its operations use');
    return blocks;
  }

  #block(sizeBytes: number): BlockPlan {
    const operations: Operation[] = [];
    const differences = this.#differences.place();
    let patched = false;
    for (let made = 0; made < sizeBytes; ) {
      const operation = this.#operation(sizeBytes - made);
      operations.push(operation);
      made += operation.sizeBytes;
      patched ||= operation.kind === OPERATIONS.add;
    }
    if (!patched) return { sizeBytes, operations, differences, sourceDigest: undefined };
    const sourceDigest = this.#streams.digests.subarray(this.#digestsAt, this.#digestsAt + SOURCE_DIGEST_BYTES);
    if (sourceDigest.length !== SOURCE_DIGEST_BYTES) throw new WrongOperation('a source digest is missing');
    this.#digestsAt += SOURCE_DIGEST_BYTES;
    return { sizeBytes, operations, differences, sourceDigest };
  }

  #operation(roomBytes: number): Operation {
    const kind = this.#streams.kinds[this.#kindsAt];
    this.#kindsAt += 1;
    const length = this.#lengths.unsigned() ?? 0;
    const pieces = kind === OPERATIONS.zero || kind === OPERATIONS.copy;
    const sizeBytes = pieces ? length * PIECE_BYTES : length;
    if (sizeBytes < 1 || sizeBytes > roomBytes) throw new WrongOperation(`${sizeBytes} bytes into ${roomBytes}`);
    switch (kind) {
      case OPERATIONS.zero:
        return { kind, sizeBytes, at: 0 };
      case OPERATIONS.copy:
        return { kind, sizeBytes, at: this.#copySource(sizeBytes) };
      case OPERATIONS.add:
        if (!this.#differences.skip(sizeBytes)) throw new WrongOperation('differences');
        return { kind, sizeBytes, at: this.#patchSource(sizeBytes) };
      case OPERATIONS.literal: {
        const at = this.#literalsAt;
        this.#literalsAt += sizeBytes;
        if (this.#literalsAt > this.#streams.literals.length) throw new WrongOperation('too few literals');
        return { kind, sizeBytes, at };
      }
      default:
        throw new WrongOperation(`operation ${kind}`);
    }
  }

  #copySource(sizeBytes: number): number {
    const source = this.#copyEnd + (this.#offsets.signed() ?? Number.NaN) * PIECE_BYTES;
    this.#copyEnd = source + sizeBytes;
    return this.#inside(source, sizeBytes);
  }

  #patchSource(sizeBytes: number): number {
    const source = this.#patchEnd + (this.#offsets.signed() ?? Number.NaN);
    this.#patchEnd = source + sizeBytes;
    return this.#inside(source, sizeBytes);
  }

  #inside(source: number, sizeBytes: number): number {
    if (source >= 0 && source + sizeBytes <= this.#index.oldSizeBytes) return source;
    throw new WrongOperation(`a source of ${sizeBytes} bytes at ${source}`);
  }
}
