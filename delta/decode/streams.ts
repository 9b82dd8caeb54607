/**
 * Decompression with a cap. Node's decompressors end the output at `maxOutputLength` with an error, so that a few bytes
 * cannot become many.
 */
import * as zlib from 'node:zlib';
import { CODECS, type StreamEntry } from '../format.ts';

/** zlib takes no output chunk below this. */
const LEAST_CHUNK_BYTES = 64;

/** Exactly `entry.plainBytes` bytes; undefined for anything else that comes out, and for an unknown codec. */
export function unpackStream(entry: StreamEntry, packed: Uint8Array): Uint8Array | undefined {
  const { codec, plainBytes } = entry;
  if (codec === CODECS.stored) return packed.length === plainBytes ? packed : undefined;
  // One chunk that holds it all: no second copy is made.
  const options = { maxOutputLength: Math.max(plainBytes, 1), chunkSize: Math.max(plainBytes, LEAST_CHUNK_BYTES) };
  try {
    if (codec === CODECS.brotli) return exactly(plainBytes, zlib.brotliDecompressSync(packed, options));
    if (codec === CODECS.zstd) return exactly(plainBytes, zlib.zstdDecompressSync(packed, options));
  } catch {
    return undefined;
  }
  return undefined;
}

function exactly(length: number, bytes: Uint8Array): Uint8Array | undefined {
  return bytes.length === length ? bytes : undefined;
}
