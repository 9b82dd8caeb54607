/**
 * Images in smaller forms from the server (protocol/image-transport.ts). Whatever the server answers that is not what was
 * asked for is "nothing": somebody takes another way. Only silence, a cut and a trickle are the source being away.
 */
import * as v from 'valibot';
import { canUnpack } from '../../delta/decode/streams.ts';
import { ErrorAnswer } from '../../protocol/device-api.ts';
import { type ImageTransport, type RangeMemory, SourceUnreachable, type TransportAnswer } from '../core/ports.ts';
import type { HttpAnswer, HttpRequest, Requester } from './https-channel.ts';
import { parseJson } from './server-link.ts';

/** A server that does not say how long, or says something odd. */
const RETRY_AFTER_MS = { least: 200, unsaid: 1_000, most: 60_000 };

export class HttpsTransport implements ImageTransport {
  readonly #server: Requester;

  constructor(server: Requester) {
    this.#server = server;
  }

  async read(path: string, offset: number, into: RangeMemory): Promise<TransportAnswer> {
    const capBytes = into.bytes.length;
    const range = `bytes=${offset}-${offset + capBytes - 1}`;
    const answer = await this.#ask({ method: 'GET', path, headers: { range }, capBytes, into });
    if ('found' in answer) return answer;
    const [, from, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers['content-range'] ?? '') ?? [];
    const bytes = answer.body;
    const totalBytes = Number(total);
    const due = Math.min(capBytes, totalBytes - offset);
    const right = Number(from) === offset && bytes.length === due && Number(last) === offset + due - 1;
    if (answer.status === 206 && right) return { found: 'bytes', bytes, totalBytes };
    return { found: 'nothing', why: `status ${answer.status} with ${bytes.length} bytes for ${range}` };
  }

  async askPieces(path: string, runs: Uint8Array, capBytes: number): Promise<TransportAnswer> {
    const codings = canUnpack('zstd') ? 'zstd, gzip' : 'gzip';
    const headers = { 'content-type': 'application/octet-stream', 'accept-encoding': codings };
    const answer = await this.#ask({ method: 'POST', path, headers, body: runs, capBytes, ofImage: true });
    if ('found' in answer) return answer;
    if (answer.status !== 200) return { found: 'nothing', why: `status ${answer.status} for pieces` };
    const encoding = answer.headers['content-encoding'];
    const bytes = { found: 'bytes', bytes: answer.body, totalBytes: answer.body.length } as const;
    return encoding === 'zstd' || encoding === 'gzip' ? { ...bytes, packed: encoding } : bytes;
  }

  async #ask(request: HttpRequest): Promise<HttpAnswer | TransportAnswer> {
    const answer = await this.#server.request(request);
    if (!answer.ok) {
      if (answer.code === 'transfer-too-slow') throw new SourceUnreachable(answer.detail);
      return { found: 'nothing', why: answer.code };
    }
    const { status, headers, body } = answer.value;
    if (status < 400) return answer.value;
    const said = v.safeParse(ErrorAnswer, parseJson(body));
    const code = said.success ? said.output.code : `status ${status}`;
    // In preparation, busy, restarting, out of order: worth a wait, and never worth the update.
    if (status >= 500 || status === 429)
      return { found: 'later', afterMs: retryAfterMs(headers['retry-after']), why: code };
    return { found: 'nothing', why: code };
  }
}

function retryAfterMs(header: string | undefined): number {
  const seconds = /^\d{1,6}$/.test(header ?? '') ? Number(header) : RETRY_AFTER_MS.unsaid / 1000;
  return Math.min(Math.max(seconds * 1000, RETRY_AFTER_MS.least), RETRY_AFTER_MS.most);
}
