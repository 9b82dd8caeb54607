/** Credentials as an operator meets them: the real server and command line, and a device that speaks protocol 3 over TLS. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino, { type Logger } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import type { ClaimFile } from '../../protocol/enrolment.ts';
import { base64url } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { decodeCommandLine } from '../../update-server/config.ts';
import { type RunningServer, startServer } from '../../update-server/server.ts';
import { documentOf, type Run, runHoldfast } from '../unit/cli/run-holdfast.ts';
import { fingerprint, rotated, state } from '../unit/update-server/statements.ts';
import { makeDeviceKey, poll, type Testbed, TestDevice } from '../unit/update-server/testbed.ts';

let home: string;
let server: RunningServer;
let bed: Testbed;
let device: TestDevice;
const BLOB = new Uint8Array(Buffer.from('sealed to two owners'));
const OWNER = fingerprint('owner 1');

const holdfast = (...args: string[]): Promise<Run> => runHoldfast(args, { home });
const answerOf = async (...args: string[]) => documentOf(await holdfast(...args, '--json'));
const pollAs = (epoch: number) => ({ ...poll, protocol: 3, firstBoot: { state: 'open', epoch } });
const ask = async (epoch: number) => (await device.send('POST', DEVICE_PATHS.poll, pollAs(epoch))).body;

async function start(log: Logger): Promise<RunningServer> {
  const ports = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];
  const words = ['run', '--lab', '--data', join(home, 'server'), ...ports];
  const config = decodeCommandLine(words, '0.0.0');
  if (config === undefined) throw new Error('no configuration');
  return startServer(config, { log, version: '0.0.0' });
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'holdfast-credentials-'));
  server = await start(pino({ level: 'silent' }));
  await writeFile(join(home, 'token'), `${server.oneTimeToken ?? ''}\n`, { mode: 0o600 });
  const login = await holdfast('login', '--server-data', join(home, 'server'), '--token-file', join(home, 'token'));
  if (login.status !== 0) throw new Error(login.stderr);
  const port = Number(new URL(server.endpoints.deviceUrl).port);
  const pem = await readFile(server.endpoints.serverCa, 'utf8');
  bed = { port, serverAuthority: { pem } } as unknown as Testbed;
}, 60_000);
afterAll(async () => {
  device?.close();
  await server?.close();
  await rm(home, { recursive: true, force: true });
});

describe('an operator', () => {
  it('makes the claims of a batch in one file, and takes one out of it without the server', async () => {
    const batch = join(home, 'batch.json');
    const words = ['--class', 'acme-cam', '--prefix', 'cam-', '--count', '3', '--file', batch];
    expect(await answerOf('devices', 'claims', ...words)).toMatchObject({
      ok: true,
      devices: ['cam-0001', 'cam-0002', 'cam-0003'],
    });
    expect((await stat(batch)).mode & 0o777).toBe(0o600);
    const file = join(home, 'claim.json');
    expect(await answerOf('devices', 'extract-claim', batch, 'cam-0001', '--out', file)).toMatchObject({ ok: true });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await answerOf('devices', 'extract-claim', batch, 'cam-9', '--out', `${file}2`)).toMatchObject({
      code: 'claim-unknown',
    });
    const key = await makeDeviceKey();
    const claim = JSON.parse(await readFile(file, 'utf8')) as ClaimFile;
    const enrolled = await new TestDevice(bed, key, undefined).enrol(claim);
    device = new TestDevice(bed, key, String(enrolled.body.certificateChain));
  }, 60_000);

  it('is told by name which devices hold factory secrets, until they prove that they do not', async () => {
    await ask(1);
    const before = await answerOf('devices', 'list', '--factory');
    expect(before.devices).toMatchObject([{ deviceId: 'cam-0001', credentials: 'factory' }]);
    expect((await holdfast('explain', 'cam-0001')).stdout).toContain('Its credentials: factory.');
    await state(device, rotated('cam-0001'));
    await ask(1);
    expect((await answerOf('devices', '--factory')).devices).toEqual([]);
    expect(await answerOf('credentials', 'status')).toMatchObject({ standings: { proven: 1, factory: 0 } });
    expect((await holdfast('credentials', 'list', 'cam-0001')).stdout).toMatch(
      /ssh-host-key:ed25519 +ssh-host-key +own/,
    );
  }, 60_000);

  it('gets a sealed blob once it is approved, and the device rotates afterwards', async () => {
    const note = { sha256: sha256Hex(BLOB), owners: [OWNER] };
    const body = { protocol: 3, epoch: 1, note, blob: base64url(BLOB) };
    expect((await device.send('POST', DEVICE_PATHS.credentialsEscrow, body)).status).toBe(200);
    expect(await answerOf('escrow', 'outstanding', '--owner', OWNER)).toMatchObject({
      devices: [{ deviceId: 'cam-0001' }],
    });
    const file = join(home, 'cam-0001.sealed');
    expect(await answerOf('escrow', 'request', 'cam-0001', '--reason', 'locked out')).toMatchObject({ ok: true });
    expect(await answerOf('escrow', 'fetch', 'cam-0001', '--out', file)).toMatchObject({ code: 'not-approved' });
    expect(await answerOf('escrow', 'approve', 'e1')).toMatchObject({ ok: true });
    expect(await answerOf('escrow', 'fetch', 'cam-0001', '--out', file)).toMatchObject({ ok: true, epoch: 1 });
    expect(new Uint8Array(await readFile(file))).toEqual(BLOB);
    expect((await holdfast('escrow', 'requests')).stdout).toContain('locked out');
    expect((await ask(1)).requests).toContain('rotate-credentials');
    await state(device, rotated('cam-0001', { epoch: 2 }));
    expect(await answerOf('credentials', 'status', 'k1')).toMatchObject({
      rotation: { state: 'complete', rotated: 1 },
      parts: [{ deviceId: 'cam-0001', state: 'rotated' }],
    });
  }, 60_000);

  it('has the fleet rotated, and can pause, resume and cancel that', async () => {
    expect(await answerOf('credentials', 'rotate', '--why', 'x')).toMatchObject({ code: 'devices-unnamed' });
    await ask(2);
    expect(await answerOf('credentials', 'rotate', '--all', '--why', 'yearly')).toMatchObject({
      rotation: { devices: 1 },
    });
    for (const [verb, after] of [
      ['pause', 'paused'],
      ['resume', 'running'],
      ['cancel', 'cancelled'],
    ] as const) {
      expect(await answerOf('credentials', verb, 'k2')).toMatchObject({ rotation: { state: after } });
    }
  }, 60_000);

  it('sees certificates that end soon, with an exit status for scripts', async () => {
    expect((await holdfast('credentials', 'expiring', '--days', '8')).status).toBe(4);
    expect((await holdfast('credentials', 'expiring', '--days', '1')).status).toBe(0);
  }, 60_000);

  it('lets a card in that was moved, once it has seen on which board it is', async () => {
    await ask(2);
    await state(device, rotated('cam-0001', { epoch: 2, hardwareId: fingerprint('the other board') }));
    expect((await holdfast('explain', 'cam-0001')).stdout).toMatch(/awaiting-approval[\s\S]*hardware-moved/);
    expect(await answerOf('devices', 'approve', 'cam-0001', '--why', 'board replaced')).toMatchObject({
      device: { credentials: 'proven' },
    });
    expect(await answerOf('devices', 'approve', 'cam-0001', '--why', 'again')).toMatchObject({
      code: 'nothing-to-approve',
    });
  }, 60_000);
});

describe('a server that starts', () => {
  it('says in its log how many devices it offers repairs only', async () => {
    const file = join(home, 'claim-2.json');
    await holdfast('devices', 'extract-claim', join(home, 'batch.json'), 'cam-0002', '--out', file);
    const claim = JSON.parse(await readFile(file, 'utf8')) as ClaimFile;
    await new TestDevice(bed, await makeDeviceKey(), undefined).enrol(claim);
    device.close();
    await server.close();
    const said: string[] = [];
    server = await start(pino({ level: 'warn' }, { write: (line) => void said.push(line) }));
    const warnings = said.map((line) => JSON.parse(line)).filter(({ code }) => code === 'factory-credentials');
    expect(warnings).toMatchObject([{ devices: 1 }]);
  }, 60_000);
});
