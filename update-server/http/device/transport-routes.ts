/**
 * Images in other forms than whole, for any enrolled device, as targets are: packed blocks, recipes, the piece index, and
 * single pieces. What is not there is put on the list and answered at once; nothing waits here. Untrusted by design: the
 * device checks every block against the signed map.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import { PACKED_CODINGS, PIECES_BODY_CAP_BYTES, TRANSPORT_CODES } from '../../../protocol/image-transport.ts';
import type { Store } from '../../core/ports.ts';
import type { TransportForm } from '../../core/transport-plan.ts';
import type { Served } from '../../transport/counters.ts';
import { PieceAnswers } from '../../transport/piece-answers.ts';
import type { Preparation } from '../../transport/preparation.ts';
import { DeviceApiError } from './errors.ts';
import { sendRange } from './send-range.ts';

export interface TransportPorts {
  readonly preparation: Preparation;
  readonly store: Pick<Store, 'hardwareClassOf'>;
  readonly artifactPath: (sha256: string) => string;
}

const SHA256 = /^[0-9a-f]{64}$/;
/** When a device may ask again: while the form is being made, and while there is too much to do. */
const RETRY_AFTER_S = { inPreparation: 5, busy: 60, pieces: 1 } as const;
const SERVED_AS: Readonly<Record<TransportForm['kind'], Served>> = {
  blocks: 'packed',
  pieces: 'pieces',
  recipe: 'recipe',
};

interface Params {
  readonly image: string;
  readonly old?: string;
}

export function serveTransport(app: FastifyInstance, ports: TransportPorts): void {
  const image = `${DEVICE_PATHS.transport}/:image`;
  app.get<{ Params: Params; Querystring: { coding?: unknown } }>(`${image}/blocks`, (request, reply) => {
    const { coding = 'zstd' } = request.query;
    const known = (['zstd', 'gzip'] as const).find((one) => one === coding && one in PACKED_CODINGS);
    const imageSha256 = digest(request.params.image);
    if (known === undefined) throw transportUnknown();
    return serveForm(ports, { kind: 'blocks', imageSha256, coding: known }, request, reply);
  });
  app.get<{ Params: Params }>(`${image}/from/:old`, (request, reply) => {
    const imageSha256 = digest(request.params.image);
    const oldSha256 = digest(request.params.old);
    return serveForm(ports, { kind: 'recipe', imageSha256, oldSha256 }, request, reply);
  });
  app.get<{ Params: Params }>(`${image}/pieces`, (request, reply) =>
    serveForm(ports, { kind: 'pieces', imageSha256: digest(request.params.image) }, request, reply),
  );
  addPieces(app, `${image}/pieces`, ports);
}

function digest(text: string | undefined): string {
  if (text === undefined || !SHA256.test(text)) throw transportUnknown();
  return text;
}

async function serveForm(
  { preparation, store }: TransportPorts,
  form: TransportForm,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const file = await preparation.open(form);
  if (file !== undefined) {
    return sendRange(request, reply, file, (bytes) => {
      preparation.counters.servedBytes[SERVED_AS[form.kind]] += bytes;
    });
  }
  const hardwareClass = await store.hardwareClassOf(request.deviceId);
  const outcome = hardwareClass === undefined ? 'unknown' : await preparation.demand(form, hardwareClass);
  if (outcome === 'unknown') throw transportUnknown();
  throw outcome === 'queued'
    ? later(reply, RETRY_AFTER_S.inPreparation, TRANSPORT_CODES.inPreparation, 'this form of the image is being made')
    : later(reply, RETRY_AFTER_S.busy, TRANSPORT_CODES.busy, 'too many forms of images are asked for');
}

function addPieces(app: FastifyInstance, url: string, { preparation, artifactPath }: TransportPorts): void {
  const answers = new PieceAnswers();
  app.post<{ Params: Params }>(url, { bodyLimit: PIECES_BODY_CAP_BYTES }, async (request, reply) => {
    const imageSha256 = digest(request.params.image);
    const imageSizeBytes = await preparation.imageSizeBytes(imageSha256);
    if (imageSizeBytes === undefined) throw transportUnknown();
    const ended = new Promise((resolve) => reply.raw.once('close', resolve));
    const answer = await answers.answer(
      {
        deviceId: request.deviceId,
        imagePath: artifactPath(imageSha256),
        imageSizeBytes,
        body: request.body instanceof Uint8Array ? request.body : new Uint8Array(),
        acceptEncoding: String(request.headers['accept-encoding'] ?? ''),
      },
      ended,
    );
    if (answer.outcome === 'malformed') {
      throw new DeviceApiError(400, {
        code: 'pieces-malformed',
        what: `the list of pieces was refused: ${answer.detail}`,
        cure: 'Send runs of pieces of this image, ascending, within the cap (docs/DEVICE_PROTOCOL.md).',
      });
    }
    if (answer.outcome === 'busy') {
      throw later(reply, RETRY_AFTER_S.pieces, TRANSPORT_CODES.busy, 'too many pieces are asked for at once');
    }
    preparation.counters.servedBytes.pieces += answer.bytes.length;
    if (answer.coding !== 'identity') reply.header('content-encoding', answer.coding);
    reply.header('cache-control', 'no-store').type('application/octet-stream');
    return reply.send(answer.bytes);
  });
}

const transportUnknown = (): DeviceApiError =>
  new DeviceApiError(404, {
    code: TRANSPORT_CODES.unknown,
    what: 'the image is not to be had in this form',
    cure: 'Take another form of it, or the whole image.',
  });

function later(reply: FastifyReply, afterS: number, code: string, what: string): DeviceApiError {
  reply.header('retry-after', afterS);
  return new DeviceApiError(503, {
    code,
    what,
    cure: `Ask again after ${afterS} s, or take another form of the image.`,
  });
}
