/**
 * The block map: SHA-256 of every 1 MiB block of one image, so that a block is checked before it is written.
 *
 * Layout, all integers big-endian: magic "HFBM" · uint32 version 1 · uint64 image size · uint32 block size ·
 * uint32 count · count × 32 bytes SHA-256. Only the last block may be shorter.
 *
 * Invariants: the length of a map follows from the size of its image, so nothing in the map decides how much is read.
 * May not: trust a map by itself; it is a TUF target, and its digest stands in signed targets metadata.
 */
import { concat, equalBytes, hex, type Verified } from './bytes.ts';
import { SHA256_BYTES, Sha256, sha256 } from './crypto.ts';
import { accept, refuse, type Verdict } from './refusal.ts';
import { markVerified } from './verified.ts';

export const BLOCK_BYTES = 1024 * 1024;
/** A block map is never larger: 8 MiB name 256 GiB of image. */
export const BLOCK_MAP_CAP_BYTES = 8 * 1024 * 1024;

const MAGIC = 0x4846424d;
const VERSION = 1;
const HEADER_BYTES = 24;

export interface BlockMap {
  readonly imageSizeBytes: number;
  readonly blockBytes: number;
  readonly count: number;
  /** `count` × 32 bytes. */
  readonly digests: Uint8Array;
}

/** How many blocks an image of this size has. */
export function blockCount(imageSizeBytes: number): number {
  return Math.ceil(imageSizeBytes / BLOCK_BYTES);
}

/** Size of the encoded map of an image of this size. */
export function blockMapSizeBytes(imageSizeBytes: number): number {
  return HEADER_BYTES + blockCount(imageSizeBytes) * SHA256_BYTES;
}

/** Size of one block: `blockBytes` but for the last. Throws RangeError for a block that the image does not have. */
export function blockSizeBytes(map: BlockMap, index: number): number {
  if (!Number.isInteger(index) || index < 0 || index >= map.count) {
    throw new RangeError(`no block ${index} in an image of ${map.count} blocks`);
  }
  return Math.min(map.blockBytes, map.imageSizeBytes - index * map.blockBytes);
}

/** Throws RangeError when the digests are not as many as the size demands: what we make is ours. */
export function makeBlockMap(imageSizeBytes: number, digests: readonly Uint8Array[]): BlockMap {
  const count = blockCount(imageSizeBytes);
  if (digests.length !== count || digests.some((digest) => digest.length !== SHA256_BYTES)) {
    throw new RangeError(`${digests.length} digests for an image of ${count} blocks`);
  }
  return { imageSizeBytes, blockBytes: BLOCK_BYTES, count, digests: concat(...digests) };
}

/** Makes the map and the digest of a whole image from pieces of any size, holding none of them. */
export class BlockMapBuilder {
  readonly #whole = new Sha256();
  readonly #digests: Uint8Array[] = [];
  #block = new Sha256();
  #inBlockBytes = 0;
  #imageSizeBytes = 0;

  update(bytes: Uint8Array): this {
    this.#whole.update(bytes);
    this.#imageSizeBytes += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + BLOCK_BYTES - this.#inBlockBytes);
      this.#block.update(piece);
      this.#inBlockBytes += piece.length;
      at += piece.length;
      if (this.#inBlockBytes === BLOCK_BYTES) this.#endBlock();
    }
    return this;
  }

  /** Ends the image; a second call throws. `sha256` is the whole image's, hex. */
  finish(): { readonly map: BlockMap; readonly imageSizeBytes: number; readonly sha256: string } {
    if (this.#inBlockBytes > 0) this.#endBlock();
    const map = makeBlockMap(this.#imageSizeBytes, this.#digests);
    return { map, imageSizeBytes: this.#imageSizeBytes, sha256: hex(this.#whole.digest()) };
  }

  #endBlock(): void {
    this.#digests.push(this.#block.digest());
    this.#block = new Sha256();
    this.#inBlockBytes = 0;
  }
}

export function encodeBlockMap(map: BlockMap): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, VERSION);
  view.setBigUint64(8, BigInt(map.imageSizeBytes));
  view.setUint32(16, map.blockBytes);
  view.setUint32(20, map.count);
  return concat(header, map.digests);
}

/**
 * The map of an image whose size is already known from signed metadata. `input-too-large` beyond the cap,
 * `block-map-malformed` for every other length or layout than the one that this size demands.
 */
export function decodeBlockMap(bytes: Uint8Array, imageSizeBytes: number): Verdict<BlockMap> {
  if (bytes.length > BLOCK_MAP_CAP_BYTES) {
    return refuse('input-too-large', `${bytes.length} bytes of block map, at most ${BLOCK_MAP_CAP_BYTES}`);
  }
  const count = blockCount(imageSizeBytes);
  const due = blockMapSizeBytes(imageSizeBytes);
  if (bytes.length !== due) return refuse('block-map-malformed', `${bytes.length} bytes, the image demands ${due}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const says = {
    magic: view.getUint32(0),
    version: view.getUint32(4),
    imageSizeBytes: Number(view.getBigUint64(8)),
    blockBytes: view.getUint32(16),
    count: view.getUint32(20),
  };
  const demanded = { magic: MAGIC, version: VERSION, imageSizeBytes, blockBytes: BLOCK_BYTES, count };
  for (const field of ['magic', 'version', 'imageSizeBytes', 'blockBytes', 'count'] as const) {
    if (says[field] !== demanded[field]) {
      return refuse('block-map-malformed', `${field} is ${says[field]}, not ${demanded[field]}`);
    }
  }
  return accept({ imageSizeBytes, blockBytes: BLOCK_BYTES, count, digests: bytes.slice(HEADER_BYTES) });
}

/** One block against the map: `image-size-mismatch` for a wrong length, `block-digest-mismatch` for wrong bytes. */
export function verifyBlock(map: BlockMap, index: number, bytes: Uint8Array): Verdict<Verified<Uint8Array>> {
  const due = blockSizeBytes(map, index);
  if (bytes.length !== due) {
    return refuse('image-size-mismatch', `block ${index} has ${bytes.length} bytes, not ${due}`);
  }
  const digest = sha256(bytes);
  const signed = map.digests.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
  // The map is a target of signed metadata.
  if (equalBytes(digest, signed)) return accept(markVerified(bytes));
  return refuse('block-digest-mismatch', `block ${index} is ${hex(digest)}, the signed map says ${hex(signed)}`);
}
