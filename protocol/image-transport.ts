/**
 * How images travel besides whole: packed blocks, recipes from an older image, and single 4 KiB pieces. The four addresses,
 * the small binary formats and their caps, as the server writes and the device reads them (docs/DEVICE_PROTOCOL.md).
 *
 * Integers are big-endian. Sizes follow from the image's signed size, never from what is decoded: nothing in a file
 * decides how much is read or allocated.
 * May not: be believed. Only the signed block map says whether a block is right.
 */
import { BLOCK_BYTES, blockCount } from '../trust/blocks.ts';
import { DEVICE_PATHS } from './device-api.ts';

/** What is not usable is no danger: whoever wanted it takes another way. */
export type Malformed = { readonly ok: false; readonly detail: string };
export type Decoding<T> = { readonly ok: true; readonly value: T } | Malformed;

const malformed = (detail: string): Malformed => ({ ok: false, detail });

// --- addresses ---------------------------------------------------------------------------------------------------

/** How packed blocks are compressed. Numbers stand in the header, names in the query (`?coding=gzip`). */
export const PACKED_CODINGS = { zstd: 1, gzip: 2 } as const;
export type PackedCoding = keyof typeof PACKED_CODINGS;

/** Paths of one image on the device listener; digests are lower-case hexadecimal. */
export const transportPaths = {
  blocks: (imageSha256: string, coding: PackedCoding): string =>
    `${DEVICE_PATHS.transport}/${imageSha256}/blocks${coding === 'zstd' ? '' : `?coding=${coding}`}`,
  recipe: (imageSha256: string, oldSha256: string): string =>
    `${DEVICE_PATHS.transport}/${imageSha256}/from/${oldSha256}`,
  /** GET: the piece index. POST: pieces. */
  pieces: (imageSha256: string): string => `${DEVICE_PATHS.transport}/${imageSha256}/pieces`,
} as const;

/** Codes of an ErrorAnswer that a device tells apart. */
export const TRANSPORT_CODES = {
  /** 404: it is not there and will not be. */
  unknown: 'transport-unknown',
  /** 503 with Retry-After: it is queued or being made. */
  inPreparation: 'transport-in-preparation',
  /** 503 with Retry-After: too many piece requests at once. */
  busy: 'transport-busy',
} as const;

// --- packed image ------------------------------------------------------------------------------------------------

const PACKED_MAGIC = 0x48465049;
const PACKED_VERSION = 1;
export const PACKED_HEADER_BYTES = 16;

/** Where one block lies in the packed image. A block of zeros has 0 bytes, a stored one exactly its plain size. */
export interface PackedBlock {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly coding: PackedCoding | 'zeros' | 'stored';
}

export interface PackedIndex {
  readonly coding: PackedCoding;
  readonly blocks: readonly PackedBlock[];
  /** Of the whole packed image. */
  readonly sizeBytes: number;
}

/** How many bytes from the start hold header and index, for an image of this signed size: what to fetch first. */
export const packedIndexEndBytes = (imageSizeBytes: number): number =>
  PACKED_HEADER_BYTES + blockCount(imageSizeBytes) * 4;

/** Header and index. `sizes` are the packed lengths in order. */
export function encodePackedIndex(coding: PackedCoding, sizes: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(PACKED_HEADER_BYTES + sizes.length * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, PACKED_MAGIC);
  view.setUint32(4, PACKED_VERSION);
  view.setUint32(8, PACKED_CODINGS[coding]);
  view.setUint32(12, sizes.length);
  for (const [number, size] of sizes.entries()) view.setUint32(PACKED_HEADER_BYTES + number * 4, size);
  return bytes;
}

