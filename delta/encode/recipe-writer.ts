/**
 * A plan as a recipe: block by block into streams, streams into packs, each compressed by whichever of the codecs makes
 * it smallest.
 */

import { promisify } from 'node:util';
import { brotliCompress, constants, zstdCompress } from 'node:zlib';
import { BLOCK_BYTES } from '../../trust/blocks.ts';
import { Sha256 } from '../../trust/crypto.ts';
import {
  BLOCK_PUFFED_CAP_BYTES,
  CODECS,
  OPERATIONS,
  type PackEntry,
  PIECE_BYTES,
  SOURCE_DIGEST_BYTES,
  STREAMS,
  type StreamEntry,
  type StreamName,
} from '../format.ts';
import { ByteWriter } from '../varint.ts';
import type { ImageFile } from './image-file.ts';
import {
  type DeflateStream,
  MISSING,
  OWNERS,
  type Owner,
  type Part,
  type Plan,
  type StoredStream,
  ZERO,
} from './parts.ts';
import { PuffedStreams } from './puffed-source.ts';

/** A pack is closed once its streams have so many bytes; it stays below the format's cap, whatever its last block. */
export const PACK_PLAIN_BYTES = 2 * 1024 * 1024;
/** Fewer equal bytes than this between two that differ go into the run. */
const GAP_FROM_BYTES = 4;
/** An addition of so many bytes that are all equal is told as a move. */
const MOVE_FROM_BYTES = 256;
/** Unpacking brotli takes three to four times the CPU of zstd: it must be smaller by this share. */
const WORTH_SLOW_UNPACKING = 0.06;

export interface PackedPack {
  readonly entry: PackEntry;
  readonly streams: readonly Uint8Array[];
}

/** What the new image's bytes are made of, and what the missing ones cost before compression. */
export interface Profile {
  pieces: { zero: number; copied: number; missing: number };
  /** By stream, compressed. */
  packed: Record<StreamName, number>;
  /** By owner: missing pieces, differences that are not zero, and literals. */
  owners: Record<Owner, { pieces: number; differences: number; literals: number; deflated: number }>;
  operations: number;
}

interface Pending {
  kind: number;
  /** Bytes of the new image. */
  length: number;
  source: number;
  stream: DeflateStream | undefined;
}

export class RecipeWriter {
  readonly #old: ImageFile;
  readonly #new: ImageFile;
  readonly #plan: Plan;
  readonly #packPlainBytes: number;
  #streams = newStreams();
  #copyEnd = 0;
  #patchEnd = 0;
  #inputEnd = 0;
  /** Of the block that is being written. */
  #blockPuffedBytes = 0;
  readonly #oldStreams: PuffedStreams;
  readonly #newStreams: PuffedStreams;
  /** The run that is being written, and the equal bytes since. */
  #runBytes = 0;
  #equalBytes = 0;
  readonly profile: Profile = {
    pieces: { zero: 0, copied: 0, missing: 0 },
    packed: Object.fromEntries(STREAMS.map((name) => [name, 0])) as Record<StreamName, number>,
    owners: Object.fromEntries(
      OWNERS.map((name) => [name, { pieces: 0, differences: 0, literals: 0, deflated: 0 }]),
    ) as Profile['owners'],
    operations: 0,
  };

  constructor(old: ImageFile, fresh: ImageFile, plan: Plan, packPlainBytes: number = PACK_PLAIN_BYTES) {
    this.#old = old;
    this.#new = fresh;
    this.#plan = plan;
    this.#oldStreams = new PuffedStreams(old);
    this.#newStreams = new PuffedStreams(fresh);
    this.#packPlainBytes = packPlainBytes;
  }

