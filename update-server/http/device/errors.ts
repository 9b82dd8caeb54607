/**
 * How the device listener says no: always an `ErrorAnswer`, with a stable code, what is wrong and a cure. Nothing of
 * the inside (stack, path, SQL) leaves the server; what is not expected is logged here and answered as `server-bug`.
 */
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorAnswer } from '../../../protocol/device-api.ts';

/** Thrown by routes and hooks of this listener, caught by `answerError` alone. */
export class DeviceApiError extends Error {
  override readonly name = 'DeviceApiError';
  readonly status: number;
  readonly answer: ErrorAnswer;

  constructor(status: number, facts: { code: string; what: string; cure: string; where?: string }) {
    super(facts.what);
    this.status = status;
    this.answer = {
      ok: false,
      code: facts.code,
      what: facts.what.slice(0, 1024),
      cure: facts.cure,
      ...(facts.where === undefined ? {} : { where: facts.where.slice(0, 256) }),
    };
  }
}

export const notFound = (): DeviceApiError =>
  new DeviceApiError(404, {
    code: 'not-found',
    what: 'there is nothing at this address',
    cure: 'Check the address and the method; see docs/DEVICE_PROTOCOL.md.',
  });

export function answerError(
  error: FastifyError | DeviceApiError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const known = error instanceof DeviceApiError ? error : ofFramework(error, request.log);
  // A refused peer gets no second try on a connection that is already open.
  if (known.status === 401 || known.status === 403) reply.header('connection', 'close');
  return reply.code(known.status).type('application/json').send(known.answer);
}

function ofFramework(error: FastifyError, log: FastifyBaseLogger): DeviceApiError {
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE' || error.statusCode === 413) {
    return new DeviceApiError(413, {
      code: 'body-too-large',
      what: 'the body is larger than this address takes',
      cure: 'Send less in one request.',
    });
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new DeviceApiError(error.statusCode, {
      code: 'request-malformed',
      what: error.message,
      cure: 'Send what docs/DEVICE_PROTOCOL.md describes for this address.',
    });
  }
  log.error({ err: error }, 'a request failed in a way that it should not');
  return new DeviceApiError(500, {
    code: 'server-bug',
    what: 'the server failed to answer this request',
    cure: 'Try again later; the server has logged why.',
  });
}
