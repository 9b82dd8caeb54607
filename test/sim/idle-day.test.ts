/** A day of idling, at a server and a broker that answer (test/sim/idle/idle-device.ts is the device). */
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { Aedes } from 'aedes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeDisk } from '../../platform/disk.ts';
import { emulatedPaths, encodeBooted, FACTORY_BOOT_ENV, writeBootEnv } from '../../platform/emulated-boot-env.ts';
import { agentNodeFlags } from '../../scripts/agent-launcher.ts';
import { needProgram } from '../../scripts/programs.ts';
import { authority, deviceCertificate, serverCertificate } from '../unit/agent/test-authority.ts';
import type { IdleHour } from './idle/idle-device.ts';
import { TestMaker } from './release-fixture.ts';

const HOURS = 24;
const POLL_MS = 300_000;
/** As bin/holdfast-agent starts it: V8's compilers go on filling the heap for days. */
const AS_SHIPPED = agentNodeFlags(process.cwd());
/** A hundred bytes kept by each of the 590 wake-ups between the second hour and the last would be as much. */
const HEAP_TOLERANCE_BYTES = 64 * 1024;

const heard = { polls: 0, pings: 0 };
let directory: string;
let server: Server;
let mqttServer: TlsServer;
let broker: Aedes;
let day: IdleHour[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'idle-day-'));
  await makeDevice(await startServers());
  const program = new URL('./idle/idle-device.ts', import.meta.url).pathname;
  const config = join(directory, 'factory/agent.json');
  const run = await needProgram(process.execPath, [...AS_SHIPPED, '--expose-gc', program, config, String(HOURS)]);
  day = JSON.parse(run.stdout);
}, 600_000);
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  mqttServer.close();
  await new Promise<void>((resolve) => broker.close(() => resolve()));
  await rm(directory, { recursive: true });
});

/** Answers what it is asked and wants nothing. */
async function startServers() {
  const ca = await authority();
  const leaf = await serverCertificate(ca);
  const tls = { key: leaf.privateKeyPem, cert: leaf.certificatePem, requestCert: true, rejectUnauthorized: false };
  server = createServer(tls, async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
    const isPoll = body.reports === undefined;
    if (isPoll) heard.polls += 1;
    const answer = isPoll
      ? { protocol: 1, pollAfterMs: POLL_MS, action: null, requests: [] }
      : { acknowledged: body.reports.at(-1).reportSequence };
    response.end(JSON.stringify(answer));
  });
  broker = await Aedes.createBroker();
  broker.on('ping', () => {
    heard.pings += 1;
  });
  mqttServer = createTlsServer(tls, (socket) => void broker.handle(socket));
  for (const one of [server, mqttServer]) {
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
  }
  return { ca, identity: await deviceCertificate(ca, 'cam-0001') };
}

/** Enrolled, with two slots, booted, and nothing to do. */
async function makeDevice({ ca, identity }: Awaited<ReturnType<typeof startServers>>): Promise<void> {
  const portOf = (one: Server | TlsServer): number => (one.address() as AddressInfo).port;
  for (const folder of ['factory', 'data/identity', 'board/slots/a', 'board/slots/b'])
    await mkdir(join(directory, folder), { recursive: true });
  await writeFile(join(directory, 'data/identity/device.key'), identity.privateKeyPem);
  await writeFile(join(directory, 'data/identity/device.crt'), identity.certificatePem);
  await writeFile(join(directory, 'factory/root.json'), new TestMaker().factoryRoot);
  await writeFile(join(directory, 'factory/server-ca.pem'), ca.certificatePem);
  for (let copies = 0; copies < 2; copies += 1) await writeBootEnv(nodeDisk, directory, FACTORY_BOOT_ENV);
  await writeFile(emulatedPaths(directory).booted, encodeBooted({ bootId: 'boot-1', slot: 'a', trial: false }));
  const config = {
    format: 'holdfast-agent-1',
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    board: { kind: 'emulated', directory: '..' },
    clock: 'host',
    dataDirectory: '../data',
    factoryRoot: 'root.json',
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    claimFile: 'claim.json',
    server: {
      url: `https://localhost:${portOf(server)}`,
      mqttUrl: `mqtts://localhost:${portOf(mqttServer)}`,
      anchorsFile: 'server-ca.pem',
    },
    poll: { intervalMs: POLL_MS },
  };
  await writeFile(join(directory, 'factory/agent.json'), JSON.stringify(config));
}

/** The first hour starts the device; what is said of idling is said of the others. */
const later = (): IdleHour[] => day.slice(1);

describe('a day of idling', () => {
  it('wakes up for its polls and pings, and once a day to look at its work, and never else', () => {
    const wakeUps = day.reduce((sum, hour) => sum + hour.wakeUps, 0);
    // The first poll is made at the start, by nobody's alarm.
    expect(wakeUps).toBe(heard.polls - 1 + heard.pings + 1);
    // A poll each five minutes, give or take a tenth; a ping each four.
    for (const hour of later()) expect(hour.wakeUps).toBeGreaterThanOrEqual(26);
    for (const hour of later()) expect(hour.wakeUps).toBeLessThanOrEqual(29);
    expect(heard.pings).toBe(HOURS * 15);
  });

  it('leaves no timer of Node behind that would wake it besides', () => {
    expect(day.map(({ strayTimers }) => strayTimers)).toEqual(day.map(() => 0));
  });

  it('replaces its status file once an hour, and changes nothing else on its disk', () => {
    for (const hour of later()) expect(hour.diskChanges).toEqual(['create', 'write', 'rename']);
  });

  it('has the heap of its second hour in its last', () => {
    const [, second] = day;
    const last = day.at(-1);
    expect(Math.abs((last?.heapBytes ?? 0) - (second?.heapBytes ?? 0))).toBeLessThan(HEAP_TOLERANCE_BYTES);
  });
});
