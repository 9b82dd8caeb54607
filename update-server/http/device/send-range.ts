/** Bytes that never change, whole or in the range that was asked for, so that a cut transfer goes on where it broke. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { decodeRange } from '../byte-range.ts';
import { DeviceApiError } from './errors.ts';

export interface SentFile {
  readonly sizeBytes: number;
  readonly etag: string;
  /** Bytes `first` to `last`, both inclusive. Called at most once. */
  read(first: number, last: number): Readable;
  /** Called instead of `read` when nothing is sent. */
  close?(): Promise<void>;
}

/** `onServed` hears at the end how many bytes were read for the answer. Throws DeviceApiError `range-not-satisfiable`. */
export async function sendRange(
  request: FastifyRequest,
  reply: FastifyReply,
  file: SentFile,
  onServed: (bytes: number) => void,
): Promise<FastifyReply> {
  const { etag, sizeBytes } = file;
  reply.headers({ etag, 'accept-ranges': 'bytes', 'cache-control': 'public, max-age=31536000, immutable' });
  reply.type('application/octet-stream');
  const ifRange = request.headers['if-range'];
  const wanted = ifRange === undefined || ifRange === etag ? request.headers.range : undefined;
  const range = decodeRange(wanted, sizeBytes);
  if (range.kind === 'unsatisfiable') {
    await file.close?.();
    throw rangeRefused(reply, sizeBytes);
  }
  const { first, last } = range.kind === 'part' ? range : { first: 0, last: sizeBytes - 1 };
  reply.header('content-length', last - first + 1);
  if (range.kind === 'part') reply.code(206).header('content-range', `bytes ${first}-${last}/${sizeBytes}`);
  if (request.method === 'HEAD' || last < first) {
    await file.close?.();
    // An empty stream, not nothing: for nothing the framework would announce a length of 0.
    return reply.send(Readable.from([]));
  }
  const stream = file.read(first, last);
  stream.once('close', () => {
    if ('bytesRead' in stream && typeof stream.bytesRead === 'number') onServed(stream.bytesRead);
  });
  return reply.send(stream);
}

function rangeRefused(reply: FastifyReply, sizeBytes: number): DeviceApiError {
  reply.header('content-range', `bytes */${sizeBytes}`);
  return new DeviceApiError(416, {
    code: 'range-not-satisfiable',
    what: `the file has ${sizeBytes} bytes`,
    cure: 'Ask for a range inside the file.',
  });
}
