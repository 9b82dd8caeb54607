/**
 * Smaller forms of images from memory, made by the real packers and the real encoder. Everything served can be altered,
 * cut off, held back or counted.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import {
  type ImageTransport,
  type RangeMemory,
  SourceUnreachable,
  type TransportAnswer,
} from '../../agent/core/ports.ts';
import { encodeDelta } from '../../delta/encode/encode.ts';
import {
  decodePieceRuns,
  encodePackedIndex,
  encodePieceIndexHeader,
  PIECE_DIGEST_BYTES,
  TRANSPORT_PIECE_BYTES,
  transportPaths,
} from '../../protocol/image-transport.ts';
import { BLOCK_BYTES } from '../../trust/blocks.ts';
import { concat } from '../../trust/bytes.ts';
import { sha256, sha256Hex } from '../../trust/crypto.ts';

export function packImage(image: Uint8Array, coding: 'zstd' | 'gzip' = 'zstd'): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let at = 0; at < image.length; at += BLOCK_BYTES) {
    const plain = image.subarray(at, at + BLOCK_BYTES);
    const packed = new Uint8Array(coding === 'zstd' ? zstdCompressSync(plain) : gzipSync(plain));
    const zeros = plain.every((byte) => byte === 0);
    blocks.push(zeros ? new Uint8Array(0) : packed.length < plain.length ? packed : plain);
  }
  const sizes = blocks.map(({ length }) => length);
  return concat(encodePackedIndex(coding, sizes), ...blocks);
}

export function pieceIndexOf(image: Uint8Array): Uint8Array {
  const parts = [encodePieceIndexHeader(image.length)];
  for (let at = 0; at < image.length; at += TRANSPORT_PIECE_BYTES) {
    parts.push(sha256(image.subarray(at, at + TRANSPORT_PIECE_BYTES)).subarray(0, PIECE_DIGEST_BYTES));
  }
  return concat(...parts);
}

/** By the encoder that the server runs. */
export async function makeRecipe(old: Uint8Array, fresh: Uint8Array, packPlainBytes?: number): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-recipe-'));
  try {
    const [oldPath, newPath, outPath] = [join(directory, 'old'), join(directory, 'new'), join(directory, 'out')];
    await writeFile(oldPath, old);
    await writeFile(newPath, fresh);
    const packs = packPlainBytes === undefined ? {} : { packPlainBytes };
    await encodeDelta({ oldPath, newPath, outPath, memoryBytes: 8 * 2 ** 20, ...packs });
    return new Uint8Array(await readFile(outPath));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export class MemoryTransport implements ImageTransport {
  /** By path of `transportPaths`. */
  readonly files = new Map<string, Uint8Array>();
  readonly #images = new Map<string, Uint8Array>();
  /** Every request, and how many bytes it brought. */
  readonly served: { readonly path: string; readonly offset: number; bytes: number }[] = [];
  /** Answers in place of the file, where it answers. */
  instead: (path: string) => TransportAnswer | undefined = () => undefined;
  /** What is given for pieces, in place of what was asked for. */
  alterPieces: (plain: Uint8Array) => Uint8Array = (plain) => plain;
  /** The connection breaks after so many bytes. */
  cutAfterBytes = Number.POSITIVE_INFINITY;

  /** Everything that a server has of an image. */
  addImage(image: Uint8Array): void {
    const digest = sha256Hex(image);
    this.#images.set(transportPaths.pieces(digest), image);
    this.files.set(transportPaths.blocks(digest, 'zstd'), packImage(image));
    this.files.set(transportPaths.pieces(digest), pieceIndexOf(image));
  }

  async addRecipe(old: Uint8Array, fresh: Uint8Array, packPlainBytes?: number): Promise<number> {
    const recipe = await makeRecipe(old, fresh, packPlainBytes);
    this.files.set(transportPaths.recipe(sha256Hex(fresh), sha256Hex(old)), recipe);
    return recipe.length;
  }

  /** Bytes of every file whose path contains this. */
  bytesOf(part: string): number {
    return this.served.reduce((sum, { path, bytes }) => sum + (path.includes(part) ? bytes : 0), 0);
  }

  async read(path: string, offset: number, into: RangeMemory): Promise<TransportAnswer> {
    const instead = this.instead(path);
    if (instead !== undefined) return instead;
    const file = this.files.get(path);
    if (file === undefined) return { found: 'nothing', why: 'transport-unknown' };
    const bytes = file.subarray(offset, offset + into.bytes.length);
    const passed = bytes.subarray(0, Math.min(bytes.length, this.cutAfterBytes));
    into.bytes.set(passed);
    into.received = passed.length;
    this.#count(path, offset, passed.length);
    if (passed.length < bytes.length) {
      this.cutAfterBytes = Number.POSITIVE_INFINITY;
      throw new SourceUnreachable('cut off');
    }
    this.cutAfterBytes -= passed.length;
    return { found: 'bytes', bytes: into.bytes.subarray(0, passed.length), totalBytes: file.length };
  }

  async askPieces(path: string, body: Uint8Array, capBytes: number): Promise<TransportAnswer> {
    const instead = this.instead(`POST ${path}`);
    if (instead !== undefined) return instead;
    const image = this.#images.get(path);
    const runs = image === undefined ? undefined : decodePieceRuns(body, image.length);
    if (image === undefined || runs?.ok !== true) return { found: 'nothing', why: 'transport-unknown' };
    const plain = runs.value.map(({ first, count }) =>
      image.subarray(first * TRANSPORT_PIECE_BYTES, (first + count) * TRANSPORT_PIECE_BYTES),
    );
    const bytes = new Uint8Array(zstdCompressSync(this.alterPieces(concat(...plain))));
    if (bytes.length > capBytes) return { found: 'nothing', why: 'transfer-endless' };
    this.#count(`POST ${path}`, 0, bytes.length);
    return { found: 'bytes', bytes, totalBytes: bytes.length, packed: 'zstd' };
  }

  #count(path: string, offset: number, bytes: number): void {
    this.served.push({ path, offset, bytes });
  }
}
