/**
 * One pack of a recipe: its streams unpacked, and a reader of its operations. A pack is read as a whole before any block
 * is made of it: every operation inside its block, every source inside the old image, every stream used up to its last
 * byte. To make a block the operations are read again from where they start: nothing is kept for each, because a pack has
 * tens of thousands and the device little memory.
 *
 * May not: read the old image.
 */
import { BLOCK_BYTES } from '../../trust/blocks.ts';
import {
  BLOCK_PUFFED_CAP_BYTES,
  DEFLATED_CAP_BYTES,
  type Decoding,
  INPUTS_AT_MOST,
  OPERATIONS,
  type PackEntry,
  PIECE_BYTES,
  PUFFED_CAP_BYTES,
  type RecipeIndex,
  SOURCE_DIGEST_BYTES,
  STREAMS,
  type StreamName,
} from '../format.ts';
import { VarintReader } from '../varint.ts';
import { DifferenceCursor, type DifferencePlace } from './differences.ts';
import { releaseBytes, unpackStream } from './streams.ts';

type Streams = Readonly<Record<StreamName, Uint8Array>>;

export interface Pack {
  readonly entry: PackEntry;
  readonly reader: PackReader;
  /** By block: where its operations start. */
  readonly places: readonly PackPlace[];
  /** Gives the memory back: nothing can be read of it any more. */
  release(): void;
}

/** Nothing of the pack lies in `packed` afterwards. */
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
  const reader = new PackReader(streams as Streams, index.oldSizeBytes);
  try {
    const release = (): void => Object.values(streams).forEach(releaseBytes);
    return { ok: true, value: { entry, reader, places: checkAll(reader, index, entry), release } };
  } catch (error) {
    if (error instanceof WrongOperation) return { ok: false, detail: error.message };
    throw error;
  }
}

/** Stays inside this file: decodePack makes a value of it. */
class WrongOperation extends Error {}

function checkAll(reader: PackReader, index: RecipeIndex, { firstBlock, blockCount }: PackEntry): PackPlace[] {
  const places: PackPlace[] = [];
  for (let number = firstBlock; number < firstBlock + blockCount; number += 1) {
    places.push(reader.place());
    checkBlock(reader, Math.min(BLOCK_BYTES, index.newSizeBytes - number * BLOCK_BYTES));
  }
  if (!reader.ended) throw new WrongOperation('a stream has more than its operations use');
  return places;
}

function checkBlock(reader: PackReader, sizeBytes: number): void {
  let patched = false;
  for (let made = 0; made < sizeBytes; ) {
    reader.next(sizeBytes - made);
    made += reader.sizeBytes;
    patched = checkDifferences(reader) || patched;
    if (reader.kind !== OPERATIONS.deflate) continue;
    const { puffedBytes } = reader.deflate;
    for (let puffed = 0; puffed < puffedBytes; puffed += reader.sizeBytes) {
      reader.nextPuffed(puffedBytes - puffed);
      checkDifferences(reader);
    }
  }
  if (patched) reader.sourceDigest();
}

function checkDifferences(reader: PackReader): boolean {
  if (reader.kind !== OPERATIONS.add) return false;
  if (reader.differences.skip(reader.sizeBytes)) return true;
  throw new WrongOperation('differences');
}

/** Where to go on in all streams. */
export interface PackPlace {
  readonly at: readonly number[];
  readonly differences: DifferencePlace;
}

/** An old deflate stream, and what it is once puffed. */
export interface DeflateInput {
  at: number;
  sizeBytes: number;
  prefixBytes: number;
  puffedBytes: number;
}

/** A deflate stream to be made; its puffed form is told by the operations that follow. */
export interface DeflatePlan {
  /** Its first byte that the block takes. */
  start: number;
  prefixBytes: number;
  puffedBytes: number;
  /** Puffed, one after another, these are what its additions read. */
  inputs: DeflateInput[];
}