/** `bytes` are the first `packedIndexEndBytes` of a packed image, asked for in this coding. */
export function decodePackedIndex(
  bytes: Uint8Array,
  imageSizeBytes: number,
  coding: PackedCoding,
): Decoding<PackedIndex> {
  const count = blockCount(imageSizeBytes);
  const endBytes = packedIndexEndBytes(imageSizeBytes);
  if (bytes.length < endBytes) return malformed(`${bytes.length} bytes, the index ends at ${endBytes}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== PACKED_MAGIC || view.getUint32(4) !== PACKED_VERSION) {
    return malformed('not a packed image of version 1');
  }
  if (view.getUint32(8) !== PACKED_CODINGS[coding]) return malformed(`coding ${view.getUint32(8)}, not ${coding}`);
  if (view.getUint32(12) !== count) return malformed(`${view.getUint32(12)} blocks, the image has ${count}`);
  const blocks: PackedBlock[] = [];
  let offsetBytes = endBytes;
  for (let number = 0; number < count; number += 1) {
    const plainBytes = Math.min(BLOCK_BYTES, imageSizeBytes - number * BLOCK_BYTES);
    const sizeBytes = view.getUint32(PACKED_HEADER_BYTES + number * 4);
    if (sizeBytes > plainBytes) return malformed(`block ${number} is packed in ${sizeBytes} bytes`);
    const how = sizeBytes === 0 ? 'zeros' : sizeBytes === plainBytes ? 'stored' : coding;
    blocks.push({ offsetBytes, sizeBytes, coding: how });
    offsetBytes += sizeBytes;
  }
  return { ok: true, value: { coding, blocks, sizeBytes: offsetBytes } };
}

// --- piece index -------------------------------------------------------------------------------------------------

/** Unit of transport below a block; the last piece of an image may be shorter. The same as a recipe's. */
export const TRANSPORT_PIECE_BYTES = 4096;
/** Of each piece's SHA-256. Truncated: a wrong piece shows in its block's digest. */
export const PIECE_DIGEST_BYTES = 8;
const PIECES_MAGIC = 0x48465058;
const PIECES_VERSION = 1;
export const PIECE_INDEX_HEADER_BYTES = 24;

export const pieceCount = (imageSizeBytes: number): number => Math.ceil(imageSizeBytes / TRANSPORT_PIECE_BYTES);

export const pieceIndexSizeBytes = (imageSizeBytes: number): number =>
  PIECE_INDEX_HEADER_BYTES + pieceCount(imageSizeBytes) * PIECE_DIGEST_BYTES;

/** The digests of `count` pieces from `first`, as a range of the index. */
export function pieceDigestRange(first: number, count: number): { readonly offset: number; readonly length: number } {
  return { offset: PIECE_INDEX_HEADER_BYTES + first * PIECE_DIGEST_BYTES, length: count * PIECE_DIGEST_BYTES };
}

export function encodePieceIndexHeader(imageSizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(PIECE_INDEX_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, PIECES_MAGIC);
  view.setUint32(4, PIECES_VERSION);
  view.setBigUint64(8, BigInt(imageSizeBytes));
  view.setUint32(16, TRANSPORT_PIECE_BYTES);
  view.setUint32(20, pieceCount(imageSizeBytes));
  return bytes;
}

/** That these first bytes of a piece index are those of an image of this signed size. */
export function checkPieceIndexHeader(bytes: Uint8Array, imageSizeBytes: number): Decoding<null> {
  if (bytes.length < PIECE_INDEX_HEADER_BYTES) return malformed(`${bytes.length} bytes are no header`);
  const due = encodePieceIndexHeader(imageSizeBytes);
  if (due.some((byte, at) => bytes[at] !== byte)) return malformed('not the piece index of this image');
  return { ok: true, value: null };
}

// --- pieces ------------------------------------------------------------------------------------------------------

/** One request asks for at most so many plain bytes. */
export const PIECES_PLAIN_CAP_BYTES = 4 * 1024 * 1024;
export const PIECES_PER_REQUEST = PIECES_PLAIN_CAP_BYTES / TRANSPORT_PIECE_BYTES;
const PIECE_RUN_BYTES = 8;
/** Largest body of a pieces request: every piece a run of its own. */
export const PIECES_BODY_CAP_BYTES = PIECES_PER_REQUEST * PIECE_RUN_BYTES;

/** `count` pieces from number `first`. */
export interface PieceRun {
  readonly first: number;
  readonly count: number;
}

/** The body of a pieces request: u32 first, u32 count for each run, ascending, without overlap. */
export function encodePieceRuns(runs: readonly PieceRun[]): Uint8Array {
  const bytes = new Uint8Array(runs.length * PIECE_RUN_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [place, run] of runs.entries()) {
    view.setUint32(place * PIECE_RUN_BYTES, run.first);
    view.setUint32(place * PIECE_RUN_BYTES + 4, run.count);
  }
  return bytes;
}

/** Refuses an empty or overlong list, runs out of order, empty or overlapping, and pieces that the image does not have. */
export function decodePieceRuns(bytes: Uint8Array, imageSizeBytes: number): Decoding<readonly PieceRun[]> {
  if (bytes.length === 0 || bytes.length % PIECE_RUN_BYTES !== 0 || bytes.length > PIECES_BODY_CAP_BYTES) {
    return malformed(`${bytes.length} bytes are no list of runs`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pieces = pieceCount(imageSizeBytes);
  const runs: PieceRun[] = [];
  let asked = 0;
  let end = 0;
  for (let at = 0; at < bytes.length; at += PIECE_RUN_BYTES) {
    const first = view.getUint32(at);
    const count = view.getUint32(at + 4);
    if (count === 0) return malformed('a run of no pieces');
    if (first < end) return malformed(`a run begins at ${first}, the one before it ends at ${end}`);
    end = first + count;
    asked += count;
    if (end > pieces) return malformed(`a run ends at ${end}, the image has ${pieces} pieces`);
    if (asked > PIECES_PER_REQUEST) return malformed(`more than ${PIECES_PER_REQUEST} pieces`);
    runs.push({ first, count });
  }
  return { ok: true, value: runs };
}

/** Plain bytes that the answer to these runs has, in their order. */
export function piecesPlainBytes(runs: readonly PieceRun[], imageSizeBytes: number): number {
  return runs.reduce((sum, { first, count }) => {
    const start = first * TRANSPORT_PIECE_BYTES;
    return sum + Math.min(count * TRANSPORT_PIECE_BYTES, imageSizeBytes - start);
  }, 0);
}