  /** One pack after another, in order. `onBlock` hears each block of the new image, for its digest. */
  async *packs(onBlock: (bytes: Uint8Array) => void): AsyncGenerator<PackedPack> {
    const count = Math.ceil(this.#new.sizeBytes / BLOCK_BYTES);
    let firstBlock = 0;
    for (let number = 0; number < count; number += 1) {
      const start = number * BLOCK_BYTES;
      const bytes = this.#new.read(start, Math.min(BLOCK_BYTES, this.#new.sizeBytes - start));
      onBlock(bytes);
      this.#block(start, bytes);
      const plainBytes = STREAMS.reduce((sum, name) => sum + this.#streams[name].length, 0);
      if (plainBytes < this.#packPlainBytes && number + 1 < count) continue;
      yield await this.#close(firstBlock, number + 1 - firstBlock);
      firstBlock = number + 1;
    }
  }

  #block(start: number, bytes: Uint8Array): void {
    const sources = new Sha256();
    let patched = false;
    this.#blockPuffedBytes = 0;
    let at = 0;
    for (const pending of this.#operations(start, bytes)) {
      const out = bytes.subarray(at, at + pending.length);
      patched = this.#write(pending, out, sources) || patched;
      at += pending.length;
    }
    if (patched) this.#streams.digests.bytes(sources.digest().subarray(0, SOURCE_DIGEST_BYTES));
  }

  /** The block's operations, neighbours joined where one goes on where the other ends. */
  #operations(start: number, bytes: Uint8Array): Pending[] {
    const list: Pending[] = [];
    const push = (kind: number, length: number, source: number, stream?: DeflateStream): void => {
      const last = list.at(-1);
      const goesOn =
        kind === OPERATIONS.zero || kind === OPERATIONS.literal || last?.source === source - (last?.length ?? 0);
      if (last?.kind === kind && last.stream === stream && goesOn) last.length += length;
      else list.push({ kind, length, source, stream });
    };
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = (start + at) / PIECE_BYTES;
      const length = Math.min(PIECE_BYTES, bytes.length - at);
      const source = this.#plan.sources[piece] ?? MISSING;
      if (source === ZERO) push(OPERATIONS.zero, length, 0);
      else if (source !== MISSING) push(OPERATIONS.copy, length, source * PIECE_BYTES);
      else
        for (const { length: partLength, source: from, stream } of this.#partsOf(piece, length)) {
          const kind = stream ? OPERATIONS.deflate : from < 0 ? OPERATIONS.literal : OPERATIONS.add;
          push(kind, partLength, from, stream);
        }
      this.profile.pieces[source === ZERO ? 'zero' : source === MISSING ? 'missing' : 'copied'] += 1;
      if (source === MISSING) this.#account(piece, bytes.subarray(at, at + length));
    }
    return list;
  }

