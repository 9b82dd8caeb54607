/**
 * The delta recipe: how to make a new image from an old one, 1 MiB block by 1 MiB block (docs/DELTA.md).
 *
 * Layout, integers big-endian: header (92 bytes) · index (`packCount` × 85 bytes) · packs, one after another. A pack makes
 * a run of blocks out of nine streams, compressed each for itself.
 *
 * Invariants: sizes of header and index follow from the header alone, and every length is capped before anything is
 * allocated; a file has no byte that the index does not name.
 * May not: be believed. Only the signed block map says whether a block is right.
 */
import { blockCount } from '../trust/blocks.ts';
import { concat } from '../trust/bytes.ts';
import { SHA256_BYTES } from '../trust/crypto.ts';

/** Unit of copies and of content addressing. */
export const PIECE_BYTES = 4096;
/** All streams of one pack, decompressed. Decides the memory of whoever applies a recipe. */
export const PACK_PLAIN_CAP_BYTES = 8 * 1024 * 1024;
/** A recipe is for an image of at most so many bytes. */
export const IMAGE_CAP_BYTES = 2 ** 40;
export const PACKS_AT_MOST = 65_536;
/** Digest of all that the patches of one block read, truncated: tells a changed slot from a wrong recipe. */
export const SOURCE_DIGEST_BYTES = 8;

/** A deflate stream that is taken apart or made, as it is stored. */
export const DEFLATED_CAP_BYTES = 1024 * 1024;
/** One stream puffed, and all the old ones that one is made of. */
export const PUFFED_CAP_BYTES = 2 * 1024 * 1024;
/** All streams of one block puffed, with all that they are made of: bounds the time that a block takes. */
export const BLOCK_PUFFED_CAP_BYTES = 32 * 1024 * 1024;
/** Old streams that one is made of. */
export const INPUTS_AT_MOST = 8;

export const RECIPE_HEADER_BYTES = 92;
const MAGIC = 0x48464452;
const VERSION = 2;
const STREAM_ENTRY_BYTES = 9;

/** In the order in which they stand in a pack. */
export const STREAMS = [
  'kinds',
  'lengths',
  'offsets',
  'gaps',
  'runs',
  'differences',
  'literals',
  'digests',
  'deflated',
] as const;
export type StreamName = (typeof STREAMS)[number];
const PACK_ENTRY_BYTES = 4 + STREAMS.length * STREAM_ENTRY_BYTES;

export const OPERATIONS = {
  /** `length` pieces of zeros. */
  zero: 0,
  /** `length` pieces of the old image, from a piece boundary. */
  copy: 1,
  /** `length` bytes of the old image from anywhere, and the differences that stand in the difference streams. */
  add: 2,
  /** `length` bytes of the literal stream. */
  literal: 3,
  /** `length` bytes of the old image from anywhere, as they are. */
  move: 4,
  /** `length` bytes of a deflate stream, made of puffed ones of the old image (decode/puff.ts). */
  deflate: 5,
} as const;

/** How a stream is compressed. */
export const CODECS = { stored: 0, zstd: 1, brotli: 2 } as const;

export interface StreamEntry {
  readonly codec: number;
  readonly packedBytes: number;
  readonly plainBytes: number;
}

export interface PackEntry {
  readonly firstBlock: number;
  readonly blockCount: number;
  /** Where the pack starts in the recipe, and its length. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly streams: readonly StreamEntry[];
}

export interface RecipeHeader {
  readonly oldSizeBytes: number;
  readonly newSizeBytes: number;
  readonly oldSha256: Uint8Array;
  readonly newSha256: Uint8Array;
  readonly packCount: number;
}

export interface RecipeIndex extends RecipeHeader {
  readonly packs: readonly PackEntry[];
  /** Of the whole recipe. */
  readonly sizeBytes: number;
}

/** A recipe that is not one: nobody's bytes are in danger, whoever wanted it does without. */
export type Malformed = { readonly ok: false; readonly detail: string };
export type Decoding<T> = { readonly ok: true; readonly value: T } | Malformed;

function malformed(detail: string): Malformed {
  return { ok: false, detail };
}

/** How many bytes from the recipe's start hold header and index: what to fetch after the header. */
export function indexEndBytes(header: RecipeHeader): number {
  return RECIPE_HEADER_BYTES + header.packCount * PACK_ENTRY_BYTES;
}

