/**
 * A whole update over a real HTTPS server and a network that breaks: real engine, real disk, real TLS. Every byte that
 * came to the device is counted by the proxy that cuts.
 */
import { createHash, randomBytes, randomFillSync } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { ClientRequest } from 'node:http';
import { createServer, type Server as HttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { InstallMemory } from '../../../agent/block-memory.ts';
import type { RangeMemory } from '../../../agent/core/ports.ts';
import { HttpsChannel } from '../../../agent/transport/https-channel.ts';
import { HttpsSource } from '../../../agent/transport/https-source.ts';
import { UpdateEngine } from '../../../agent/update-engine.ts';
import { nodeDisk } from '../../../platform/disk.ts';
import { writeDurably } from '../../../platform/durable-file.ts';
import { writeBootEnv } from '../../../platform/emulated-boot-env.ts';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import { transportPaths } from '../../../protocol/image-transport.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import { packImage } from '../../sim/memory-transport.ts';
import { MemorySource, TestMaker } from '../../sim/release-fixture.ts';
import { SimulatedDevice } from '../../sim/simulated-device.ts';
import { authority, serverCertificate } from './test-authority.ts';

const MIB = 1024 * 1024;
const IMAGE_BYTES = 192 * MIB;
const CUTS = 100;
/** At most (RFC 8446 §5.2). */
const TLS_RECORD_BYTES = 16_384 + 256;
/** Restarts lose what was in flight, so they are counted apart. */
const RESTARTS = 5;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
  InstallMemory.release();
});

