import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DEVICE_PATHS, type Report } from '../../../protocol/device-api.ts';
import { TestMaker } from '../../sim/release-fixture.ts';
import { authority, deviceCertificate, type IssuedCertificate, serverCertificate } from './test-authority.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '../../../agent/main.ts');
let device: string;
let ca: IssuedCertificate;
let server: Server;
const seen = { polls: 0, reports: [] as Report[], refusePolls: false };

/** A device that has enrolled, without slots, and a server that keeps what it is told. */
beforeEach(async () => {
  Object.assign(seen, { polls: 0, reports: [], refusePolls: false });
  device = await mkdtemp(join(tmpdir(), 'loop-'));
  ca = await authority();
  const own = await deviceCertificate(ca, 'cam-0001');
  const leaf = await serverCertificate(ca);
  server = createServer(
    { key: leaf.privateKeyPem, cert: leaf.certificatePem, requestCert: true, rejectUnauthorized: false },
    async (request, response) => {
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString() || '{}');
      const answer = (status: number, content: unknown) => response.writeHead(status).end(JSON.stringify(content));
      if (request.url === DEVICE_PATHS.report) {
        seen.reports.push(...body.reports);
        return answer(200, { acknowledged: body.reports.at(-1).reportSequence });
      }
      seen.polls += 1;
      if (seen.refusePolls) return answer(403, { ok: false, code: 'device-revoked', what: 'revoked', cure: 'Ask.' });
      return answer(200, {
        protocol: 1,
        pollAfterMs: 200,
        action: null,
        requests: seen.polls === 1 ? ['report-inventory'] : [],
      });
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await mkdir(join(device, 'factory'));
  await mkdir(join(device, 'data/identity'), { recursive: true });
  await writeFile(join(device, 'data/identity/device.key'), own.privateKeyPem);
  await writeFile(join(device, 'data/identity/device.crt'), own.certificatePem);
  await writeFile(join(device, 'factory/root.json'), new TestMaker().factoryRoot);
  await writeFile(join(device, 'factory/server-ca.pem'), ca.certificatePem);
  const config = {
    format: 'holdfast-agent-1',
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    board: { kind: 'none' },
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
  };
  await writeFile(join(device, 'factory/agent.json'), JSON.stringify(config));
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(device, { recursive: true });
});

function start(...more: string[]) {
  const child = spawn(process.execPath, [MAIN, 'run', '--config', join(device, 'factory/agent.json'), ...more], {
    stdio: 'ignore',
  });
  return { child, ended: once(child, 'exit') };
}
const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 30_000, interval: 20 });

describe('the running agent', () => {
  it('polls by the clock, answers a request, delivers its reports, and ends with 0 on SIGTERM', async () => {
    const { child, ended } = start();
    await until(() => seen.polls >= 3);
    await until(() => seen.reports.some(({ event }) => event.kind === 'notice' && event.code === 'inventory'));
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(JSON.parse(await readFile(join(device, 'data/status.json'), 'utf8'))).toMatchObject({
      enrolled: true,
      deviceId: 'cam-0001',
      state: 'idle',
    });
  });

  it('goes on numbering its reports after it was killed', async () => {
    for (let run = 0; run < 2; run += 1) {
      // The first poll of each run is asked for the inventory: one report more.
      seen.polls = 0;
      const { child, ended } = start();
      // A report whose acknowledgement was cut off comes again, under the same number: different ones are counted.
      await until(() => new Set(seen.reports.map(({ reportSequence }) => reportSequence)).size > run);
      child.kill('SIGKILL');
      await ended;
    }
    const numbers = [...new Set(seen.reports.map(({ reportSequence }) => reportSequence))];
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    expect(numbers.length).toBeGreaterThan(1);
  });

  it('keeps asking, with pauses, a server that says no', async () => {
    seen.refusePolls = true;
    const { child, ended } = start();
    await until(() => seen.polls >= 3);
    seen.refusePolls = false;
    await until(() =>
      seen.reports.some(({ event }) => event.kind === 'notice' && event.code === 'server-said-device-revoked'),
    );
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });

  it('does one round and ends with --once', async () => {
    const { ended } = start('--once');
    expect(await ended).toEqual([0, null]);
    expect(seen.polls).toBe(1);
  });
});
