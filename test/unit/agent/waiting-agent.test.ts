/**
 * The agent itself, as a process, with a release to install over HTTPS: it waits for another link, then for the application,
 * says both to the server and in its status, goes on by itself, and tells systemd meanwhile that it is alive.
 *
 * NetworkManager is a script in front of PATH that answers as busctl does; everything else is real.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { nodeDisk } from '../../../platform/disk.ts';
import { writeDurably } from '../../../platform/durable-file.ts';
import { emulatedPaths, encodeBooted, writeBootEnv } from '../../../platform/emulated-boot-env.ts';
import { type Action, DEVICE_PATHS, type PollRequest } from '../../../protocol/device-api.ts';
import { TestMaker } from '../../sim/release-fixture.ts';
import { ProgramsOnPath } from './programs-on-path.ts';
import { authority, deviceCertificate, serverCertificate } from './test-authority.ts';
import { HAS_NOTIFY, NotifySocket } from './watchdog/notify-socket.ts';

const MAIN = join(import.meta.dirname, '../../../agent/main.ts');
const maker = new TestMaker(Math.floor(Date.now() / 1000));
let device: string;
let server: Server;
let programs: ProgramsOnPath;
let systemd: NotifySocket;
let action: Action;
const polls: PollRequest[] = [];
let ranges = 0;

beforeEach(async () => {
  if (!HAS_NOTIFY) return;
  device = await mkdtemp(join(tmpdir(), 'waiting-'));
  programs = await ProgramsOnPath.make();
  await programs.put('busctl', 'cat $D/metered');
  systemd = await NotifySocket.open(join(device, 'notify'));
  action = maker.release({ sequence: 2, version: '2.0.0', images: { rootfs: new Uint8Array(100_000).fill(2) } });
  await listen();
  for (const folder of ['factory/before.d', 'data/identity', 'board', 'run/rootfs']) {
    await mkdir(join(device, folder), { recursive: true });
  }
  for (const slot of ['a', 'b']) {
    await mkdir(join(device, 'board/slots', slot), { recursive: true });
    await writeFile(join(device, 'board/slots', slot, 'rootfs.img'), new Uint8Array(100_000).fill(1));
  }
  await writeBootEnv(nodeDisk, device, { order: ['a', 'b'], trial: null });
  const booted = encodeBooted({ bootId: 'boot-1', slot: 'a', trial: false });
  await writeDurably(nodeDisk, emulatedPaths(device).booted, booted);
});
afterEach(async () => {
  if (!HAS_NOTIFY) return;
  server.closeAllConnections();
  server.close();
  await systemd.close();
  await programs.remove();
  await rm(device, { recursive: true });
});

/** Polls, reports, metadata and targets, as the server does; and the identity that the device has there. */
async function listen(): Promise<void> {
  const ca = await authority();
  const own = await deviceCertificate(ca, 'cam-0001');
  const leaf = await serverCertificate(ca);
  server = createServer({ key: leaf.privateKeyPem, cert: leaf.certificatePem }, async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    const url = request.url ?? '';
    const json = (content: unknown) => response.end(JSON.stringify(content));
    const file = (bytes: Uint8Array | undefined) => response.writeHead(bytes === undefined ? 404 : 200).end(bytes);
    if (url === DEVICE_PATHS.report) return json({ acknowledged: JSON.parse(body).reports.at(-1).reportSequence });
    if (url === DEVICE_PATHS.poll) {
      polls.push(JSON.parse(body));
      return json({ protocol: 2, pollAfterMs: 200, action, requests: [] });
    }
    if (url.startsWith(DEVICE_PATHS.metadata)) return file(maker.metadata.get(url.split('/').at(-1) ?? ''));
    const bytes = maker.files.get(url.slice(DEVICE_PATHS.targets.length + 1));
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    if (bytes === undefined || first === undefined) return file(bytes);
    ranges += 1;
    response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${bytes.length}` });
    return response.end(bytes.subarray(Number(first), Number(last) + 1));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await mkdir(join(device, 'data/identity'), { recursive: true });
  await mkdir(join(device, 'factory'), { recursive: true });
  await writeFile(join(device, 'data/identity/device.key'), own.privateKeyPem);
  await writeFile(join(device, 'data/identity/device.crt'), own.certificatePem);
  await writeFile(join(device, 'factory/root.json'), maker.factoryRoot);
  await writeFile(join(device, 'factory/server-ca.pem'), ca.certificatePem);
  const config = {
    format: 'holdfast-agent-1',
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    board: { kind: 'emulated', directory: '..' },
    dataDirectory: '../data',
    factoryRoot: 'root.json',
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    claimFile: 'claim.json',
    server: {
      url: `https://localhost:${(server.address() as AddressInfo).port}`,
      mqttUrl: null,
      anchorsFile: 'server-ca.pem',
    },
    poll: { intervalMs: 200 },
    retry: { baseMs: 50, capMs: 200 },
    network: { metered: 'auto' },
    hooks: { beforeReboot: 'before.d', inUse: { file: '../run/in-use', askEveryMs: 100 } },
  };
  await writeFile(join(device, 'factory/agent.json'), JSON.stringify(config));
}

const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 60_000, interval: 20 });
const status = async () => JSON.parse(await readFile(join(device, 'data/status.json'), 'utf8'));
/** The file is written beside the poll, sooner or later than that comes to the server. */
const saysItself = (facts: object) =>
  vi.waitFor(async () => expect(await status()).toMatchObject(facts), { timeout: 60_000, interval: 20 });

it.skipIf(!HAS_NOTIFY)(
  'waits for its link and for its application, says so, and goes on by itself',
  { timeout: 180_000 },
  async () => {
    await programs.say('metered', 'u 1\n');
    await writeFile(join(device, 'run/in-use'), '');
    await writeFile(join(device, 'factory/before.d/10-save'), `#!/bin/sh\ntouch ${device}/saved\n`, { mode: 0o755 });
    const environment = { HOLDFAST_RUN: join(device, 'run'), NOTIFY_SOCKET: systemd.path, WATCHDOG_USEC: '2000000' };
    const child = spawn(process.execPath, [MAIN, 'run', '--config', join(device, 'factory/agent.json')], {
      stdio: 'ignore',
      env: { ...process.env, ...environment },
    });
    const ended = once(child, 'exit');
    try {
      await until(() => polls.some(({ state, waiting }) => state === 'downloading' && waiting === 'link-metered'));
      await saysItself({ state: 'downloading', waiting: { reason: 'link-metered' } });
      expect(ranges).toBe(0);

      await programs.say('metered', 'u 2\n');
      await until(() => polls.some(({ state, waiting }) => state === 'armed' && waiting === 'in-use'));
      await saysItself({ state: 'armed', waiting: { reason: 'in-use' } });
      expect(ranges).toBeGreaterThan(0);
      expect(existsSync(join(device, 'saved'))).toBe(false);
      await until(() => systemd.count('READY=1') === 1 && systemd.count('WATCHDOG=1') >= 2);

      await rm(join(device, 'run/in-use'));
      expect(await ended).toEqual([0, null]);
      expect(existsSync(join(device, 'saved'))).toBe(true);
      expect(existsSync(emulatedPaths(device).rebootRequest)).toBe(true);
    } finally {
      child.kill('SIGKILL');
    }
  },
);
