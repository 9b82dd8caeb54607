/**
 * A static HTTPS server over a stolen repository: the same addresses as the real one, no check of anybody, and any TLS
 * identity. It asks for no client certificate; a device must not care, because it trusts signatures and not servers.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { type Action, DEVICE_PATHS, PROTOCOL_VERSION } from '../../protocol/device-api.ts';
import type { TlsIdentity } from './certificates.ts';
import type { StolenRepository } from './stolen-repository.ts';

const TARGET_DIGEST = /\/([0-9a-f]{64})\.[^/]+$/;
const ENDLESS_PIECE = Buffer.alloc(64 * 1024, ' ');

export interface StolenServerOptions {
  /** A metadata file that never ends. */
  readonly endless?: string;
  /** Takes polls and reports as the real server would, and tells what came. */
  readonly onDevice?: (path: string, body: unknown) => void;
  /** What it tells devices to install, with `onDevice`; nothing unless given. */
  readonly action?: Action;
  /** Of loopback; a free one unless given. */
  readonly port?: number;
}

export class StolenServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(
    repository: StolenRepository,
    identity: TlsIdentity,
    options: StolenServerOptions = {},
  ): Promise<StolenServer> {
    const server = createServer(
      { key: identity.keyPem, cert: identity.chainPem, minVersion: 'TLSv1.3' },
      (request, response) => {
        // A device that has seen enough hangs up: that is its right.
        answer(repository, options, request, response).catch(() => response.destroy());
      },
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port ?? 0, '127.0.0.1', () => resolve());
    });
    return new StolenServer(server);
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

async function answer(
  repository: StolenRepository,
  options: StolenServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = decodeURIComponent((request.url ?? '').split('?', 1)[0] ?? '');
  if (path === DEVICE_PATHS.health) return void response.end('{"ok":true}');
  if (path.startsWith(`${DEVICE_PATHS.metadata}/`)) {
    const name = path.slice(DEVICE_PATHS.metadata.length + 1);
    if (name === options.endless) return flood(response);
    const bytes = repository.metadata(name);
    return void (bytes === undefined ? response.writeHead(404).end('{}') : response.end(bytes));
  }
  if (request.method === 'POST' && options.onDevice !== undefined)
    return hear(path, options.onDevice, options.action ?? null, request, response);
  const digest = path.startsWith(`${DEVICE_PATHS.targets}/`) ? TARGET_DIGEST.exec(path)?.[1] : undefined;
  if (digest === undefined) return void response.writeHead(404).end('{}');
  await sendArtifact(repository, digest, request.headers.range, response);
}

/** Something to install, or nothing to do, and an hour until the next poll: what comes earlier was called for. */
async function hear(
  path: string,
  tell: (path: string, body: unknown) => void,
  action: Action | null,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  const body = JSON.parse(Buffer.concat(pieces).toString('utf8'));
  tell(path, body);
  const nothing = { protocol: PROTOCOL_VERSION, pollAfterMs: action === null ? 3600_000 : 5000, action, requests: [] };

  const answer = path === DEVICE_PATHS.report ? { acknowledged: body.reports.at(-1).reportSequence } : nothing;
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
}

async function sendArtifact(
  repository: StolenRepository,
  digest: string,
  range: string | undefined,
  response: ServerResponse,
): Promise<void> {
  const sizeBytes = await repository.artifactSizeBytes(digest);
  if (sizeBytes === undefined) return void response.writeHead(404).end('{}');
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (from === undefined || to === undefined) {
    response.writeHead(200, { 'content-length': sizeBytes });
    return pipeline(repository.readArtifact(digest, 0, sizeBytes - 1), response);
  }
  const [first, last] = [Number(from), Math.min(Number(to), sizeBytes - 1)];
  if (first > last) return void response.writeHead(416, { 'content-range': `bytes */${sizeBytes}` }).end();
  response.writeHead(206, {
    'content-length': last - first + 1,
    'content-range': `bytes ${first}-${last}/${sizeBytes}`,
  });
  return pipeline(repository.readArtifact(digest, first, last), response);
}

async function flood(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/json' });
  const pour = (): void => {
    while (!response.destroyed && response.write(ENDLESS_PIECE));
  };
  response.on('drain', pour);
  pour();
  await new Promise((resolve) => response.once('close', resolve));
}
