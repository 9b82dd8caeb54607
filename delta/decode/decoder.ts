/**
 * Makes blocks of the new image from the old slot and a recipe, in any order, with the memory of one pack (at most
 * 8 MiB packed and 8 MiB plain), 4 MiB of old chunks and what the caller gives for the block.
 *
 * Invariants: a block is handed out only when it equals the signed block map; whatever is wrong with recipe or slot
 * concerns the blocks that need it and no other; nothing here throws for what recipe, source or slot contain.
 * May not: write anywhere but into the caller's buffer.
 */
import { type BlockMap, blockSizeBytes, verifyBlock } from '../../trust/blocks.ts';
import { equalBytes, type Verified } from '../../trust/bytes.ts';
import { Sha256 } from '../../trust/crypto.ts';
import {
  CODECS,
  type Decoding,
  decodeRecipeHeader,
  decodeRecipeIndex,
  indexEndBytes,
  OPERATIONS,
  type PackEntry,
  RECIPE_HEADER_BYTES,
  type RecipeIndex,
  SOURCE_DIGEST_BYTES,
  STREAMS,
} from '../format.ts';
import { DifferenceCursor } from './differences.ts';
import { OldImage, type OldReader, OldSlotUnreadable, UNREADABLE_AT_MOST } from './old-image.ts';
import { type BlockPlan, decodePack, type Pack } from './pack.ts';
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

export type BlockOutcome =
  | { readonly made: true; readonly bytes: Verified<Uint8Array> }
  | { readonly made: false; readonly why: CannotReason; readonly detail: string };

/** Ranges of the recipe: a file, or requests. Rejections make 'recipe-unreachable'. */
export interface RecipeReader {
  /** Exactly `length` bytes at `position`. */
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
    const plan = pack.blocks[number - pack.entry.firstBlock];
    if (plan === undefined) return cannot('recipe-malformed', `no block ${number} in its pack`);
    const trouble = await this.#fill(pack, plan, block);
    if (trouble !== undefined) return trouble;
    const verdict = verifyBlock(this.#parts.map, number, block);
    if (verdict.ok) return { made: true, bytes: verdict.value };
    // A copy's source is in the result: where nothing was patched, the slot is the likelier culprit, but cannot be told.
    return cannot('result-wrong', verdict.detail);
  }

  /** Gives back the memory of the pack in hand: before the next one's is taken, and when no block is wanted any more. */
  release(): void {
    const pack = this.#pack;
    this.#pack = undefined;
    for (const [place, name] of STREAMS.entries()) {
      // A stored stream lies in what the reader gave.
      if (pack !== undefined && pack.entry.streams[place]?.codec !== CODECS.stored) releaseBytes(pack.streams[name]);
    }
  }

  async #packOf(number: number): Promise<Pack | (BlockOutcome & { made: false })> {
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
    if (!pack.ok) return cannot('recipe-malformed', pack.detail);
    this.#pack = pack.value;
    return pack.value;
  }

  async #fill(pack: Pack, plan: BlockPlan, block: Uint8Array): Promise<(BlockOutcome & { made: false }) | undefined> {
    const sources = plan.sourceDigest === undefined ? undefined : new Sha256();
    const differences = new DifferenceCursor(pack.streams, plan.differences);
    const unreadable: OldSlotUnreadable[] = [];
    let made = 0;
    for (const { kind, sizeBytes, at } of plan.operations) {
      const out = block.subarray(made, made + sizeBytes);
      if (kind === OPERATIONS.zero) out.fill(0);
      else if (kind === OPERATIONS.literal) out.set(pack.streams.literals.subarray(at, at + sizeBytes));
      else await this.#old.copy(out, at).catch((error: unknown) => unreadable.push(unreadableOf(error)));
      if (kind === OPERATIONS.add) {
        sources?.update(out);
        differences.add(out);
      }
      made += sizeBytes;
      // The rest is made all the same, so that only some pieces of the block are missing; not from a slot that is gone.
      if (unreadable.length >= UNREADABLE_AT_MOST) break;
    }
    if (unreadable[0] !== undefined) return cannot('source-unreadable', unreadable[0].message);
    if (plan.sourceDigest === undefined || sources === undefined) return undefined;
    const found = sources.digest().subarray(0, SOURCE_DIGEST_BYTES);
    return equalBytes(found, plan.sourceDigest) ? undefined : cannot('source-changed', 'the old slot has other bytes');
  }
}

function unreadableOf(error: unknown): OldSlotUnreadable {
  if (error instanceof OldSlotUnreadable) return error;
  throw error;
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

function cannot(why: CannotReason, detail: string): BlockOutcome & { made: false } {
  return { made: false, why, detail };
}
