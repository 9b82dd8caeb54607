/**
 * Blocks of which only the missing 4 KiB pieces are fetched, compressed as one. Either the block was nearly made (the
 * running slot changed in a place, or could not be read there): then the pieces that are wrong are looked for at the same
 * place of both slots, and asked for. Or nothing is known of the running slot: then its pieces are found by their digests,
 * and what several blocks lack is asked for together.
 *
 * Invariants: a block of which most is missing is left to the next way; one request at a time, of at most 2 MiB.
 */
import { OldImage } from '../../delta/decode/old-image.ts';
import { unpackInto } from '../../delta/decode/streams.ts';
import {
  encodePieceRuns,
  type PieceRun,
  piecesPlainBytes,
  TRANSPORT_PIECE_BYTES,
  transportPaths,
} from '../../protocol/image-transport.ts';
import { type BlockMap, blockSizeBytes, verifyBlock } from '../../trust/blocks.ts';
import type { ImageTransport } from '../core/ports.ts';
import { OneAtATime } from '../one-at-a-time.ts';
import type { OldSlotImage } from './old-image.ts';
import { PIECES_PER_BLOCK, PieceIndex } from './piece-index.ts';
import { PieceTable } from './piece-table.ts';
import { type BlockWay, type ImageFacts, type NotGot, notGot, type WantedBlock, type WayOutcome } from './way.ts';

/** Pieces of one request: 2 MiB plain. */
const PIECES_TOGETHER = 512;
const BLOCKS_TOGETHER = 8;
/** A block that lacks more comes packed, whole: that costs the same and asks nothing of the server. */
const MISSING_AT_MOST = PIECES_PER_BLOCK / 2;
/** Below this, reading the whole running slot for a table is not worth it. */
const TABLE_LEAST_BLOCKS = 4;

export interface PiecesFacts extends ImageFacts {
  readonly transport: ImageTransport;
  readonly old: OldSlotImage;
  /** The running slot and the one that is written: where a piece may lie at its own place. */
  readonly samePlaces: readonly OldSlotImage[];
}

/** Pieces that came for blocks up to `endBlock`. */
interface Batch {
  readonly endBlock: number;
  /** Where each lies in `plain`. */
  readonly places: ReadonlyMap<number, number>;
  readonly plain: Uint8Array;
}

export class PiecesWay implements BlockWay {
  readonly name = 'pieces';
  readonly #facts: PiecesFacts;
  readonly #index: PieceIndex;
  readonly #turn = new OneAtATime();
  #table: PieceTable | undefined | 'none';
  #old: OldImage;
  #batch: Batch | undefined;

  constructor(facts: PiecesFacts) {
    this.#facts = facts;
    this.#index = new PieceIndex(facts, facts.transport);
    this.#old = new OldImage(facts.old);
  }

