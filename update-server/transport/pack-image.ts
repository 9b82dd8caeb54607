/**
 * An image as packed blocks, and the index of its 4 KiB pieces (protocol/image-transport.ts). Reads the image once, holds
 * a few blocks of it, and fails when the bytes are not those that its digest names: a disk that lost bits is found here.
 */
import { hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, gzip, zstdCompress } from 'node:zlib';
import {
  encodePackedIndex,
  encodePieceIndexHeader,
  PACKED_HEADER_BYTES,
  type PackedCoding,
  PIECE_DIGEST_BYTES,
  pieceIndexSizeBytes,
  TRANSPORT_PIECE_BYTES,
} from '../../protocol/image-transport.ts';
import { BLOCK_BYTES, blockCount } from '../../trust/blocks.ts';
import { hex } from '../../trust/bytes.ts';
import { Sha256 } from '../../trust/crypto.ts';

/** Blocks compressed at the same time: as many as Node has threads for it. */
const LANES = 4;
/** Made once, fetched often. 32 MiB of a program: 11.2 MB in 12 s of CPU; level 15 12.1 MB in 5 s, level 12 12.2 MB in 1 s. */
const ZSTD_LEVEL = 19;
const GZIP_LEVEL = 9;

export interface PackRequest {
  readonly imagePath: string;
  readonly imageSha256: string;
  readonly outPath: string;
  readonly onProgress: (step: string, done: number, total: number) => void;
}

const zstd = promisify(zstdCompress);
const deflate = promisify(gzip);

const COMPRESS: Readonly<Record<PackedCoding, (block: Uint8Array) => Promise<Uint8Array>>> = {
  zstd: (block) => zstd(block, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } }),
  gzip: (block) => deflate(block, { level: GZIP_LEVEL }),
};

/** Writes the packed image to `outPath`. Throws Error where the image is not the one that it is called. */
export async function packBlocks(request: PackRequest & { readonly coding: PackedCoding }): Promise<void> {
  const compress = COMPRESS[request.coding];
  await overImage(request, async (image, sizeBytes, out) => {
    const count = blockCount(sizeBytes);
    const sizes: number[] = [];
    let end = PACKED_HEADER_BYTES + count * 4;
    const whole = new Sha256();
    while (sizes.length < count) {
      const blocks: Buffer[] = [];
      for (let number = sizes.length; number < count && blocks.length < LANES; number += 1) {
        const block = await readAt(
          image,
          number * BLOCK_BYTES,
          Math.min(BLOCK_BYTES, sizeBytes - number * BLOCK_BYTES),
        );
        whole.update(block);
        blocks.push(block);
      }
      for (const packed of await Promise.all(blocks.map((block) => packBlock(block, compress)))) {
        await out.write(packed, 0, packed.length, end);
        end += packed.length;
        sizes.push(packed.length);
      }
      request.onProgress('packing', sizes.length, count);
    }
    const index = encodePackedIndex(request.coding, sizes);
    await out.write(index, 0, index.length, 0);
    return whole;
  });
}

/** Nothing for zeros; the block itself where compressing does not pay. */
async function packBlock(block: Buffer, compress: (block: Uint8Array) => Promise<Uint8Array>): Promise<Uint8Array> {
  if (block.every((byte) => byte === 0)) return new Uint8Array();
  const packed = await compress(block);
  return packed.length < block.length ? packed : block;
}

/** Writes the piece index to `outPath`. Throws Error where the image is not the one that it is called. */
export async function indexPieces(request: PackRequest): Promise<void> {
  await overImage(request, async (image, sizeBytes, out) => {
    const header = encodePieceIndexHeader(sizeBytes);
    await out.write(header, 0, header.length, 0);
    let end = header.length;
    const whole = new Sha256();
    for (let at = 0; at < sizeBytes; at += BLOCK_BYTES) {
      const block = await readAt(image, at, Math.min(BLOCK_BYTES, sizeBytes - at));
      whole.update(block);
      const digests = Buffer.alloc(Math.ceil(block.length / TRANSPORT_PIECE_BYTES) * PIECE_DIGEST_BYTES);
      for (let piece = 0; piece * TRANSPORT_PIECE_BYTES < block.length; piece += 1) {
        const start = piece * TRANSPORT_PIECE_BYTES;
        const digest = hash('sha256', block.subarray(start, start + TRANSPORT_PIECE_BYTES), 'buffer');
        digest.copy(digests, piece * PIECE_DIGEST_BYTES, 0, PIECE_DIGEST_BYTES);
      }
      await out.write(digests, 0, digests.length, end);
      end += digests.length;
      request.onProgress('pieces', at + block.length, sizeBytes);
    }
    if (end !== pieceIndexSizeBytes(sizeBytes)) throw new Error(`the piece index ends at ${end}`);
    return whole;
  });
}

async function overImage(
  { imagePath, imageSha256, outPath }: PackRequest,
  work: (image: FileHandle, sizeBytes: number, out: FileHandle) => Promise<Sha256>,
): Promise<void> {
  const image = await open(imagePath, 'r');
  try {
    const out = await open(outPath, 'w', 0o600);
    try {
      const found = hex((await work(image, (await image.stat()).size, out)).digest());
      if (found !== imageSha256) throw new Error(`the stored image is damaged: it hashes to ${found}`);
    } finally {
      await out.close();
    }
  } finally {
    await image.close();
  }
}

async function readAt(image: FileHandle, position: number, length: number): Promise<Buffer> {
  const block = Buffer.alloc(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await image.read(block, filled, length - filled, position + filled);
    if (bytesRead === 0) throw new Error(`the image became shorter at ${position + filled}`);
    filled += bytesRead;
  }
  return block;
}
