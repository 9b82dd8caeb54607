/**
 * One HTTPS request to the operator listener: checked against the profile's authority, with a cap on the answer and a
 * limit on silence. What goes wrong on the wire ends in a Fault; what the server answers, good or bad, is returned.
 */
import { type Agent, request as sendRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { faultOfSystemError } from '../platform/command-line.ts';
import { EXIT, errorText, Fault, systemErrorCode } from '../platform/fault.ts';

/** No byte in either direction for this long ends the request. */
const SILENCE_LIMIT_MS = 60_000;

export interface HttpsRequest {
  readonly agent: Agent;
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Readable;
  readonly answerCapBytes: number;
  readonly signal?: AbortSignal;
}

export interface HttpsAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'INVALID_CA',
]);

function wireFault(error: unknown, url: URL): unknown {
  if (error instanceof Fault) return error;
  const code = systemErrorCode(error) ?? '';
  const remote = (faultCode: string, what: string, cure: string): Fault =>
    new Fault({ code: faultCode, what, where: url.origin, cure, exitStatus: EXIT.remote, cause: error });
  if (UNTRUSTED.has(code)) {
    return remote(
      'server-certificate-untrusted',
      `the server's certificate does not come from the authority of your profile (${errorText(error)})`,
      'Check that this is your server. If it was set up anew, log in again with its new --ca FILE.',
    );
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return remote(
      'server-name-mismatch',
      "the server's certificate is for another name",
      'Use a name that the server was started with (holdfast-server run --name).',
    );
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) {
    return remote(
      'server-not-tls',
      'what answers there does not speak TLS',
      'Check the address and the port: the operator listener is meant.',
    );
  }
  if (code === 'EPIPE')
    return remote('server-unreachable', 'the connection broke off', 'Try again; what was uploaded whole is kept.');
  return faultOfSystemError(error, url.origin) ?? error;
}

async function collect(stream: Readable, capBytes: number, url: URL): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of stream as AsyncIterable<Buffer>) {
    sizeBytes += piece.length;
    if (sizeBytes > capBytes) {
      stream.destroy();
      throw new Fault({
        code: 'answer-too-large',
        what: `the server's answer has more than ${capBytes} bytes`,
        where: url.href,
        cure: 'Check that this is a Holdfast server of the same version.',
        exitStatus: EXIT.remote,
      });
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces, sizeBytes);
}

/** Faults: `server-unreachable`, `server-certificate-untrusted`, `server-name-mismatch`, `server-not-tls`, `server-silent`, `answer-too-large`. */
export async function httpsRequest(request: HttpsRequest): Promise<HttpsAnswer> {
  const { agent, url, method, headers, body, signal } = request;
  const outgoing = sendRequest(url, { agent, method, headers, ...(signal === undefined ? {} : { signal }) });
  outgoing.setTimeout(SILENCE_LIMIT_MS, () => {
    outgoing.destroy(
      new Fault({
        code: 'server-silent',
        what: `the server said nothing for ${SILENCE_LIMIT_MS / 1000} seconds`,
        where: url.origin,
        cure: 'Look at the server: is it overloaded, or its disk full?',
        exitStatus: EXIT.remote,
      }),
    );
  });
  const answered = new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('error', reject);
    outgoing.once('close', () => reject(Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })));
  });
  try {
    const sending = body === undefined || body instanceof Uint8Array ? outgoing.end(body) : pipeline(body, outgoing);
    // A server may refuse an upload before it has taken all of it: its answer says more than the broken pipe does.
    const [incoming] = await Promise.all([answered, Promise.resolve(sending).catch(() => answered)]);
    const answer = await collect(incoming, method === 'HEAD' ? 0 : request.answerCapBytes, url);
    return { status: incoming.statusCode ?? 0, headers: incoming.headers, body: answer };
  } catch (error) {
    outgoing.destroy();
    throw wireFault(error, url);
  }
}