/** Serves ranges of the files of a release, and of packed images by their paths, as the server does. */
async function serveFiles(
  maker: TestMaker,
  packed: ReadonlyMap<string, Uint8Array>,
): Promise<{ port: number; anchor: string }> {
  const ca = await authority();
  const own = await serverCertificate(ca);
  const server: HttpsServer = createServer(
    { key: own.privateKeyPem, cert: own.certificatePem },
    (request, response) => {
      const path = decodeURIComponent((request.url ?? '').replace(`${DEVICE_PATHS.targets}/`, ''));
      const bytes = packed.get(path) ?? maker.files.get(path);
      if (bytes === undefined) {
        response.writeHead(404).end();
        return;
      }
      const [, first = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      const part = bytes.subarray(Number(first), Number(last) + 1);
      const headers = { 'content-range': `bytes ${first}-${last}/${bytes.length}`, 'content-length': part.length };
      response.writeHead(206, headers).end(part);
    },
  );
  server.on('secureConnection', (socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, anchor: ca.certificatePem };
}

interface BreakingNetwork {
  readonly port: number;
  receivedBytes: number;
  cuts: number;
}

/** `reset`: by RST, in the middle of whatever is under way; what had not left the proxy's machine is lost with it. */
type Breaking = 'end' | 'reset';

/** Passes everything on, until so many bytes have gone to the device: then every connection breaks at once. */
async function breakingNetwork(
  to: number,
  betweenCutsBytes: number,
  maxCuts: number,
  how: Breaking,
): Promise<BreakingNetwork> {
  const network = { port: 0, receivedBytes: 0, cuts: 0 };
  let untilCut = betweenCutsBytes;
  const open = new Set<Socket>();
  const devices = new Set<Socket>();
  const server: Server = createTcpServer((device) => {
    const origin = connect(to, '127.0.0.1');
    devices.add(device);
    device.on('close', () => devices.delete(device));
    for (const socket of [device, origin]) {
      open.add(socket);
      socket.on('error', () => {}).on('close', () => open.delete(socket));
    }
    device.on('close', () => origin.destroy()).pipe(origin);
    origin.on('close', () => device.end());
    origin.on('data', (chunk: Buffer) => {
      const cut = network.cuts < maxCuts && chunk.length >= untilCut;
      const passed = cut ? chunk.subarray(0, untilCut) : chunk;
      network.receivedBytes += passed.length;
      untilCut -= passed.length;
      if (!device.write(passed)) {
        origin.pause();
        device.once('drain', () => origin.resume());
      }
      if (!cut) return;
      network.cuts += 1;
      // Odd distances: a cut falls anywhere in a block.
      untilCut = betweenCutsBytes - 50_000 + ((network.cuts * 7919) % 100_000);
      // What was counted is delivered: a loss between the two would say nothing of the agent.
      if (how === 'end') for (const socket of devices) socket.end(() => socket.destroy());
      else for (const socket of devices) socket.resetAndDestroy();
      for (const socket of open) if (!devices.has(socket)) socket.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => server.close());
  network.port = (server.address() as AddressInfo).port;
  return network;
}

/**
 * What the device's own sockets read, decrypted. After a reset nobody else can say it: part of what the proxy wrote never
 * left its kernel. Of a record that was cut nothing is counted, so that each cut may hide one of them.
 */
function countReadBytes(): () => number {
  const sockets = new Set<Socket>();
  const onStart = (message: unknown): void => {
    const { request } = message as { readonly request: ClientRequest };
    if (request.socket === null) request.once('socket', (socket) => sockets.add(socket));
    else sockets.add(request.socket);
  };
  subscribe('http.client.request.start', onStart);
  closing.push(() => unsubscribe('http.client.request.start', onStart));
  return () => [...sockets].reduce((sum, socket) => sum + socket.bytesRead, 0);
}

/** Metadata from memory, images over the network. */
class NetworkSource extends MemorySource {
  readonly #https: HttpsSource;
  constructor(maker: TestMaker, https: HttpsSource) {
    super(maker);
    this.#https = https;
    this.transport = https.transport;
  }
  override fetchRange(path: string, offset: number, length: number, into?: RangeMemory) {
    return this.#https.fetchRange(path, offset, length, into);
  }
}

/** A third of its blocks cannot be packed; the others become half of it. */
function packableImage(): Uint8Array {
  const image = new Uint8Array(IMAGE_BYTES);
  for (let at = 0; at < IMAGE_BYTES; at += 8192) {
    const packs = Math.floor(at / MIB) % 3 !== 0;
    randomFillSync(image, at, packs ? 4096 : 8192);
    if (packs) image.fill(1 + ((at >> 13) % 251), at + 4096, at + 8192);
  }
  return image;
}

async function interruptedUpdate(cuts: number, restartEvery: number, isPacked = false, how: Breaking = 'end') {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-cuts-'));
  closing.push(() => void rm(directory, { recursive: true, force: true }));
  const maker = new TestMaker();
  const rootfs = isPacked ? packableImage() : new Uint8Array(randomBytes(IMAGE_BYTES));
  const packed = new Map(isPacked ? [[transportPaths.blocks(sha256Hex(rootfs), 'zstd'), packImage(rootfs)]] : []);
  const onceBytes = [...packed.values()][0]?.length ?? IMAGE_BYTES;
  const action = maker.release({ sequence: 2, version: '2.0.0', images: { rootfs } });
  const files = await serveFiles(maker, packed);
  const network = await breakingNetwork(files.port, Math.floor((onceBytes * 0.98) / (cuts + 1)), cuts, how);
  const channel = new HttpsChannel({
    url: `https://localhost:${network.port}`,
    anchors: [files.anchor],
    identity: () => undefined,
  });
  closing.push(() => channel.close());
  for (const folder of ['board', 'factory', 'board/slots/a']) await nodeDisk.makeDirectory(join(directory, folder));
  await writeDurably(nodeDisk, join(directory, 'factory/root.json'), maker.factoryRoot);
  await writeBootEnv(nodeDisk, directory, { order: ['a'], trial: null });
  const device = new SimulatedDevice(nodeDisk, new NetworkSource(maker, new HttpsSource(channel)), directory);
  await device.boot();
  let turns = 0;
  let engine = await UpdateEngine.open(device.ports(), device.settings);
  for (; turns < cuts * 20; turns += 1) {
    await engine.offer(action);
    const rest = await engine.run();
    if (rest.rest !== 'retry') break;
    await device.clock.sleep(rest.afterMs);
    if (restartEvery === 0 || turns % restartEvery !== restartEvery - 1) continue;
    InstallMemory.release();
    engine = await UpdateEngine.open(device.ports(), device.settings);
  }
  const written = await nodeDisk.readFile(join(directory, 'board/slots/b/rootfs.img'), IMAGE_BYTES);
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  expect(engine.status().state).toBe('armed');
  expect(written !== undefined && digest(written) === digest(rootfs)).toBe(true);
  return { network, device, onceBytes };
}

describe('an update over a network that breaks', { timeout: 300_000 }, () => {
  it(`ends right after ${CUTS} cuts, having fetched at most 3 % more than once`, async () => {
    const { network } = await interruptedUpdate(CUTS, 0);
    expect(network.cuts).toBe(CUTS);
    console.log(
      `${CUTS} cuts: ${((network.receivedBytes / IMAGE_BYTES - 1) * 100).toFixed(2)} % more than the image, TLS and all`,
    );
    expect(network.receivedBytes).toBeLessThan(IMAGE_BYTES * 1.03);
  });

  it(`does so also with packed blocks, of which several come in one request`, async () => {
    const { network, onceBytes } = await interruptedUpdate(CUTS, 0, true);
    expect(network.cuts).toBe(CUTS);
    expect(onceBytes).toBeLessThan(IMAGE_BYTES * 0.7);
    console.log(`${CUTS} cuts, packed: ${((network.receivedBytes / onceBytes - 1) * 100).toFixed(2)} % more than once`);
    expect(network.receivedBytes).toBeLessThan(onceBytes * 1.03);
  });

  it(`ends right after ${CUTS} resets in the middle, having fetched at most 3 % more than once`, async () => {
    const readBytes = countReadBytes();
    const { network, onceBytes } = await interruptedUpdate(CUTS, 0, true, 'reset');
    const fetchedBytes = readBytes() + CUTS * TLS_RECORD_BYTES;
    expect(network.cuts).toBe(CUTS);
    console.log(`${CUTS} resets: at most ${((fetchedBytes / onceBytes - 1) * 100).toFixed(2)} % more than once`);
    expect(fetchedBytes).toBeGreaterThan(onceBytes);
    expect(fetchedBytes).toBeLessThan(onceBytes * 1.03);
  });

  it('loses with a restart only the blocks that were in flight', async () => {
    const { network } = await interruptedUpdate(RESTARTS, 1);
    expect(network.cuts).toBe(RESTARTS);
    console.log(
      `${RESTARTS} restarts: ${((network.receivedBytes - IMAGE_BYTES) / MIB).toFixed(1)} MiB more than the image`,
    );
    expect(network.receivedBytes - IMAGE_BYTES).toBeLessThan(RESTARTS * 4 * MIB + IMAGE_BYTES * 0.02);
  });
});
