/**
 * Metadata and targets from the server. Nothing here is trusted: the caller verifies every byte. This file keeps the
 * server from sending more than asked, other than asked, or without end.
 */
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { type ImageTransport, type RangeMemory, type ReleaseSource, SourceUnreachable } from '../core/ports.ts';
import type { HttpAnswer, Requester } from './https-channel.ts';
import { HttpsTransport } from './https-transport.ts';

export class HttpsSource implements ReleaseSource {
  readonly #server: Requester;
  readonly transport: ImageTransport;

  constructor(server: Requester) {
    this.#server = server;
    this.transport = new HttpsTransport(server);
  }

  get description(): string {
    return this.#server.description;
  }

  async fetchMetadata(name: string, capBytes: number): Promise<Verdict<Uint8Array | undefined>> {
    const path = `${DEVICE_PATHS.metadata}/${encodeURIComponent(name)}`;
    const answer = await this.#server.request({ method: 'GET', path, capBytes });
    if (!answer.ok) return answer;
    if (answer.value.status === 404) return accept(undefined);
    return answer.value.status === 200 ? accept(answer.value.body) : away(path, answer.value);
  }

  async fetchTarget(path: string, capBytes: number): Promise<Verdict<Uint8Array>> {
    const url = targetUrl(path);
    const answer = await this.#server.request({ method: 'GET', path: url, capBytes });
    if (!answer.ok) return answer;
    return answer.value.status === 200 ? accept(answer.value.body) : away(url, answer.value);
  }

  async fetchRange(path: string, offset: number, length: number, into?: RangeMemory): Promise<Verdict<Uint8Array>> {
    const url = targetUrl(path);
    const range = `bytes=${offset}-${offset + length - 1}`;
    const where = into === undefined ? {} : { into };
    const answer = await this.#server.request({
      method: 'GET',
      path: url,
      headers: { range },
      capBytes: length,
      ...where,
    });
    if (!answer.ok) return answer;
    const { status, headers, body } = answer.value;
    if (status === 416) return refuse('image-size-mismatch', `${path}: the server has nothing at ${range}`);
    // A server that knows no ranges may send the whole, if the whole is what was asked for.
    const whole = status === 200 && offset === 0;
    if (status !== 206 && !whole) return away(url, answer.value);
    if (status === 206 && !headers['content-range']?.startsWith(`bytes ${offset}-`)) {
      return refuse(
        'answer-malformed',
        `${path}: asked for ${range}, answered ${String(headers['content-range']).slice(0, 60)}`,
      );
    }
    if (body.length !== length)
      return refuse('image-size-mismatch', `${path}: ${body.length} of ${length} bytes at offset ${offset}`);
    return accept(body);
  }
}

function targetUrl(path: string): string {
  return `${DEVICE_PATHS.targets}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** Any other status says nothing of the release: the server is restarting, busy, or has lost a file. Try again later. */
function away(path: string, answer: HttpAnswer): never {
  throw new SourceUnreachable(`${path}: the server answered with status ${answer.status}`);
}
