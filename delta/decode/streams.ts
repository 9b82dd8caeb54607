/**
 * Decompression with caps: not a byte more than was announced comes out, and no frame makes its decompressor reserve a
 * window of more than 8 MiB.
 *
 * What comes out lies in a buffer of its own each time. Left to the collector, they pile up to twice the memory of
 * everything else; whoever has no more use for one gives it back at once (`releaseBytes`), which also halves the CPU.
 */
import { CODECS, type StreamEntry } from '../format.ts';

export type Compression = 'zstd' | 'gzip' | 'brotli';

/** zlib takes no output chunk below this; with so much to spare it does not make a second one when the first is full. */
const SPARE_BYTES = 64;
const WINDOW_LOG_AT_MOST = 23;
/** Smaller buffers may lie in Node's pool together with others. */
const LEAST_OWN_BYTES = 128 * 1024;

/** Does this runtime have it? zstd came with Node 22.15. */
export function canUnpack(compression: Compression): boolean {
  return compression !== 'zstd' || zlib().zstdDecompressSync !== undefined;
}

/** Exactly `plainBytes` bytes; undefined for anything else that comes out. */
export function unpack(compression: Compression, packed: Uint8Array, plainBytes: number): Uint8Array | undefined {
  const { brotliDecompressSync, gunzipSync, zstdDecompressSync, constants } = zlib();
  // One chunk that holds it all: no second copy is made.
  const options = { maxOutputLength: Math.max(plainBytes, 1), chunkSize: plainBytes + SPARE_BYTES };
  try {
    const plain =
      compression === 'brotli'
        ? brotliDecompressSync(packed, options)
        : compression === 'gzip'
          ? gunzipSync(packed, options)
          : zstdDecompressSync(packed, {
              ...options,
              params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_AT_MOST },
            });
    return plain.length === plainBytes ? plain : undefined;
  } catch {
    return undefined;
  }
}

/** Fills all of `into`. `false`: something else came out, and what lies in `into` is of no use. */
export function unpackInto(compression: Compression, packed: Uint8Array, into: Uint8Array): boolean {
  const plain = unpack(compression, packed, into.length);
  if (plain === undefined) return false;
  into.set(plain);
  releaseBytes(plain);
  return true;
}

/** One stream of a pack: exactly `entry.plainBytes` bytes, in memory of their own; undefined also for an unknown codec. */
export function unpackStream(entry: StreamEntry, packed: Uint8Array): Uint8Array | undefined {
  const { codec, plainBytes } = entry;
  if (codec === CODECS.stored) return packed.length === plainBytes ? packed.slice() : undefined;
  if (codec === CODECS.brotli) return unpack('brotli', packed, plainBytes);
  return codec === CODECS.zstd ? unpack('zstd', packed, plainBytes) : undefined;
}

/** Gives the memory back now. The bytes are gone: nobody else may look at them, or at others of the same buffer. */
export function releaseBytes(bytes: Uint8Array): void {
  if (bytes.length >= LEAST_OWN_BYTES && bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}

/** Not imported: an idle agent has no use for it. */
function zlib(): typeof import('node:zlib') {
  return process.getBuiltinModule('node:zlib');
}
