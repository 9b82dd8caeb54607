/**
 * How the operator listener says no: always an `ErrorAnswer` with a stable code, what is wrong and a cure. Nothing of the
 * inside (stack, path, SQL) leaves the server; what is not expected is logged here and answered as `server-bug`.
 */
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { Fault } from '../../../platform/fault.ts';
import type { ErrorAnswer } from '../../../protocol/device-api.ts';

export interface ErrorFacts {
  readonly code: string;
  readonly what: string;
  readonly cure: string;
  readonly where?: string;
}

/** Thrown by routes and hooks of this listener, caught by `answerError` alone. */
export class OperatorApiError extends Error {
  override readonly name = 'OperatorApiError';
  readonly status: number;
  readonly answer: ErrorAnswer;

  constructor(status: number, facts: ErrorFacts) {
    super(facts.what);
    this.status = status;
    this.answer = {
      ok: false,
      code: facts.code.slice(0, 64),
      what: facts.what.slice(0, 1024),
      cure: facts.cure.slice(0, 1024),
      ...(facts.where === undefined ? {} : { where: facts.where.slice(0, 256) }),
    };
  }
}

export const unknown = (code: string, what: string, cure: string): OperatorApiError =>
  new OperatorApiError(404, { code, what, cure });

export const notFound = (): OperatorApiError =>
  unknown('not-found', 'there is nothing at this address', 'Check the address and the method; /docs lists them all.');

export function answerError(
  error: FastifyError | OperatorApiError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const known = error instanceof OperatorApiError ? error : ofOthers(error, request.log);
  // What was not read of a refused body must not be taken for the next request.
  if (known.status === 413 || known.status === 401) reply.header('connection', 'close');
  return reply.code(known.status).type('application/json; charset=utf-8').send(known.answer);
}

function ofOthers(error: FastifyError, log: FastifyBaseLogger): OperatorApiError {
  if (error instanceof Fault) {
    log.error({ err: error }, 'a request met a fault of this machine');
    return new OperatorApiError(503, { code: error.code, what: error.what, cure: error.cure });
  }
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE' || error.statusCode === 413) {
    const what = 'the body is larger than this address takes';
    return new OperatorApiError(413, { code: 'body-too-large', what, cure: 'Send less in one request.' });
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    const what = 'this address takes another content type';
    return new OperatorApiError(415, {
      code: 'content-type-refused',
      what,
      cure: 'Send application/json (see /docs).',
    });
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    const cure = 'Send what /docs describes for this address.';
    return new OperatorApiError(error.statusCode, { code: 'request-malformed', what: error.message, cure });
  }
  log.error({ err: error }, 'a request failed in a way that it should not');
  return new OperatorApiError(500, {
    code: 'server-bug',
    what: 'something went wrong inside the server',
    cure: "Look into the server's log, and report what it says.",
  });
}