export function decodeRecipeHeader(bytes: Uint8Array): Decoding<RecipeHeader> {
  if (bytes.length < RECIPE_HEADER_BYTES) return malformed(`${bytes.length} bytes are no header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== MAGIC || view.getUint32(4) !== VERSION)
    return malformed(`not a recipe of version ${VERSION}`);
  const oldSizeBytes = Number(view.getBigUint64(8));
  const newSizeBytes = Number(view.getBigUint64(16));
  const packCount = view.getUint32(24);
  if (oldSizeBytes > IMAGE_CAP_BYTES || newSizeBytes > IMAGE_CAP_BYTES) return malformed('image size beyond the cap');
  const blocks = blockCount(newSizeBytes);
  if (packCount > Math.min(PACKS_AT_MOST, blocks) || (packCount === 0) !== (blocks === 0)) {
    return malformed(`${packCount} packs for ${blocks} blocks`);
  }
  const oldSha256 = bytes.slice(28, 28 + SHA256_BYTES);
  const newSha256 = bytes.slice(60, 60 + SHA256_BYTES);
  return { ok: true, value: { oldSizeBytes, newSizeBytes, oldSha256, newSha256, packCount } };
}

/** `bytes` are the first `indexEndBytes` of a recipe of `sizeBytes`. */
export function decodeRecipeIndex(bytes: Uint8Array, sizeBytes: number): Decoding<RecipeIndex> {
  const header = decodeRecipeHeader(bytes);
  if (!header.ok) return header;
  const endBytes = indexEndBytes(header.value);
  if (bytes.length < endBytes) return malformed(`${bytes.length} bytes, the index ends at ${endBytes}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const packs: PackEntry[] = [];
  let firstBlock = 0;
  let offsetBytes = endBytes;
  for (let at = RECIPE_HEADER_BYTES; at < endBytes; at += PACK_ENTRY_BYTES) {
    const pack = decodePackEntry(view, at, firstBlock, offsetBytes);
    if (!pack.ok) return pack;
    packs.push(pack.value);
    firstBlock += pack.value.blockCount;
    offsetBytes += pack.value.sizeBytes;
  }
  if (firstBlock !== blockCount(header.value.newSizeBytes)) return malformed(`packs make ${firstBlock} blocks`);
  if (offsetBytes !== sizeBytes) return malformed(`packs end at ${offsetBytes}, the recipe at ${sizeBytes}`);
  return { ok: true, value: { ...header.value, packs, sizeBytes } };
}

function decodePackEntry(view: DataView, at: number, firstBlock: number, offsetBytes: number): Decoding<PackEntry> {
  const count = view.getUint32(at);
  if (count === 0) return malformed('a pack of no blocks');
  let sizeBytes = 0;
  let plainBytes = 0;
  const streams = STREAMS.map((_, place) => {
    const start = at + 4 + place * STREAM_ENTRY_BYTES;
    const entry = {
      codec: view.getUint8(start),
      packedBytes: view.getUint32(start + 1),
      plainBytes: view.getUint32(start + 5),
    };
    sizeBytes += entry.packedBytes;
    plainBytes += entry.plainBytes;
    return entry;
  });
  if (plainBytes > PACK_PLAIN_CAP_BYTES || sizeBytes > PACK_PLAIN_CAP_BYTES) return malformed('a pack beyond the cap');
  return { ok: true, value: { firstBlock, blockCount: count, offsetBytes, sizeBytes, streams } };
}

/** Header and index of packs that follow one another. */
export function encodeRecipeIndex(header: RecipeHeader, packs: readonly PackEntry[]): Uint8Array {
  const bytes = new Uint8Array(indexEndBytes(header) - RECIPE_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [number, pack] of packs.entries()) {
    const at = number * PACK_ENTRY_BYTES;
    view.setUint32(at, pack.blockCount);
    for (const [place, stream] of pack.streams.entries()) {
      const start = at + 4 + place * STREAM_ENTRY_BYTES;
      view.setUint8(start, stream.codec);
      view.setUint32(start + 1, stream.packedBytes);
      view.setUint32(start + 5, stream.plainBytes);
    }
  }
  const head = new Uint8Array(28);
  const headView = new DataView(head.buffer);
  headView.setUint32(0, MAGIC);
  headView.setUint32(4, VERSION);
  headView.setBigUint64(8, BigInt(header.oldSizeBytes));
  headView.setBigUint64(16, BigInt(header.newSizeBytes));
  headView.setUint32(24, header.packCount);
  return concat(head, header.oldSha256, header.newSha256, bytes);
}
