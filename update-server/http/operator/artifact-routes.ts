/** Artifacts, metadata, publication and releases. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as v from 'valibot';
import { Sha256Hex } from '../../../protocol/device-api.ts';
import {
  ARTIFACT_CAP_BYTES,
  ARTIFACT_PIECE_CAP_BYTES,
  ArtifactAnswer,
  OPERATOR_PATHS,
  PUBLISH_BODY_CAP_BYTES,
  PublishAnswer,
  PublishRequest,
  ReleasesAnswer,
} from '../../../protocol/operator-api.ts';
import { decodeRange } from '../byte-range.ts';
import { OperatorApiError, unknown } from './errors.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute } from './route.ts';

const ArtifactParams = v.strictObject({ sha256: Sha256Hex });
/** The names of TUF's own files, and nothing that is a path. */
const MetadataParams = v.strictObject({
  name: v.pipe(v.string(), v.regex(/^(?:\d{1,15}\.)?(?:root|timestamp|snapshot|targets)\.json$/)),
});

export function addReleaseRoutes(app: FastifyInstance, { store, publication, preparation }: OperatorApiPorts): void {
  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.releases,
      access: 'releases.read',
      summary: 'Newest first, and the forms in which their images travel.',
      answer: ReleasesAnswer,
    },
    async () => ({ releases: [...(await store.listReleases())], transport: preparation.list() }),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.publish,
      access: 'releases.publish',
      summary: 'Publishes signed targets; whatever a device would refuse is refused here.',
      body: PublishRequest,
      answer: PublishAnswer,
      bodyCapBytes: PUBLISH_BODY_CAP_BYTES,
    },
    async ({ body, actor }) => {
      const outcome = await publication.publish(body, actor);
      if (!outcome.ok) throw new OperatorApiError(422, outcome);
      return outcome.answer;
    },
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: `${OPERATOR_PATHS.metadata}/:name`,
      access: 'metadata.read',
      summary: 'A metadata file, as devices get it.',
      params: MetadataParams,
    },
    async ({ params, reply }) => {
      const bytes = await publication.readMetadata(params.name);
      if (bytes === undefined)
        throw unknown('metadata-missing', `there is no ${params.name}`, 'Check name and version.');
      await reply.type('application/json').send(Buffer.from(bytes));
      return undefined;
    },
  );
}

export function addArtifactRoutes(app: FastifyInstance, { publication }: OperatorApiPorts): void {
  // Artifacts pass through as a stream; nothing of them is held in memory.
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));

  addRoute(
    app,
    {
      method: 'PUT',
      url: `${OPERATOR_PATHS.artifacts}/:sha256`,
      access: 'artifacts.write',
      summary: 'Raw bytes, stored under their SHA-256; of what is there already nothing is read.',
      params: ArtifactParams,
      answer: ArtifactAnswer,
      bodyCapBytes: ARTIFACT_CAP_BYTES,
    },
    async ({ params: { sha256 }, request, reply }) => {
      const sizeBytes = sizeOf(request.headers['content-length']);
      const there = await publication.hasArtifact(sha256);
      if (there !== undefined) {
        reply.header('connection', 'close');
        return { sha256, sizeBytes: there.sizeBytes };
      }
      const stored = await publication.putArtifact(sha256, request.body as AsyncIterable<Uint8Array>, sizeBytes);
      if (!stored.ok) throw new OperatorApiError(422, stored);
      return { sha256, sizeBytes };
    },
  );

  addRoute(
    app,
    {
      method: 'HEAD',
      url: `${OPERATOR_PATHS.artifacts}/:sha256`,
      access: 'artifacts.read',
      summary: 'Is it there, and how large?',
      params: ArtifactParams,
    },
    async ({ params, reply }) => {
      const found = await publication.hasArtifact(params.sha256);
      if (found === undefined) throw unknown('artifact-missing', `there is no artifact ${params.sha256}`, 'Upload it.');
      await reply.type('application/octet-stream').header('content-length', found.sizeBytes).send();
      return undefined;
    },
  );

  addRoute(
    app,
    {
      method: 'GET',
      url: `${OPERATOR_PATHS.artifacts}/:sha256`,
      access: 'artifacts.download',
      summary: 'A range of its bytes.',
      params: ArtifactParams,
    },
    ({ params, request, reply }) => sendPiece(publication, params.sha256, request, reply),
  );
}

/** In pieces, so that a transfer which is cut goes on where it broke; never more than one piece in one answer. */
async function sendPiece(
  publication: OperatorApiPorts['publication'],
  sha256: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<undefined> {
  const found = await publication.hasArtifact(sha256);
  if (found === undefined) throw unknown('artifact-missing', `there is no artifact ${sha256}`, 'See the releases.');
  const range = decodeRange(request.headers.range, found.sizeBytes);
  if (range.kind !== 'part' || range.last - range.first >= ARTIFACT_PIECE_CAP_BYTES) {
    throw new OperatorApiError(416, {
      code: 'range-not-satisfiable',
      what: `an artifact is given out in ranges inside its ${found.sizeBytes} bytes, ${ARTIFACT_PIECE_CAP_BYTES} at most`,
      cure: 'Send a range header.',
    });
  }
  const { first, last } = range;
  reply.headers({ 'content-length': last - first + 1, 'content-range': `bytes ${first}-${last}/${found.sizeBytes}` });
  await reply
    .code(206)
    .type('application/octet-stream')
    .send(Readable.from(publication.readArtifact(sha256, first, last)));
  return undefined;
}

function sizeOf(header: string | undefined): number {
  const sizeBytes = header === undefined ? Number.NaN : Number(header);
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) return sizeBytes;
  throw new OperatorApiError(411, {
    code: 'length-missing',
    what: 'an artifact comes with its length',
    cure: 'Send a content-length header.',
  });
}
