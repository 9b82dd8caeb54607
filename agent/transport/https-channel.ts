/**
 * HTTPS to one server: connections that were decided by secure-connection.ts, kept alive, and requests whose answers are
 * capped. Redirects are not followed, no encoding is accepted but one that was asked for, and none is undone here.
 *
 * Every request of ours is idempotent, so one that dies on a kept connection before an answer came is sent once more.
 */

import type { IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { errorText } from '../../platform/fault.ts';
import { accept, type Refusal, refuse, type Verdict } from '../../trust/refusal.ts';
import { type RangeMemory, SourceUnreachable } from '../core/ports.ts';
import type { BandwidthLimit } from './bandwidth-limit.ts';
import { type BodyWishes, readCapped, TRANSFER_LIMITS, type TransferLimits } from './capped-body.ts';
import { type ClientIdentity, connectSecurely, type SecureConnection } from './secure-connection.ts';

const ANSWER_DEADLINE_MS = 30_000;
const ERROR_BODY_BYTES = 4096;
/** Blocks in flight, and one for the conversation. */
const CONNECTIONS = 5;

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** No more of the answer's body is read; of a refusal, which says why, ERROR_BODY_BYTES all the same. */
  readonly capBytes: number;
  /** Where the body of a 206 goes; it has room for `capBytes`. Other answers say something else than what was asked. */
  readonly into?: RangeMemory;
  /** Part of an image: the bandwidth limit counts it. Also with `into`. */
  readonly ofImage?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Uint8Array;
}

/** Something that answers requests: one server, or several one after the other. */
export interface Requester {
  readonly description: string;
  /** Refusals are about the server or its bytes; throws SourceUnreachable when there was no whole answer. */
  request(asked: HttpRequest): Promise<Verdict<HttpAnswer>>;
}

export interface HttpsChannelSettings {
  /** `https://host:port`; a path is put before every request's. */
  readonly url: string;
  readonly anchors: readonly string[];
  /** Asked at every new connection. */
  readonly identity: () => ClientIdentity | undefined;
  /** The server is ours and a certificate of its chain is out of its dates. Called once per connection. */
  readonly onOutOfDates?: (detail: string) => void;
  readonly limits?: TransferLimits;
  /** Of images, shared by all connections. */
  readonly bandwidth?: BandwidthLimit | undefined;
  readonly answerDeadlineMs?: number;
}

/** Carries a refusal through Node's request machinery, which knows errors only. */
class ConnectionRefused extends Error {
  override readonly name = 'ConnectionRefused';
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.detail);
    this.refusal = refusal;
  }
}

class DecidedAgent extends Agent {
  readonly #connect: () => Promise<Verdict<SecureConnection>>;

  constructor(connect: () => Promise<Verdict<SecureConnection>>, connections = CONNECTIONS) {
    super({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections, timeout: 60_000 });
    this.#connect = connect;
  }

  override createConnection(_options: RequestOptions, done?: (error: Error | null, stream: Duplex) => void): undefined {
    // Node passes no stream with an error; its types do not say so.
    const fail = (error: unknown): void => (done as (error: unknown) => void)(error);
    this.#connect().then(
      (verdict) => (verdict.ok ? done?.(null, verdict.value.socket) : fail(new ConnectionRefused(verdict))),
      fail,
    );
  }
}

export class HttpsChannel implements Requester {
  readonly description: string;
  readonly #url: URL;
  readonly #agent: Agent;
  readonly #limits: TransferLimits;
  readonly #bandwidth: BandwidthLimit | undefined;
  readonly #answerDeadlineMs: number;

  constructor(settings: HttpsChannelSettings) {
    this.#url = new URL(settings.url);
    this.description = this.#url.origin;
    this.#limits = settings.limits ?? TRANSFER_LIMITS;
    this.#bandwidth = settings.bandwidth;
    this.#answerDeadlineMs = settings.answerDeadlineMs ?? ANSWER_DEADLINE_MS;
    this.#agent = new DecidedAgent(async () => {
      const verdict = await connectSecurely(addressOf(this.#url, settings.anchors), settings.identity());
      if (verdict.ok && verdict.value.outOfDates) settings.onOutOfDates?.(verdict.value.detail);
      return verdict;
    });
  }

