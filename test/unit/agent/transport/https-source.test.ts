import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import { BandwidthLimit } from '../../../../agent/transport/bandwidth-limit.ts';
import type { TransferLimits } from '../../../../agent/transport/capped-body.ts';
import { DirectorySource } from '../../../../agent/transport/directory-source.ts';
import { HttpsChannel } from '../../../../agent/transport/https-channel.ts';
import { HttpsSource } from '../../../../agent/transport/https-source.ts';
import { ServerLink, ServerSaidNo } from '../../../../agent/transport/server-link.ts';
import { ServerPool } from '../../../../agent/transport/server-pool.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { authority, deviceCertificate, EXPIRED, type IssuedCertificate, serverCertificate } from '../test-authority.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const QUICK: TransferLimits = { minBytesPerSecond: 1000, windowMs: 300, silenceMs: 400 };
const servers: Server[] = [];
const channels: { close(): void }[] = [];
let ca: IssuedCertificate;
let device: IssuedCertificate;

beforeEach(async () => {
  ca = await authority();
  device = await deviceCertificate(ca, 'cam-0001');
});
afterEach(() => {
  for (const channel of channels.splice(0)) channel.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(handler: Handler, leaf?: IssuedCertificate) {
  const own = leaf ?? (await serverCertificate(ca));
  const seen = { connections: 0, sockets: new Set<TLSSocket>() };
  const server = createServer(
    {
      key: own.privateKeyPem,
      cert: own.certificatePem,
      ca: ca.certificatePem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    handler,
  );
  server.on('secureConnection', (socket: TLSSocket) => {
    seen.connections += 1;
    seen.sockets.add(socket);
    socket.on('error', () => {});
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, seen };
}

function channelTo(url: string, limits = QUICK, bandwidth?: BandwidthLimit): HttpsChannel {
  const identity = { privateKeyPem: device.privateKeyPem, certificateChainPem: device.certificatePem };
  const channel = new HttpsChannel({ url, anchors: [ca.certificatePem], identity: () => identity, limits, bandwidth });
  channels.push(channel);
  return channel;
}
const sourceOf = async (handler: Handler): Promise<HttpsSource> =>
  new HttpsSource(channelTo((await serve(handler)).url));
const RANGE = /^bytes=(\d+)-(\d+)$/;

/** As a server does it: 206 and exactly the bytes asked for. */
const serveRange =
  (image: Buffer): Handler =>
  (request, response) => {
    const [, from = '0', to = '0'] = RANGE.exec(request.headers.range ?? '') ?? [];
    const part = image.subarray(Number(from), Number(to) + 1);
    response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${image.length}`, 'content-length': part.length });
    response.end(part);
  };

describe('the HTTPS source', () => {
  it('shows the device certificate, keeps the connection, and asks for exactly the range', async () => {
    const image = Buffer.from(Array.from({ length: 5000 }, (_, index) => index % 251));
    const subjects: string[] = [];
    const { url, seen } = await serve((request, response) => {
      subjects.push(String((request.socket as TLSSocket).getPeerCertificate().subject?.CN));
      serveRange(image)(request, response);
    });
    const source = new HttpsSource(channelTo(url));
    for (const [offset, length] of [
      [0, 1000],
      [4000, 1000],
    ] as const) {
      const got = await source.fetchRange('a/b.img', offset, length);
      expect(got).toMatchObject({ ok: true });
      if (got.ok) expect(Buffer.from(got.value).equals(image.subarray(offset, offset + length))).toBe(true);
    }
    expect(subjects).toEqual(['cam-0001', 'cam-0001']);
    expect(seen.connections).toBe(1);
  });

  it('says that metadata is not there when the server says so, and that a target is away', async () => {
    const source = await sourceOf((_request, response) => response.writeHead(404).end());
    expect(await source.fetchMetadata('2.root.json', 100)).toEqual({ ok: true, value: undefined });
    await expect(source.fetchTarget('a', 100)).rejects.toThrow(SourceUnreachable);
  });

  it('takes a file of exactly the cap, and refuses one byte more', async () => {
    const source = await sourceOf((_request, response) => response.end(Buffer.alloc(100)));
    expect(await source.fetchMetadata('timestamp.json', 100)).toMatchObject({ ok: true });
    expect(await source.fetchMetadata('timestamp.json', 99)).toMatchObject({ ok: false, code: 'transfer-endless' });
  });

  it('stops reading endless data at the cap', async () => {
    let sent = 0;
    const source = await sourceOf((_request, response) => {
      const more = (): void => {
        while (response.write(Buffer.alloc(16_384))) sent += 16_384;
      };
      response.on('drain', more);
      more();
    });
    expect(await source.fetchTarget('release.suit', 65_536)).toMatchObject({ ok: false, code: 'transfer-endless' });
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  it('refuses a trickle, and calls silence a cut', async () => {
    const trickle = await sourceOf((_request, response) => {
      const timer = setInterval(() => response.write('x'), 50);
      response.on('close', () => clearInterval(timer));
    });
    expect(await trickle.fetchTarget('a', 1000)).toMatchObject({ ok: false, code: 'transfer-too-slow' });
    const silent = await sourceOf((_request, response) => {
      response.write('x');
    });
    await expect(
      new HttpsSource(channelTo((silent as HttpsSource).description, { ...QUICK, windowMs: 60_000 })).fetchTarget(
        'a',
        1000,
      ),
    ).rejects.toThrow(/nothing came/);
  });

  it('calls a connection that breaks in the middle of a body a cut, never a short file', async () => {
    for (const headers of [{ 'content-length': '1000' }, {}]) {
      const source = await sourceOf((_request, response) => {
        response.writeHead(200, headers);
        response.write(Buffer.alloc(500), () => response.socket?.destroy());
      });
      await expect(source.fetchTarget('a', 1000)).rejects.toThrow(SourceUnreachable);
    }
  });

  it('refuses fewer bytes than asked, another range than asked, and an encoding', async () => {
    const short = await sourceOf((_request, response) =>
      response.writeHead(206, { 'content-range': 'bytes 0-9/10' }).end('0123456789'),
    );
    expect(await short.fetchRange('a', 0, 20)).toMatchObject({ ok: false, code: 'image-size-mismatch' });
    const other = await sourceOf((_request, response) =>
      response.writeHead(206, { 'content-range': 'bytes 10-19/30' }).end('0123456789'),
    );
    expect(await other.fetchRange('a', 0, 10)).toMatchObject({ ok: false, code: 'answer-malformed' });
    const past = await sourceOf((_request, response) => response.writeHead(416).end());
    expect(await past.fetchRange('a', 0, 10)).toMatchObject({ ok: false, code: 'image-size-mismatch' });
    const packed = await sourceOf((_request, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
    );
    expect(await packed.fetchTarget('a', 10)).toMatchObject({ ok: false, code: 'answer-malformed' });
  });

  it('asks again, once and unseen, when a kept connection was closed in the meantime', async () => {
    const { url, seen } = await serve((_request, response) => response.end('ok'));
    const source = new HttpsSource(channelTo(url));
    await source.fetchTarget('a', 10);
    for (const socket of seen.sockets) socket.destroy();
    expect(await source.fetchTarget('a', 10)).toMatchObject({ ok: true });
  });
});

describe('the bandwidth limit', () => {
  it('is not taken for a slow source: neither for silence nor for less than the minimum rate', async () => {
    const image = Buffer.alloc(40_000, 7);
    const { url } = await serve(serveRange(image));
    // 5 KB a second: a piece of 16 KB is paid for by a pause that is longer than the source may be silent. That is long
    // enough for a busy machine to serve the next one.
    const limits = { minBytesPerSecond: 6000, windowMs: 2000, silenceMs: 2000 };
    const source = new HttpsSource(channelTo(url, limits, new BandwidthLimit(5000)));
    const into = { bytes: new Uint8Array(40_000), received: 0 };
    expect(await source.fetchRange('a/b.img', 0, 40_000, into)).toMatchObject({ ok: true });
  });

  it('holds up images, all connections together, and nothing else', async () => {
    const image = Buffer.alloc(400_000, 7);
    const { url } = await serve(serveRange(image));
    const source = new HttpsSource(channelTo(url, QUICK, new BandwidthLimit(1_000_000)));
    const startedMs = performance.now();
    const fetched = [0, 200_000].map((offset) => {
      const into = { bytes: new Uint8Array(200_000), received: 0 };
      return source.fetchRange('a/b.img', offset, 200_000, into);
    });
    for (const verdict of await Promise.all(fetched)) expect(verdict.ok).toBe(true);
    // The last piece is paid for after it came: 400 KB at 1 MB/s, less at most one piece of 64 KB for each transfer.
    expect(performance.now() - startedMs).toBeGreaterThan(250);
    expect(new BandwidthLimit(1000).pauseAfterMs(500, 0)).toBe(500);
  });
});

describe('the server link', () => {
  it('decodes strictly, tells no from not now, and is not reachable where the server is not ours', async () => {
    const answers: [number, unknown][] = [];
    const { url } = await serve((_request, response) => {
      const [status, body] = answers.shift() ?? [200, { ok: true }];
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    const link = new ServerLink(channelTo(url));
    answers.push([200, { acknowledged: 4 }]);
    expect(await link.report([])).toEqual({ ok: true, value: { acknowledged: 4 } });
    answers.push([200, { acknowledged: 4, andAlso: 'this' }]);
    expect(await link.report([])).toMatchObject({ ok: false, code: 'answer-malformed' });
    answers.push([403, { ok: false, code: 'device-revoked', what: 'it was revoked', cure: 'Make a claim.' }]);
    await expect(link.report([])).rejects.toMatchObject({ name: 'ServerSaidNo', code: 'device-revoked', status: 403 });
    for (const status of [500, 503, 429]) {
      answers.push([status, { ok: false, code: 'busy', what: 'busy', cure: 'Wait.' }]);
      await expect(link.report([])).rejects.toThrow(SourceUnreachable);
    }
    expect(await link.reachable()).toBe(true);
    const stranger = await serve((_request, response) => response.end(), await serverCertificate(await authority()));
    expect(await new ServerLink(channelTo(stranger.url)).reachable()).toBe(false);
    expect(ServerSaidNo.prototype).toBeInstanceOf(Error);
  });
});

describe('the server pool', () => {
  const entry = (url: string) => ({ url, mqttUrl: null, anchors: [ca.certificatePem] });
  const asked = { method: 'GET', path: '/healthz', capBytes: 10 } as const;

  it('goes to the next server when one is away or is not ours, and stays there', async () => {
    const stranger = await serve(
      (_request, response) => response.end('bad'),
      await serverCertificate(await authority()),
    );
    const good = await serve((_request, response) => response.end('good'));
    const pool = new ServerPool([entry('https://localhost:1'), entry(stranger.url), entry(good.url)], {
      identity: () => undefined,
      limits: QUICK,
    });
    channels.push(pool);
    expect(await pool.request(asked)).toMatchObject({ ok: true, value: { status: 200 } });
    expect(pool.current?.url).toBe(good.url);
  });

  it('answers with the refusal when every server is away or refused', async () => {
    const wrongName = await serve(
      (_request, response) => response.end(),
      await serverCertificate(ca, { dns: ['other.example'] }),
    );
    const pool = new ServerPool([entry('https://localhost:1'), entry(wrongName.url)], { identity: () => undefined });
    channels.push(pool);
    expect(await pool.request(asked)).toMatchObject({ ok: false, code: 'server-name-mismatch' });
  });

  it('says once per connection that a true server is out of its dates, and goes on', async () => {
    const late = await serve((_request, response) => response.end('ok'), await serverCertificate(ca, EXPIRED));
    const said: string[] = [];
    const pool = new ServerPool([entry(late.url)], {
      identity: () => undefined,
      onOutOfDates: (detail) => said.push(detail),
    });
    channels.push(pool);
    await pool.request(asked);
    expect(await pool.request(asked)).toMatchObject({ ok: true });
    expect(said).toHaveLength(1);
  });
});

describe('the directory source', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'source-'));
    await mkdir(join(directory, 'metadata'));
    await mkdir(join(directory, 'targets/a'), { recursive: true });
    await writeFile(join(directory, 'metadata/timestamp.json'), '{}');
    await writeFile(join(directory, 'targets/a/x.img'), '0123456789');
    await writeFile(join(directory, 'secret'), 'secret');
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('gives the same files in the same way, and caps them the same', async () => {
    const source = new DirectorySource(nodeDisk, directory);
    expect(await source.fetchMetadata('timestamp.json', 2)).toMatchObject({ ok: true });
    expect(await source.fetchMetadata('timestamp.json', 1)).toMatchObject({ ok: false, code: 'transfer-endless' });
    expect(await source.fetchMetadata('2.root.json', 10)).toEqual({ ok: true, value: undefined });
    expect(await source.fetchRange('a/x.img', 8, 2)).toEqual({ ok: true, value: new Uint8Array([56, 57]) });
    expect(await source.fetchRange('a/x.img', 8, 3)).toMatchObject({ ok: false, code: 'image-size-mismatch' });
    await expect(source.fetchTarget('a/none', 10)).rejects.toThrow(SourceUnreachable);
    await expect(source.fetchRange('a', 0, 1)).rejects.toThrow(SourceUnreachable);
  });

  it('lets no path lead out of its folder', async () => {
    const source = new DirectorySource(nodeDisk, directory);
    await expect(source.fetchTarget('../secret', 10)).rejects.toThrow(/leads out/);
    await expect(async () => source.fetchMetadata('../../secret', 10)).rejects.toThrow(/leads out/);
  });
});
