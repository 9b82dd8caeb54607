/**
 * The baseline that knows content only: the 4 KiB pieces of the new image that the old one has nowhere, packed together,
 * and an index that says where each piece of the new image comes from. As small as it gets without a signed index.
 */
import { hash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { createZstdDecompress, zstdDecompressSync } from 'node:zlib';

const PIECE_BYTES = 4096;
/** In the index: the next of the packed pieces. */
const PACKED = 0;

/**
 * Writes the missing pieces, once each, to `path`. The index has one number for each piece of the new image: 0, the next
 * packed one; else where it lies (in the old image, or after it in the new one), as the step from where the last such
 * piece ended, zigzag, plus one: pieces that follow one another are all 1.
 */
export function packPieces(old: Uint8Array, fresh: Uint8Array, path: string): { readonly index: Uint8Array } {
  const places = new Map<string, number>();
  const oldCount = Math.ceil(old.length / PIECE_BYTES);
  for (let piece = 0; piece < oldCount; piece += 1) {
    const digest = digestOf(old, piece);
    if (!places.has(digest)) places.set(digest, piece);
  }
  const count = Math.ceil(fresh.length / PIECE_BYTES);
  const index = new Uint32Array(count);
  const out = openSync(path, 'w');
  let due = 0;
  for (let piece = 0; piece < count; piece += 1) {
    const digest = digestOf(fresh, piece);
    // Where the run goes on is as good as anywhere, and costs nothing to say.
    const goesOn = due < oldCount && digestOf(old, due) === digest;
    const place = goesOn ? due : places.get(digest);
    if (place === undefined) {
      writeSync(out, pieceOf(fresh, piece));
      places.set(digest, oldCount + piece);
      index[piece] = PACKED;
    } else {
      const step = place - due;
      index[piece] = (step < 0 ? -2 * step - 1 : 2 * step) + 1;
      due = place + 1;
    }
  }
  closeSync(out);
  return { index: new Uint8Array(index.buffer) };
}

const pieceOf = (bytes: Uint8Array, piece: number): Uint8Array =>
  bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES);

const digestOf = (bytes: Uint8Array, piece: number): string => hash('sha256', pieceOf(bytes, piece), 'base64');

/** Makes the new image, reading the packed pieces once from front to back. */
export async function applyPieces(oldPath: string, indexPath: string, piecesPath: string, outPath: string) {
  const packedIndex = zstdDecompressSync(readFileSync(indexPath));
  const index = new Uint32Array(packedIndex.buffer, packedIndex.byteOffset, packedIndex.byteLength / 4);
  const [old, out] = [openSync(oldPath, 'r'), openSync(outPath, 'w+')];
  const oldCount = Math.ceil(fstatSync(old).size / PIECE_BYTES);
  const packed = piecesOf(piecesPath);
  const piece = Buffer.alloc(PIECE_BYTES);
  let due = 0;
  for (const [number, code] of index.entries()) {
    if (code === PACKED) {
      const next = await packed.next();
      if (next.done === true) throw new Error('there are fewer pieces than the index has');
      writeSync(out, next.value, 0, next.value.length, number * PIECE_BYTES);
      continue;
    }
    const zigzag = code - 1;
    const place = due + (zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2);
    const [file, from] = place < oldCount ? [old, place] : [out, place - oldCount];
    const length = readSync(file, piece, 0, PIECE_BYTES, from * PIECE_BYTES);
    writeSync(out, piece, 0, length, number * PIECE_BYTES);
    due = place + 1;
  }
  closeSync(old);
  closeSync(out);
}

async function* piecesOf(path: string): AsyncGenerator<Buffer> {
  let kept = Buffer.alloc(0);
  for await (const chunk of createReadStream(path).pipe(createZstdDecompress())) {
    kept = Buffer.concat([kept, chunk]);
    let at = 0;
    for (; at + PIECE_BYTES <= kept.length; at += PIECE_BYTES) yield kept.subarray(at, at + PIECE_BYTES);
    kept = kept.subarray(at);
  }
  if (kept.length > 0) yield kept;
}
