/**
 * Metadata and targets as devices fetch them. Targets are content-addressed: the digest before the file name says which
 * bytes, and nothing else in the path is looked at, so that an artifact stays reachable for a device which still
 * works with older targets metadata. Ranges let a cut transfer go on where it broke.
 */
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import { notFound } from './errors.ts';
import { sendRange } from './send-range.ts';

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

/** `onServed` hears of each answer from targets how many bytes were read for it. */
export function serveRepository(
  app: FastifyInstance,
  repository: RepositoryFiles,
  onServed: (bytes: number) => void,
): void {
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
    serveTarget(repository, request.params['*'], request, reply, onServed),
  );
}

async function serveTarget(
  repository: RepositoryFiles,
  path: string,
  request: FastifyRequest,
  reply: FastifyReply,
  onServed: (bytes: number) => void,
): Promise<FastifyReply> {
  const sha256 = path.length > TARGET_PATH_MAX ? undefined : TARGET_NAME.exec(path)?.[1];
  const found = sha256 === undefined ? undefined : await repository.hasArtifact(sha256);
  if (sha256 === undefined || found === undefined) throw notFound();
  const read = (first: number, last: number): Readable => repository.readArtifact(sha256, first, last);
  return sendRange(request, reply, { sizeBytes: found.sizeBytes, etag: `"${sha256}"`, read }, onServed);
}