  #partsOf(piece: number, length: number): readonly Part[] {
    return this.#plan.parts.get(piece) ?? [{ length, source: -1 }];
  }

  #account(piece: number, bytes: Uint8Array): void {
    const owner = this.profile.owners[this.#plan.owners.get(piece) ?? 'unknown'];
    owner.pieces += 1;
    let at = 0;
    for (const part of this.#partsOf(piece, bytes.length)) {
      if (part.source < 0) owner.literals += part.length;
      else if (part.stream !== undefined) owner.deflated += part.length;
      else {
        const old = this.#old.read(part.source, part.length);
        for (let i = 0; i < part.length; i += 1) if (old[i] !== bytes[at + i]) owner.differences += 1;
      }
      at += part.length;
    }
  }

  /** Whether it reads a source that the block's source digest covers. */
  #write({ kind, length, source, stream }: Pending, out: Uint8Array, sources: Sha256): boolean {
    if (stream !== undefined) {
      this.#writeDeflate(stream, source, out);
      return false;
    }
    if (kind === OPERATIONS.add) {
      return this.#writeAddition(source, this.#old.read(source, length), out, sources);
    }
    this.#operation(kind, kind === OPERATIONS.literal ? length : length / PIECE_BYTES);
    if (kind === OPERATIONS.literal) this.#streams.literals.bytes(out);
    if (kind === OPERATIONS.copy) {
      this.#streams.offsets.signed((source - this.#copyEnd) / PIECE_BYTES);
      this.#copyEnd = source + length;
    }
    return false;
  }

  #operation(kind: number, length: number): void {
    this.profile.operations += 1;
    this.#streams.kinds.byte(kind);
    this.#streams.lengths.unsigned(length);
  }

  /** An addition of no differences is a move: no digest is needed to see what is wrong with it. */
  #writeAddition(source: number, old: Uint8Array, out: Uint8Array, sources: Sha256): boolean {
    const moves = out.length >= MOVE_FROM_BYTES && Buffer.compare(old, out) === 0;
    this.#operation(moves ? OPERATIONS.move : OPERATIONS.add, out.length);
    this.#streams.offsets.signed(source - this.#patchEnd);
    this.#patchEnd = source + out.length;
    if (moves) return false;
    sources.update(old);
    this.#addDifferences(old, out);
    return true;
  }

  /** `bytes` from `start` of a stream: whoever makes them makes all of it. Told as they are once a block has too many. */
  #writeDeflate(stream: DeflateStream, start: number, bytes: Uint8Array): void {
    const { deflated, literals, offsets } = this.#streams;
    const puffed = puffedOf(this.#newStreams, stream);
    const inputs = stream.inputs.map((input) => puffedOf(this.#oldStreams, input));
    const from = Buffer.concat(inputs);
    this.#blockPuffedBytes += from.length + puffed.length;
    if (this.#blockPuffedBytes > BLOCK_PUFFED_CAP_BYTES) {
      this.#operation(OPERATIONS.literal, bytes.length);
      literals.bytes(bytes);
      return;
    }
    this.#operation(OPERATIONS.deflate, bytes.length);
    for (const value of [start, stream.prefixBytes, puffed.length, inputs.length]) deflated.unsigned(value);
    for (const [place, input] of stream.inputs.entries()) {
      deflated.signed(input.offset - this.#inputEnd);
      for (const value of [input.length, input.prefixBytes, inputs[place]?.length ?? 0]) deflated.unsigned(value);
      this.#inputEnd = input.offset + input.length;
    }
    let at = 0;
    let end = 0;
    for (const part of stream.parts) {
      const out = puffed.subarray(at, at + part.length);
      at += part.length;
      this.#operation(part.source < 0 ? OPERATIONS.literal : OPERATIONS.add, part.length);
      if (part.source < 0) {
        literals.bytes(out);
        continue;
      }
      offsets.signed(part.source - end);
      end = part.source + part.length;
      this.#addDifferences(from.subarray(part.source, end), out);
    }
  }

  #addDifferences(old: Uint8Array, fresh: Uint8Array): void {
    const { gaps, runs, differences } = this.#streams;
    for (let i = 0; i < fresh.length; i += 1) {
      const difference = ((fresh[i] ?? 0) - (old[i] ?? 0)) & 255;
      if (difference === 0) {
        this.#equalBytes += 1;
        continue;
      }
      if (this.#runBytes > 0 && this.#equalBytes < GAP_FROM_BYTES) {
        for (let equal = 0; equal < this.#equalBytes; equal += 1) differences.byte(0);
        this.#runBytes += this.#equalBytes;
      } else {
        if (this.#runBytes > 0) runs.unsigned(this.#runBytes);
        gaps.unsigned(this.#equalBytes);
        this.#runBytes = 0;
      }
      differences.byte(difference);
      this.#runBytes += 1;
      this.#equalBytes = 0;
    }
  }

  /** Ends the last run of a pack; equal bytes after it are a gap with an empty run. */
  #endDifferences(): void {
    const { gaps, runs } = this.#streams;
    if (this.#runBytes > 0) runs.unsigned(this.#runBytes);
    if (this.#equalBytes > 0) {
      gaps.unsigned(this.#equalBytes);
      runs.unsigned(0);
    }
    this.#runBytes = 0;
    this.#equalBytes = 0;
  }

  async #close(firstBlock: number, blockCount: number): Promise<PackedPack> {
    this.#endDifferences();
    const plain = STREAMS.map((name) => this.#streams[name].take());
    const packed = await Promise.all(plain.map(packStream));
    const streams: StreamEntry[] = packed.map(({ codec, bytes }, place) => ({
      codec,
      packedBytes: bytes.length,
      plainBytes: plain[place]?.length ?? 0,
    }));
    for (const [place, name] of STREAMS.entries()) this.profile.packed[name] += streams[place]?.packedBytes ?? 0;
    this.#copyEnd = 0;
    this.#patchEnd = 0;
    this.#inputEnd = 0;
    const sizeBytes = streams.reduce((sum, stream) => sum + stream.packedBytes, 0);
    return {
      entry: { firstBlock, blockCount, offsetBytes: 0, sizeBytes, streams },
      streams: packed.map(({ bytes }) => bytes),
    };
  }
}

/** The plan was made of it: it is there. */
function puffedOf(streams: PuffedStreams, stream: StoredStream): Uint8Array {
  const puffed = streams.of(stream);
  if (puffed === undefined) throw new Error(`the deflate stream at ${stream.offset} is gone`);
  return puffed;
}

function newStreams(): Record<StreamName, ByteWriter> {
  return Object.fromEntries(STREAMS.map((name) => [name, new ByteWriter()])) as Record<StreamName, ByteWriter>;
}

const brotli = promisify(brotliCompress);
const zstd = promisify(zstdCompress);

async function packStream(plain: Uint8Array): Promise<{ codec: number; bytes: Uint8Array }> {
  const stored = { codec: CODECS.stored as number, bytes: plain };
  if (plain.length < 16) return stored;
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    // The window decides what unpacking takes: no larger than the stream.
    [constants.BROTLI_PARAM_LGWIN]: Math.min(22, Math.max(10, Math.ceil(Math.log2(plain.length + 16)))),
    [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
  };
  const [small, other] = await Promise.all([
    brotli(plain, { params }),
    zstd(plain, { params: { [constants.ZSTD_c_compressionLevel]: 19 }, pledgedSrcSize: plain.length }),
  ]);
  const fast = other.length < plain.length ? { codec: CODECS.zstd as number, bytes: other as Uint8Array } : stored;
  const worth = fast.bytes.length - small.length > fast.bytes.length * WORTH_SLOW_UNPACKING;
  return worth ? { codec: CODECS.brotli, bytes: small } : fast;
}