export class PackReader {
  /** The operation read last: its bytes of the new block (or of the puffed stream). */
  kind = 0;
  sizeBytes = 0;
  /** Of copies, moves and additions: where in the old image (puffed: in the inputs). Of literals: where in their stream. */
  at = 0;
  /** Of a `deflate`. */
  readonly deflate: DeflatePlan = { start: 0, prefixBytes: 0, puffedBytes: 0, inputs: [] };
  /** The next differences: whoever reads an addition takes or skips its own. */
  differences: DifferenceCursor;
  readonly literals: Uint8Array;
  readonly #streams: Streams;
  readonly #oldSizeBytes: number;
  readonly #lengths: VarintReader;
  readonly #offsets: VarintReader;
  readonly #deflated: VarintReader;
  #kindsAt = 0;
  #literalsAt = 0;
  #digestsAt = 0;
  /** Where the last copy, the last addition or move, and the last input ended in the old image: sources are told from there. */
  #copyEnd = 0;
  #patchEnd = 0;
  #inputEnd = 0;
  /** Where the last addition of this stream ended in its inputs, and their length. */
  #puffedEnd = 0;
  #inputBytes = 0;
  /** What the streams of this block are puffed, with their inputs. */
  #blockPuffedBytes = 0;

  constructor(streams: Streams, oldSizeBytes: number) {
    this.#streams = streams;
    this.#oldSizeBytes = oldSizeBytes;
    this.literals = streams.literals;
    this.#lengths = new VarintReader(streams.lengths);
    this.#offsets = new VarintReader(streams.offsets);
    this.#deflated = new VarintReader(streams.deflated);
    this.differences = new DifferenceCursor(streams);
  }

  get ended(): boolean {
    const { kinds, literals, digests } = this.#streams;
    return (
      this.#kindsAt === kinds.length &&
      this.#lengths.ended &&
      this.#offsets.ended &&
      this.#deflated.ended &&
      this.differences.ended &&
      this.#literalsAt === literals.length &&
      this.#digestsAt === digests.length
    );
  }

  /** Between blocks only. */
  place(): PackPlace {
    this.#blockPuffedBytes = 0;
    return {
      at: [
        this.#kindsAt,
        this.#literalsAt,
        this.#digestsAt,
        this.#lengths.at,
        this.#offsets.at,
        this.#deflated.at,
        this.#copyEnd,
        this.#patchEnd,
        this.#inputEnd,
      ],
      differences: this.differences.place(),
    };
  }

