/**
 * Makes blocks of the new image from the old slot and a recipe, in any order, with the memory of one pack (at most
 * 8 MiB packed and 8 MiB plain), 2 MiB of old chunks and what the caller gives for the block.
 *
 * Invariants: a block is handed out only when it equals the signed block map; whatever is wrong with recipe or slot
 * concerns the blocks that need it and no other; nothing here throws for what recipe, source or slot contain.
 * May not: write anywhere but into the caller's buffer.
 */
import { type BlockMap, blockSizeBytes, verifyBlock } from '../../trust/blocks.ts';
import { equalBytes, type Verified } from '../../trust/bytes.ts';
import { Sha256 } from '../../trust/crypto.ts';
import {
  type Decoding,
  decodeRecipeHeader,
  decodeRecipeIndex,
  indexEndBytes,
  OPERATIONS,
  type PackEntry,
  RECIPE_HEADER_BYTES,
  type RecipeIndex,
  SOURCE_DIGEST_BYTES,
} from '../format.ts';
import { DeflatedStreams, NotThatStream } from './deflated.ts';
import { OldImage, type OldReader, OldSlotUnreadable, UNREADABLE_AT_MOST } from './old-image.ts';
import { decodePack, type Pack, type PackPlace, type PackReader } from './pack.ts';
import { releaseBytes } from './streams.ts';

/** Why a block cannot be made here; the caller gets it another way. */
export type CannotReason =
  /** The recipe's source did not give its bytes. */
  | 'recipe-unreachable'
  /** The pack of this block is not well-formed. */
  | 'recipe-malformed'
  /** The old slot could not be read where this block needs it. */
  | 'source-unreadable'
  /** The old slot holds other bytes there than the recipe was made for. */
  | 'source-changed'
  /** Made, and not what the signed block map says. */
  | 'result-wrong';

export type BlockOutcome = { readonly made: true; readonly bytes: Verified<Uint8Array> } | Trouble;
type Trouble = { readonly made: false; readonly why: CannotReason; readonly detail: string };

/** Ranges of the recipe: a file, or requests. Rejections make 'recipe-unreachable'. */
export interface RecipeReader {
  /** Exactly `length` bytes at `position`, in memory that is the caller's, or in a part of what is not. */
  read(length: number, position: number): Promise<Uint8Array>;
}

/** Reads header and index of a recipe of `sizeBytes`. Rejects when the reader does. */
export async function readRecipeIndex(reader: RecipeReader, sizeBytes: number): Promise<Decoding<RecipeIndex>> {
  if (sizeBytes < RECIPE_HEADER_BYTES) return { ok: false, detail: `${sizeBytes} bytes are no recipe` };
  const header = decodeRecipeHeader(await reader.read(RECIPE_HEADER_BYTES, 0));
  if (!header.ok) return header;
  const endBytes = indexEndBytes(header.value);
  if (endBytes > sizeBytes) return { ok: false, detail: `an index of ${endBytes} bytes in ${sizeBytes}` };
  return decodeRecipeIndex(await reader.read(endBytes, 0), sizeBytes);
}

export interface DecoderParts {
  readonly index: RecipeIndex;
  readonly recipe: RecipeReader;
  readonly old: OldReader;
  /** Of the new image, signed. */
  readonly map: BlockMap;
}

export class DeltaDecoder {
  readonly #parts: DecoderParts;
  readonly #old: OldImage;
  #deflated: DeflatedStreams | undefined;
  #pack: Pack | undefined;

  /** Throws RangeError when recipe and map are of images of different size: compare them first. */
  constructor(parts: DecoderParts) {
    if (parts.index.newSizeBytes !== parts.map.imageSizeBytes) throw new RangeError('a recipe for another image');
    this.#parts = parts;
    this.#old = new OldImage(parts.old);
  }

