/**
 * Metadata and targets as devices fetch them. Targets are content-addressed: the digest before the file name says which
 * bytes, and nothing else in the path is looked at, so that an artifact stays reachable for a device which still
 * works with older targets metadata. Ranges let a cut transfer go on where it broke.
 */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import { decodeRange } from '../byte-range.ts';
import { DeviceApiError, notFound } from './errors.ts';

export interface RepositoryFiles {
  /** A metadata file by name, or undefined. */
  readMetadata(name: string): Promise<Uint8Array | undefined>;
  /** Size of a stored artifact, or undefined. */
  hasArtifact(sha256: string): Promise<{ readonly sizeBytes: number } | undefined>;
  /** Its bytes from `first` to `last`, both inclusive. */
  readArtifact(sha256: string, first: number, last: number): Readable;
}

export const METADATA_NAME = /^(?:timestamp|[1-9]\d{0,11}\.(?:root|snapshot|targets))\.json$/;
const TARGET_NAME = /(?:^|\/)([0-9a-f]{64})\.[a-z0-9][a-z0-9._-]*$/;
const TARGET_PATH_MAX = 512;

export function serveRepository(app: FastifyInstance, repository: RepositoryFiles): void {
  app.get<{ Params: { name: string } }>(`${DEVICE_PATHS.metadata}/:name`, async (request, reply) => {
    const { name } = request.params;
    const bytes = METADATA_NAME.test(name) ? await repository.readMetadata(name) : undefined;
    if (bytes === undefined) throw notFound();
    const fixed = name !== 'timestamp.json';
    reply.header('cache-control', fixed ? 'public, max-age=31536000, immutable' : 'no-cache');
    return reply.type('application/json').send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  });
  // Fastify answers HEAD with the same handler.
  app.get<{ Params: { '*': string } }>(`${DEVICE_PATHS.targets}/*`, (request, reply) =>
    serveTarget(repository, request.params['*'], request, reply),
  );
}

async function serveTarget(
  repository: RepositoryFiles,
  path: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const sha256 = path.length > TARGET_PATH_MAX ? undefined : TARGET_NAME.exec(path)?.[1];
  const found = sha256 === undefined ? undefined : await repository.hasArtifact(sha256);
  if (sha256 === undefined || found === undefined) throw notFound();
  const etag = `"${sha256}"`;
  reply.headers({ etag, 'accept-ranges': 'bytes', 'cache-control': 'public, max-age=31536000, immutable' });
  reply.type('application/octet-stream');
  const ifRange = request.headers['if-range'];
  const wanted = ifRange === undefined || ifRange === etag ? request.headers.range : undefined;
  const range = decodeRange(wanted, found.sizeBytes);
  if (range.kind === 'unsatisfiable') throw rangeRefused(reply, found.sizeBytes);
  const { first, last } = range.kind === 'part' ? range : { first: 0, last: found.sizeBytes - 1 };
  reply.header('content-length', last - first + 1);
  if (range.kind === 'part') reply.code(206).header('content-range', `bytes ${first}-${last}/${found.sizeBytes}`);
  // An empty stream, not nothing: for nothing the framework would announce a length of 0.
  if (request.method === 'HEAD' || last < first) return reply.send(Readable.from([]));
  return reply.send(repository.readArtifact(sha256, first, last));
}

function rangeRefused(reply: FastifyReply, sizeBytes: number): DeviceApiError {
  reply.header('content-range', `bytes */${sizeBytes}`);
  return new DeviceApiError(416, {
    code: 'range-not-satisfiable',
    what: `the file has ${sizeBytes} bytes`,
    cure: 'Ask for a range inside the file.',
  });
}