  goTo({ at, differences }: PackPlace): void {
    const [
      kinds = 0,
      literals = 0,
      digests = 0,
      lengths = 0,
      offsets = 0,
      deflated = 0,
      copy = 0,
      patch = 0,
      input = 0,
    ] = at;
    this.#kindsAt = kinds;
    this.#literalsAt = literals;
    this.#digestsAt = digests;
    this.#lengths.at = lengths;
    this.#offsets.at = offsets;
    this.#deflated.at = deflated;
    this.#copyEnd = copy;
    this.#patchEnd = patch;
    this.#inputEnd = input;
    this.#blockPuffedBytes = 0;
    this.differences = new DifferenceCursor(this.#streams, differences);
  }

  /** The next operation, of at most `roomBytes`. Throws WrongOperation; never where decodePack has been before. */
  next(roomBytes: number): void {
    this.#read(roomBytes);
    switch (this.kind) {
      case OPERATIONS.zero:
        return;
      case OPERATIONS.copy:
        this.at = this.#inside(this.#copyEnd + this.#offset() * PIECE_BYTES, this.sizeBytes);
        this.#copyEnd = this.at + this.sizeBytes;
        return;
      case OPERATIONS.add:
      case OPERATIONS.move:
        this.at = this.#inside(this.#patchEnd + this.#offset(), this.sizeBytes);
        this.#patchEnd = this.at + this.sizeBytes;
        return;
      case OPERATIONS.literal:
        this.#literal();
        return;
      case OPERATIONS.deflate:
        this.#readDeflate();
        return;
      default:
        throw new WrongOperation(`operation ${this.kind}`);
    }
  }

  /** The next operation of the puffed form of `deflate`. */
  nextPuffed(roomBytes: number): void {
    this.#read(roomBytes);
    if (this.kind === OPERATIONS.literal) {
      this.#literal();
      return;
    }
    if (this.kind !== OPERATIONS.add) throw new WrongOperation(`operation ${this.kind} in a deflate stream`);
    this.at = this.#puffedEnd + this.#offset();
    this.#puffedEnd = this.at + this.sizeBytes;
    if (this.at >= 0 && this.#puffedEnd <= this.#inputBytes) return;
    throw new WrongOperation(`a source at ${this.at} of ${this.#inputBytes} puffed bytes`);
  }

  /** Of everything that the block's additions read of the old image, in order. */
  sourceDigest(): Uint8Array {
    const digest = this.#streams.digests.subarray(this.#digestsAt, this.#digestsAt + SOURCE_DIGEST_BYTES);
    if (digest.length !== SOURCE_DIGEST_BYTES) throw new WrongOperation('a source digest is missing');
    this.#digestsAt += SOURCE_DIGEST_BYTES;
    return digest;
  }

  #read(roomBytes: number): void {
    this.kind = this.#streams.kinds[this.#kindsAt] ?? -1;
    this.#kindsAt += 1;
    const length = this.#lengths.unsigned() ?? 0;
    const pieces = this.kind === OPERATIONS.zero || this.kind === OPERATIONS.copy;
    this.sizeBytes = pieces ? length * PIECE_BYTES : length;
    this.at = 0;
    if (this.sizeBytes < 1 || this.sizeBytes > roomBytes) {
      throw new WrongOperation(`${this.sizeBytes} bytes into ${roomBytes}`);
    }
  }

  #literal(): void {
    this.at = this.#literalsAt;
    this.#literalsAt += this.sizeBytes;
    if (this.#literalsAt > this.literals.length) throw new WrongOperation('too few literals');
  }

  #readDeflate(): void {
    const { deflate } = this;
    deflate.start = this.#below(DEFLATED_CAP_BYTES - this.sizeBytes);
    deflate.prefixBytes = this.#below(DEFLATED_CAP_BYTES);
    deflate.puffedBytes = this.#below(PUFFED_CAP_BYTES);
    const count = this.#below(INPUTS_AT_MOST);
    deflate.inputs = [];
    this.#inputBytes = 0;
    for (let number = 0; number < count; number += 1) {
      const offset = this.#deflated.signed() ?? Number.NaN;
      const sizeBytes = this.#below(DEFLATED_CAP_BYTES);
      const at = this.#inside(this.#inputEnd + offset, sizeBytes);
      const input = { at, sizeBytes, prefixBytes: this.#below(sizeBytes), puffedBytes: this.#below(PUFFED_CAP_BYTES) };
      this.#inputEnd = at + sizeBytes;
      this.#inputBytes += input.puffedBytes;
      deflate.inputs.push(input);
    }
    this.#blockPuffedBytes += this.#inputBytes + deflate.puffedBytes;
    if (this.#inputBytes > PUFFED_CAP_BYTES || this.#blockPuffedBytes > BLOCK_PUFFED_CAP_BYTES) {
      throw new WrongOperation(`${this.#blockPuffedBytes} bytes puffed`);
    }
    this.#puffedEnd = 0;
  }

  #below(cap: number): number {
    const value = this.#deflated.unsigned() ?? Number.NaN;
    if (value <= cap) return value;
    throw new WrongOperation(`a deflate stream of ${value}, at most ${cap}`);
  }

  #offset(): number {
    return this.#offsets.signed() ?? Number.NaN;
  }

  #inside(source: number, sizeBytes: number): number {
    if (source >= 0 && source + sizeBytes <= this.#oldSizeBytes) return source;
    throw new WrongOperation(`a source of ${sizeBytes} bytes at ${source}`);
  }
}