  async request(asked: HttpRequest): Promise<Verdict<HttpAnswer>> {
    const once = (): Promise<Verdict<HttpAnswer>> =>
      sendRequest(this.#url, asked, {
        agent: this.#agent,
        limits: this.#limits,
        answerDeadlineMs: this.#answerDeadlineMs,
        bandwidth: this.#bandwidth,
      });
    try {
      return await once();
    } catch (error) {
      if (error instanceof StaleConnection) return await once();
      throw error;
    }
  }

  /** Requests that are under way go on. */
  closeIdle(): void {
    for (const sockets of Object.values(this.#agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }

  close(): void {
    this.#agent.destroy();
  }
}

export function addressOf(
  url: URL,
  anchors: readonly string[],
  defaultPort = 443,
): { host: string; port: number; anchors: readonly string[] } {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: url.port === '' ? defaultPort : Number(url.port), anchors };
}

/** Requests over one decided socket and no other, for an exchange that is bound to its connection (enrolment). */
export class SingleConnection implements Requester {
  readonly description: string;
  readonly #url: URL;
  readonly #agent: Agent;

  constructor(socket: TLSSocket, url: URL) {
    this.#url = url;
    this.description = url.origin;
    let unused: TLSSocket | undefined = socket;
    this.#agent = new DecidedAgent(async () => {
      if (unused === undefined)
        throw new SourceUnreachable(`${url.origin}: the connection closed in the middle of an exchange`);
      const connection = { socket: unused, outOfDates: false, detail: '' };
      unused = undefined;
      return accept(connection);
    }, 1);
  }

  request(asked: HttpRequest): Promise<Verdict<HttpAnswer>> {
    const way = { agent: this.#agent, limits: TRANSFER_LIMITS, answerDeadlineMs: ANSWER_DEADLINE_MS };
    return sendRequest(this.#url, asked, way);
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** A kept connection was closed by the server while it lay idle; nothing of the request was answered. */
class StaleConnection extends SourceUnreachable {}

interface Way {
  readonly agent: Agent;
  readonly limits: TransferLimits;
  readonly answerDeadlineMs: number;
  readonly bandwidth?: BandwidthLimit | undefined;
}

async function sendRequest(url: URL, asked: HttpRequest, way: Way): Promise<Verdict<HttpAnswer>> {
  const { limits, answerDeadlineMs, agent } = way;
  const what = `${asked.method} ${asked.path} at ${url.origin}`;
  let response: IncomingMessage;
  try {
    response = await headersOf(url, asked, agent, answerDeadlineMs);
  } catch (error) {
    if (error instanceof ConnectionRefused) return error.refusal;
    if (error instanceof StaleConnection) throw error;
    if (error instanceof SourceUnreachable) throw error;
    throw new SourceUnreachable(`${what}: ${errorText(error)}`, { cause: error });
  }
  const encoding = response.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' && asked.headers?.['accept-encoding']?.split(', ').includes(encoding) !== true) {
    response.destroy();
    return refuse('answer-malformed', `${what}: an encoded answer, which was not asked for`);
  }
  const wishes: BodyWishes = {
    ...(asked.into === undefined || response.statusCode !== 206 ? {} : { into: asked.into }),
    ...((asked.into === undefined && asked.ofImage !== true) || way.bandwidth === undefined
      ? {}
      : { bandwidth: way.bandwidth }),
  };
  const isError = (response.statusCode ?? 0) >= 400;
  const capBytes = isError ? Math.max(asked.capBytes, ERROR_BODY_BYTES) : asked.capBytes;
  const body = await readCapped(response, capBytes, limits, what, wishes);
  return body.ok ? accept({ status: response.statusCode ?? 0, headers: response.headers, body: body.value }) : body;
}

function headersOf(url: URL, asked: HttpRequest, agent: Agent, deadlineMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      agent,
      host: url.hostname,
      port: url.port === '' ? 443 : Number(url.port),
      path: `${url.pathname.replace(/\/$/, '')}${asked.path}`,
      method: asked.method,
      headers: {
        ...(asked.body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(asked.body.length) }),
        ...asked.headers,
      },
    });
    const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
    outgoing.once('response', (response) => {
      clearTimeout(timer);
      resolve(response);
    });
    outgoing.on('error', (error) => {
      clearTimeout(timer);
      const stale = outgoing.reusedSocket && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      reject(stale ? new StaleConnection(errorText(error), { cause: error }) : error);
    });
    outgoing.end(asked.body);
  });
}