  /** Block `number`, in `into` (at least as long as the block). One call at a time. Ascending order costs least. */
  async produce(number: number, into: Uint8Array): Promise<BlockOutcome> {
    const sizeBytes = blockSizeBytes(this.#parts.map, number);
    const block = into.subarray(0, sizeBytes);
    if (block.length !== sizeBytes) throw new RangeError(`a buffer of ${into.length} bytes for ${sizeBytes}`);
    const pack = await this.#packOf(number);
    if ('why' in pack) return pack;
    const place = pack.places[number - pack.entry.firstBlock];
    if (place === undefined) return cannot('recipe-malformed', `no block ${number} in its pack`);
    const trouble = await this.#fill(pack, place, block);
    if (trouble !== undefined) return trouble;
    const verdict = verifyBlock(this.#parts.map, number, block);
    if (verdict.ok) return { made: true, bytes: verdict.value };
    // A copy's source is in the result: where nothing was patched, the slot is the likelier culprit, but cannot be told.
    return cannot('result-wrong', verdict.detail);
  }

  /** Gives back the memory of the pack in hand: before the next one's is taken, and when no block is wanted any more. */
  release(): void {
    this.#pack?.release();
    this.#pack = undefined;
  }

  async #packOf(number: number): Promise<Pack | Trouble> {
    const entry = findPack(this.#parts.index.packs, number);
    if (entry === undefined) return cannot('recipe-malformed', `no pack makes block ${number}`);
    if (this.#pack?.entry === entry) return this.#pack;
    this.release();
    let packed: Uint8Array;
    try {
      packed = await this.#parts.recipe.read(entry.sizeBytes, entry.offsetBytes);
    } catch (error) {
      return cannot('recipe-unreachable', error instanceof Error ? error.message : String(error));
    }
    const pack = decodePack(this.#parts.index, entry, packed);
    // A part of something longer is somebody else's too.
    if (packed.length === packed.buffer.byteLength) releaseBytes(packed);
    if (!pack.ok) return cannot('recipe-malformed', pack.detail);
    this.#pack = pack.value;
    return pack.value;
  }

  /** What cannot be read is left out, so that only some pieces of the block are missing: the first trouble is told. */
  async #fill(pack: Pack, place: PackPlace, block: Uint8Array): Promise<Trouble | undefined> {
    const { reader } = pack;
    reader.goTo(place);
    const sources = new Sources();
    const troubles: Trouble[] = [];
    for (let made = 0; made < block.length && troubles.length < UNREADABLE_AT_MOST; ) {
      reader.next(block.length - made);
      const { kind, sizeBytes } = reader;
      const out = made;
      made += sizeBytes;
      if (kind === OPERATIONS.zero) block.fill(0, out, made);
      else if (kind === OPERATIONS.literal) copyBytes(reader.literals, reader.at, block, out, sizeBytes);
      else {
        try {
          if (kind === OPERATIONS.deflate) await this.#deflate(reader, block.subarray(out, made));
          else {
            const waiting = this.#old.copyTo(block, out, sizeBytes, reader.at);
            if (waiting !== undefined) await waiting;
          }
        } catch (error) {
          troubles.push(troubleOf(error));
        }
        if (kind === OPERATIONS.add) sources.add(reader, block, out);
      }
    }
    if (troubles[0] !== undefined) return troubles[0];
    return sources.areThose(reader) ? undefined : cannot('source-changed', 'the old slot has other bytes');
  }

  /** A part of a deflate stream, which is made whole for it. Throws OldSlotUnreadable and NotThatStream. */
  async #deflate(reader: PackReader, out: Uint8Array): Promise<void> {
    this.#deflated ??= new DeflatedStreams(this.#old);
    const { start, prefixBytes, puffedBytes, inputs } = reader.deflate;
    let from: Uint8Array | undefined;
    try {
      from = await this.#deflated.puffInputs(inputs);
    } finally {
      // Read to its end, whatever came of it: the next operation stands behind.
      const puffed = this.#deflated.puffed(puffedBytes);
      for (let made = 0; made < puffedBytes; made += reader.sizeBytes) {
        reader.nextPuffed(puffedBytes - made);
        const { kind, sizeBytes, at } = reader;
        copyBytes(kind === OPERATIONS.literal ? reader.literals : (from ?? puffed), at, puffed, made, sizeBytes);
        if (kind === OPERATIONS.add) reader.differences.add(puffed, made, sizeBytes);
      }
    }
    this.#deflated.spell(puffedBytes, prefixBytes, start, out);
  }
}

function troubleOf(error: unknown): Trouble {
  if (error instanceof OldSlotUnreadable) return cannot('source-unreadable', error.message);
  if (error instanceof NotThatStream) return cannot(error.source ? 'source-changed' : 'result-wrong', error.message);
  throw error;
}

/** What the additions of one block read, while their differences are added. */
class Sources {
  #hash: Sha256 | undefined;

  add(reader: PackReader, bytes: Uint8Array, start: number): void {
    this.#hash ??= new Sha256();
    this.#hash.update(bytes.subarray(start, start + reader.sizeBytes));
    reader.differences.add(bytes, start, reader.sizeBytes);
  }

  /** Whether it is what the encoder read, as the digest that comes next says; true where nothing was. */
  areThose(reader: PackReader): boolean {
    const found = this.#hash?.digest().subarray(0, SOURCE_DIGEST_BYTES);
    return found === undefined || equalBytes(found, reader.sourceDigest());
  }
}

/** Without an object for each piece: there are many, and most are short. */
function copyBytes(from: Uint8Array, at: number, into: Uint8Array, to: number, length: number): void {
  if (length > 64) into.set(from.subarray(at, at + length), to);
  else for (let i = 0; i < length; i += 1) into[to + i] = from[at + i] ?? 0;
}

function findPack(packs: readonly PackEntry[], number: number): PackEntry | undefined {
  let low = 0;
  let high = packs.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const pack = packs[middle];
    if (pack === undefined) return undefined;
    if (number < pack.firstBlock) high = middle - 1;
    else if (number >= pack.firstBlock + pack.blockCount) low = middle + 1;
    else return pack;
  }
  return undefined;
}

function cannot(why: CannotReason, detail: string): Trouble {
  return { made: false, why, detail };
}