  obtain(wanted: WantedBlock): Promise<WayOutcome> {
    return this.#turn.run(async () => {
      if (wanted.nearly === true) return this.#repair(wanted);
      const outcome = await this.#collect(wanted);
      return !outcome.got && outcome.nearly === true ? this.#repair(wanted) : outcome;
    });
  }

  close(): Promise<void> {
    return this.#turn.run(async () => {
      this.#table = undefined;
      this.#batch = undefined;
      this.#old = new OldImage(this.#facts.old);
      for (const slot of [this.#facts.old, ...this.#facts.samePlaces]) await slot.close();
    });
  }

  // --- a block that was nearly made

  async #repair({ index, memory }: WantedBlock): Promise<WayOutcome> {
    const unknown = await this.#index.load(index, index + 1);
    if (unknown !== undefined) return unknown;
    const { map } = this.#facts;
    const block = memory.bytes.subarray(0, blockSizeBytes(map, index));
    const missing: number[] = [];
    for (const piece of piecesOf(map, index)) {
      const bytes = pieceIn(block, piece);
      if (!this.#index.isRight(piece, bytes) && !(await this.#foundInPlace(piece, bytes))) missing.push(piece);
    }
    if (missing.length > MISSING_AT_MOST) return notGot('pieces-too-many', `${missing.length} pieces are missing`);
    const batch = await this.#ask(missing, index + 1);
    if ('got' in batch) return batch;
    for (const piece of missing) this.#take(batch, piece, pieceIn(block, piece));
    return this.#judge(index, block);
  }

  async #foundInPlace(piece: number, into: Uint8Array): Promise<boolean> {
    for (const slot of this.#facts.samePlaces) {
      const found = await slot.read(TRANSPORT_PIECE_BYTES, piece * TRANSPORT_PIECE_BYTES).catch(() => undefined);
      const bytes = found?.subarray(0, into.length);
      if (bytes?.length !== into.length || !this.#index.isRight(piece, bytes)) continue;
      into.set(bytes);
      return true;
    }
    return false;
  }

  // --- a block of which nothing is known but what the running slot holds somewhere

  async #collect({ index, memory, wantedBefore }: WantedBlock): Promise<WayOutcome> {
    // Asked first: without digests to look up, reading the whole running slot for a table would be for nothing.
    const unknown = await this.#index.load(index, index + 1);
    if (unknown !== undefined) return unknown;
    const table = await this.#openTable();
    if ('got' in table) return table;
    memory.forget();
    const endBlock = Math.min(Math.max(wantedBefore, index + 1), index + BLOCKS_TOGETHER);
    if (this.#batch === undefined || index >= this.#batch.endBlock) {
      const batch = await this.#gather(table, index, endBlock);
      if ('got' in batch) return batch;
      this.#batch = batch;
    }
    const block = memory.bytes.subarray(0, blockSizeBytes(this.#facts.map, index));
    for (const piece of piecesOf(this.#facts.map, index)) {
      const bytes = pieceIn(block, piece);
      if (this.#take(this.#batch, piece, bytes)) continue;
      const source = table.find(this.#index.digestOf(piece) ?? new Uint8Array(8));
      // What cannot be read, or was no piece of the slot after all, is asked for when the block is repaired.
      if (source !== undefined) await this.#old.copy(bytes, source * TRANSPORT_PIECE_BYTES).catch(() => {});
    }
    return this.#judge(index, block);
  }

  /** Asks for what these blocks lack, as many of them as fit. */
  async #gather(table: PieceTable, firstBlock: number, endBlock: number): Promise<Batch | NotGot> {
    const unknown = await this.#index.load(firstBlock, endBlock);
    if (unknown !== undefined) return unknown;
    let missing: number[] = [];
    let block = firstBlock;
    for (; block < endBlock; block += 1) {
      const lacks = piecesOf(this.#facts.map, block).filter((piece) => {
        const digest = this.#index.digestOf(piece);
        return digest === undefined || table.find(digest) === undefined;
      });
      if (lacks.length > MISSING_AT_MOST || missing.length + lacks.length > PIECES_TOGETHER) break;
      missing = missing.concat(lacks);
    }
    if (block === firstBlock) return notGot('pieces-too-many', 'most of the block is missing');
    return this.#ask(missing, block);
  }

  async #openTable(): Promise<PieceTable | NotGot> {
    const { map, image, old } = this.#facts;
    if (this.#table === undefined) {
      const worthIt = map.count >= TABLE_LEAST_BLOCKS;
      // The old image's size is not known; where it ends, reading ends.
      this.#table = worthIt ? await PieceTable.of(old, 2 * image.sizeBytes).catch(() => 'none' as const) : 'none';
    }
    if (this.#table !== 'none') return this.#table;
    return notGot('source-unreadable', 'the running slot cannot be looked through', { forGood: true });
  }

  // --- both

  async #ask(missing: readonly number[], endBlock: number): Promise<Batch | NotGot> {
    const { image, transport, fetched, patience } = this.#facts;
    const runs = runsOf(missing);
    const plain = new Uint8Array(piecesPlainBytes(runs, image.sizeBytes));
    const places = new Map(missing.map((piece, place) => [piece, place * TRANSPORT_PIECE_BYTES]));
    if (missing.length === 0) return { endBlock, places, plain };
    for (;;) {
      const path = transportPaths.pieces(image.sha256);
      const answer = await transport.askPieces(path, encodePieceRuns(runs), plain.length + 1024);
      if (answer.found === 'bytes') {
        fetched.add(this.name, answer.bytes.length);
        if (answer.packed === undefined && answer.bytes.length === plain.length) plain.set(answer.bytes);
        else if (answer.packed === undefined || !unpackInto(answer.packed, answer.bytes, plain)) {
          return notGot('pieces-malformed', 'not the pieces that were asked for');
        }
        return { endBlock, places, plain };
      }
      if (answer.found === 'nothing') return notGot(answer.why, 'no pieces', { forGood: true });
      if (!(await patience.wait(answer.afterMs))) return notGot(answer.why, 'no pieces now');
    }
  }

  #take(batch: Batch, piece: number, into: Uint8Array): boolean {
    const place = batch.places.get(piece);
    if (place === undefined) return false;
    into.set(batch.plain.subarray(place, place + into.length));
    return true;
  }

  #judge(index: number, block: Uint8Array): WayOutcome {
    const verdict = verifyBlock(this.#facts.map, index, block);
    return verdict.ok ? { got: true, block: verdict.value } : notGot('pieces-wrong', verdict.detail, { nearly: true });
  }
}

/** Numbers of a block's pieces, in the image. */
function piecesOf(map: BlockMap, index: number): number[] {
  const count = Math.ceil(blockSizeBytes(map, index) / TRANSPORT_PIECE_BYTES);
  return Array.from({ length: count }, (_, place) => index * PIECES_PER_BLOCK + place);
}

function pieceIn(block: Uint8Array, piece: number): Uint8Array {
  const start = (piece % PIECES_PER_BLOCK) * TRANSPORT_PIECE_BYTES;
  return block.subarray(start, start + TRANSPORT_PIECE_BYTES);
}

function runsOf(pieces: readonly number[]): PieceRun[] {
  const runs: { first: number; count: number }[] = [];
  for (const piece of pieces) {
    const last = runs.at(-1);
    if (last !== undefined && piece === last.first + last.count) last.count += 1;
    else runs.push({ first: piece, count: 1 });
  }
  return runs;
}
