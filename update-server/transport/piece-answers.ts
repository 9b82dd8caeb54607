/**
 * Answers to a request for single pieces: read from the artifact, one after another, compressed as one. The only thing of
 * transport that is computed on a request's path, so it is bounded: bytes of one answer, answers at a time, and of them
 * those of one device.
 */
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, gzip, zstdCompress } from 'node:zlib';
import {
  decodePieceRuns,
  type PackedCoding,
  type PieceRun,
  piecesPlainBytes,
  TRANSPORT_PIECE_BYTES,
} from '../../protocol/image-transport.ts';

/** Each holds at most 4 MiB, until the device has it. */
const ANSWERS_AT_MOST = 32;
const ANSWERS_OF_ONE_DEVICE = 2;
/** Level 1 to 3 compress faster than the network takes it. */
const ZSTD_LEVEL = 3;
const GZIP_LEVEL = 4;

const zstd = promisify(zstdCompress);
const deflate = promisify(gzip);

export type PieceCoding = PackedCoding | 'identity';

export type PieceAnswer =
  | { readonly outcome: 'answered'; readonly bytes: Uint8Array; readonly coding: PieceCoding }
  | { readonly outcome: 'malformed'; readonly detail: string }
  /** Nothing was read. */
  | { readonly outcome: 'busy' };

export interface PieceRequest {
  readonly deviceId: string;
  readonly imagePath: string;
  readonly imageSizeBytes: number;
  /** The body as it came. */
  readonly body: Uint8Array;
  /** The header, as it came. */
  readonly acceptEncoding: string;
}

export class PieceAnswers {
  readonly #byDevice = new Map<string, number>();
  #open = 0;

  /** `ended` settles when the device has the answer, or is gone: until then it counts. */
  async answer(request: PieceRequest, ended: Promise<unknown>): Promise<PieceAnswer> {
    const runs = decodePieceRuns(request.body, request.imageSizeBytes);
    if (!runs.ok) return { outcome: 'malformed', detail: runs.detail };
    const ofDevice = this.#byDevice.get(request.deviceId) ?? 0;
    if (this.#open >= ANSWERS_AT_MOST || ofDevice >= ANSWERS_OF_ONE_DEVICE) return { outcome: 'busy' };
    this.#open += 1;
    this.#byDevice.set(request.deviceId, ofDevice + 1);
    void ended.then(() => this.#end(request.deviceId));
    const plain = await readRuns(request.imagePath, runs.value, request.imageSizeBytes);
    const coding = codingFor(request.acceptEncoding);
    return { outcome: 'answered', bytes: await compress(plain, coding), coding };
  }

  #end(deviceId: string): void {
    this.#open -= 1;
    const left = (this.#byDevice.get(deviceId) ?? 1) - 1;
    if (left === 0) this.#byDevice.delete(deviceId);
    else this.#byDevice.set(deviceId, left);
  }
}

/** zstd where the header names it, else gzip, else nothing. Names with `q=0` are not named. */
function codingFor(acceptEncoding: string): PieceCoding {
  const named = acceptEncoding
    .toLowerCase()
    .split(',')
    .map((one) => one.trim().split(/\s*;\s*/))
    .filter(([, weight]) => weight === undefined || !/^q=0(?:\.0*)?$/.test(weight))
    .map(([name]) => name);
  return (['zstd', 'gzip'] as const).find((coding) => named.includes(coding)) ?? 'identity';
}

async function readRuns(path: string, runs: readonly PieceRun[], imageSizeBytes: number): Promise<Buffer> {
  const plain = Buffer.alloc(piecesPlainBytes(runs, imageSizeBytes));
  const file = await open(path, 'r');
  try {
    let filled = 0;
    for (const { first, count } of runs) {
      const start = first * TRANSPORT_PIECE_BYTES;
      const end = filled + Math.min(count * TRANSPORT_PIECE_BYTES, imageSizeBytes - start);
      const base = filled;
      while (filled < end) {
        const { bytesRead } = await file.read(plain, filled, end - filled, start + filled - base);
        if (bytesRead === 0) throw new Error(`the artifact ${path} is shorter than its image`);
        filled += bytesRead;
      }
    }
  } finally {
    await file.close();
  }
  return plain;
}

async function compress(plain: Buffer, coding: PieceCoding): Promise<Uint8Array> {
  if (coding === 'zstd') return zstd(plain, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
  return coding === 'gzip' ? deflate(plain, { level: GZIP_LEVEL }) : plain;
}
