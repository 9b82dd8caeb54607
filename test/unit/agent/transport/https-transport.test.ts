/** What a server may answer for a smaller form of an image, over real TLS, and what becomes of it. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import { HttpsChannel } from '../../../../agent/transport/https-channel.ts';
import { HttpsTransport } from '../../../../agent/transport/https-transport.ts';
import { authority, serverCertificate } from '../test-authority.ts';

const PATH = `/device/v1/transport/${'a'.repeat(64)}/pieces`;
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function transportTo(handler: Handler): Promise<HttpsTransport> {
  const ca = await authority();
  const own = await serverCertificate(ca);
  const server: Server = createServer({ key: own.privateKeyPem, cert: own.certificatePem }, handler);
  server.on('secureConnection', (socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const channel = new HttpsChannel({
    url: `https://localhost:${port}`,
    anchors: [ca.certificatePem],
    identity: () => undefined,
    limits: { minBytesPerSecond: 1000, windowMs: 300, silenceMs: 5000 },
  });
  closing.push(() => {
    channel.close();
    server.closeAllConnections();
    server.close();
  });
  return new HttpsTransport(channel);
}

const room = (length: number) => ({ bytes: new Uint8Array(length), received: 0 });
const refusing =
  (status: number, code: string, headers: Record<string, string> = {}): Handler =>
  (_request, response) => {
    const body = { ok: false, code, what: 'x'.repeat(500), cure: 'Take another form.' };
    response.writeHead(status, headers).end(JSON.stringify(body));
  };
const partial =
  (contentRange: string, bytes: number): Handler =>
  (_request, response) =>
    void response.writeHead(206, { 'content-range': contentRange }).end(Buffer.alloc(bytes, 7));

const empty: Handler = (_request, response) => {
  response.end();
};
const encoded: Handler = (_request, response) => {
  const headers = { 'content-range': 'bytes 90-99/100', 'content-encoding': 'gzip' };
  response.writeHead(206, headers).end('0123456789');
};

describe('a range of a smaller form', () => {
  it('comes with the size of the whole, shorter only at its end', async () => {
    const transport: HttpsTransport = await transportTo((request, response) => {
      expect(request.headers.range).toBe('bytes=90-189');
      partial('bytes 90-99/100', 10)(request, response);
    });
    const into = room(100);
    const answer = await transport.read(PATH, 90, into);
    expect(answer).toMatchObject({ found: 'bytes', totalBytes: 100 });
    expect([into.received, into.bytes[9], into.bytes[10]]).toEqual([10, 7, 0]);
  });

  it.each([
    ['of other bytes', partial('bytes 0-9/100', 10)],
    ['that is shorter than it says', partial('bytes 90-99/100', 9)],
    ['that ends before the end', partial('bytes 90-94/100', 5)],
    ['without saying which', partial('', 10)],
    ['longer than was asked for', partial('bytes 90-99/100', 101)],
    ['of an empty answer', empty],
    ['that is encoded', encoded],
  ] as const)('%s is nothing', async (_what, handler) => {
    const into = room(100);
    const answer = await (await transportTo(handler)).read(PATH, 90, into);
    expect(answer.found).toBe('nothing');
    expect(into.received).toBeLessThanOrEqual(100);
  });

  it('that the server does not have is nothing, whatever little was asked for', async () => {
    const answer = await (await transportTo(refusing(404, 'transport-unknown'))).read(PATH, 0, room(8));
    expect(answer).toEqual({ found: 'nothing', why: 'transport-unknown' });
  });

  it.each([
    ['transport-in-preparation', 503, '5', 5_000],
    ['transport-busy', 503, '0', 200],
    ['internal', 500, undefined, 1_000],
    ['too-many', 429, '999999', 60_000],
    ['odd', 503, 'Wed, 21 Oct 2026 07:28:00 GMT', 1_000],
  ] as const)('%s is waited for, within bounds', async (code, status, retryAfter, afterMs) => {
    const handler = refusing(status, code, retryAfter === undefined ? {} : { 'retry-after': retryAfter });
    expect(await (await transportTo(handler)).read(PATH, 0, room(8))).toEqual({ found: 'later', afterMs, why: code });
  });

  it('that breaks off is the source being away, and what came is kept', async () => {
    const transport = await transportTo((_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-99/100', 'content-length': 100 });
      response.write(Buffer.alloc(40, 7), () => response.destroy());
    });
    const into = room(100);
    await expect(transport.read(PATH, 0, into)).rejects.toThrow(SourceUnreachable);
    expect(into.received).toBe(40);
  });

  it('that trickles is the source being away', async () => {
    const transport = await transportTo((_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-99/100', 'content-length': 100 });
      const timer = setInterval(() => response.write('x'), 50);
      response.on('close', () => clearInterval(timer));
    });
    await expect(transport.read(PATH, 0, room(100))).rejects.toThrow(SourceUnreachable);
  });
});

describe('pieces', () => {
  it('are asked for in binary, and come in a coding that was offered', async () => {
    const transport = await transportTo((request, response) => {
      expect(request.headers['content-type']).toBe('application/octet-stream');
      expect(request.headers['accept-encoding']).toBe('zstd, gzip');
      let asked = 0;
      request.on('data', (chunk: Buffer) => {
        asked += chunk.length;
      });
      request.on('end', () => response.writeHead(200, { 'content-encoding': 'zstd' }).end(Buffer.alloc(asked)));
    });
    const answer = await transport.askPieces(PATH, new Uint8Array(16), 100);
    expect(answer).toEqual({ found: 'bytes', bytes: new Uint8Array(16), totalBytes: 16, packed: 'zstd' });
  });

  it.each([
    ['in a coding that was not offered', { 'content-encoding': 'br' }, 10],
    ['more than they may be', {}, 101],
  ] as const)('%s are nothing', async (_what, headers, bytes) => {
    const transport = await transportTo((_request, response) =>
      response.writeHead(200, headers).end(Buffer.alloc(bytes)),
    );
    expect((await transport.askPieces(PATH, new Uint8Array(8), 100)).found).toBe('nothing');
  });
});
