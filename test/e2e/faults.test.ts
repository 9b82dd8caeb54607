/**
 * What bad input gets, where it only shows end to end: one clear message (what, where, cure), a stable code and exit
 * status, no stack trace, and nothing lost.
 */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import { statusTopic } from '../../protocol/mqtt-topics.ts';
import { enrolRaw } from '../../scripts/attacks/enrolment-attacks.ts';
import { type ClientCertificate, connectMqtt, publish, RawHttps } from '../../scripts/attacks/wire-clients.ts';
import type { DemoRun } from '../../scripts/demo/demo-run.ts';
import { freePorts } from '../../scripts/demo/free-ports.ts';
import { PROJECT_DIRECTORY } from '../../scripts/images/demo-images.ts';
import { type ProgramResult, runProgram } from '../../scripts/programs.ts';
import { buildWords } from '../unit/cli/run-holdfast.ts';
import { type Fleet, fleetWithServer, serverAuthority } from './fleet.ts';

let fleet: Fleet;
let run: DemoRun;
let identity: ClientCertificate;
let ca: string;
const DEVICE = 'cam-0100';

beforeAll(async () => {
  fleet = await fleetWithServer(3);
  run = fleet.run;
  ca = await serverAuthority(run);
  const [claim] = await run.words.claims('acme-cam', [DEVICE], run.path('claims'), { quiet: true });
  if (claim === undefined) throw new Error('no claim');
  identity = await enrolRaw(run.deviceUrl, ca, claim);
});
afterAll(() => fleet?.close());

const bin = (name: string, args: readonly string[], input?: string): Promise<ProgramResult> =>
  runProgram(join(PROJECT_DIRECTORY, 'bin', name), args, {
    env: { HOLDFAST_HOME: run.path('operator') },
    ...(input === undefined ? {} : { input }),
  });

/** The fault as a machine reads it, after checking that a person could read it too. */
function faultOf(result: ProgramResult): { code: string; status: number } {
  const said = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '');
  expect(said).toMatchObject({ ok: false });
  expect(said.what).not.toBe('');
  expect(said.cure).not.toBe('');
  expect(result.stderr).toContain(`[${said.code}]`);
  expect(result.stderr).toContain('cure:');
  expect(result.stderr + result.stdout).not.toMatch(/\n\s+at .*:\d+/);
  return { code: said.code, status: result.status };
}

describe('holdfast-server', () => {
  const serve = async (data: string, extra: readonly string[] = []): Promise<ProgramResult> => {
    const [device, operator, mqtt] = await freePorts(3);
    const ports = ['--device-port', String(device), '--operator-port', String(operator), '--mqtt-port', String(mqtt)];
    return bin('holdfast-server', ['run', '--data', data, ...ports, '--json', ...extra]);
  };

  it('says that a port is in use', async () => {
    const data = run.path('port-in-use');
    const result = await serve(data, [
      '--keys',
      run.path('ceremony/server'),
      '--operator-port',
      String(run.ports.operator),
    ]);
    expect(faultOf(result)).toEqual({ code: 'port-in-use', status: 5 });
  });

  it('says that its database is damaged, and leaves it as it was', async () => {
    const data = run.path('damaged-database');
    await cp(run.path('server'), data, { recursive: true });
    for (const name of await readdir(data)) if (name.startsWith('db.sqlite-')) await writeFile(join(data, name), '');
    await writeFile(join(data, 'db.sqlite'), 'not a database'.repeat(1000));
    const result = await serve(data, ['--sealing-key', run.path('ceremony/server/sealing.key')]);
    expect(faultOf(result).status).toBe(7);
    expect(await readFile(join(data, 'db.sqlite'), 'utf8')).toBe('not a database'.repeat(1000));
  });

  it('says that its authority is damaged', async () => {
    const data = run.path('damaged-pki');
    await cp(run.path('server'), data, { recursive: true });
    await writeFile(join(data, 'pki/device-ca.key'), 'garbage');
    const result = await serve(data, ['--sealing-key', run.path('ceremony/server/sealing.key')]);
    expect(faultOf(result)).toEqual({ code: 'pki-damaged', status: 7 });
  });

  it('says that the sealing key is not the right one', async () => {
    const data = run.path('wrong-sealing-key');
    await cp(run.path('server'), data, { recursive: true });
    const key = run.path('another-sealing.key');
    await writeFile(key, `${'ab'.repeat(32)}\n`, { mode: 0o600 });
    expect(faultOf(await serve(data, ['--sealing-key', key]))).toEqual({ code: 'sealing-key-wrong', status: 3 });
  });

  it('says that the folder of keys does not exist', async () => {
    const result = await serve(run.path('no-keys'), ['--keys', run.path('there-is-none')]);
    expect(faultOf(result)).toMatchObject({ status: 3 });
  });
});

describe('holdfast', () => {
  const key = (): string => run.path('ceremony/person-1/targets.key');

  it('says that the passphrase is wrong, and signs nothing', async () => {
    const passphrase = run.path('wrong-passphrase');
    await writeFile(passphrase, 'not the passphrase at all\n', { mode: 0o600 });
    const image = run.path('any.img');
    await writeFile(image, new Uint8Array(5000).fill(7));
    const folder = run.path('release-1');
    const build = [...buildWords('1.0.1', 9), '--image', `rootfs=${image}`, '--server', '--out', folder, '--json'];
    expect((await bin('holdfast', build)).status).toBe(0);
    const author = run.path('ceremony/author-acme-cam/author.key');
    const sign = ['release', 'sign', folder, '--key', author, '--passphrase-file', passphrase, '--json'];
    expect(faultOf(await bin('holdfast', sign))).toEqual({ code: 'passphrase-wrong', status: 3 });
    expect(await readdir(folder)).not.toContain('release.suit');
  });

  it.each([
    ['a key file of garbage', () => ['keys', 'show', run.path('server/db.sqlite')], 3],
    ['a path that does not exist', () => ['keys', 'show', run.path('nothing-here')], 3],
    [
      'a ceremony folder that is not empty',
      () => [
        'keys',
        'init',
        '--dir',
        run.path('ceremony'),
        '--vendor',
        'acme.example',
        '--class',
        'acme-cam',
        '--passphrase-file',
        run.path('passphrase.txt'),
      ],
      4,
    ],
    ['a device that nobody knows', () => ['devices', 'show', 'cam-9999'], 3],
    [
      'a release that was never published',
      () => ['rollout', 'start', 'releases/acme-cam/stable/77/release.suit', '--waves', '1'],
      3,
    ],
    [
      'waves that are none',
      () => ['rollout', 'start', 'releases/acme-cam/stable/2/release.suit', '--waves', 'many'],
      2,
    ],
    ['an option that does not exist', () => ['devices', 'list', '--colour'], 2],
  ])('says what is wrong with %s', async (_name, words, status) => {
    expect(faultOf(await bin('holdfast', [...words(), '--json']))).toMatchObject({ status });
    expect((await readFile(key())).length).toBeGreaterThan(100);
  });

  it('says that nobody has logged in', async () => {
    const result = await runProgram(join(PROJECT_DIRECTORY, 'bin/holdfast'), ['devices', 'list', '--json'], {
      env: { HOLDFAST_HOME: run.path('nobody') },
    });
    expect(faultOf(result)).toEqual({ code: 'not-logged-in', status: 3 });
  });
});

describe('holdfast-agent', () => {
  const device = async (name: string): Promise<string> => {
    const directory = run.path(name);
    const any = run.path('any-image');
    await writeFile(any, 'x');
    await makeDevice({
      directory,
      images: { boot: any, rootfs: any },
      installed: { sequence: 1, version: '1.0.0' },
      vendor: 'acme.example',
      hardwareClass: 'acme-cam',
      channel: 'stable',
      environment: 'rehearsal',
      rootFile: run.path('ceremony/public/1.root.json'),
      claim: await readFile(join(run.path('claims'), `${DEVICE}.claim.json`), 'utf8'),
      server: { url: run.deviceUrl, mqttUrl: null, anchorsFile: run.path('server/pki/server-ca.pem') },
      timing: DEMO_TIMING,
    });
    await writeFile(join(directory, 'board/booted.json'), '{"bootId":"boot-1","slot":"a","trial":false}\n');
    return directory;
  };
  const runOnce = (directory: string): Promise<ProgramResult> =>
    bin('holdfast-agent', ['run', '--once', '--config', join(directory, 'factory/agent.json'), '--json']);

  it('names the field of its configuration that it does not know', async () => {
    const directory = await device('unknown-field');
    const path = join(directory, 'factory/agent.json');
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), colour: 'blue' }));
    const result = await runOnce(directory);
    expect(faultOf(result)).toEqual({ code: 'config-invalid', status: 3 });
    expect(result.stderr).toContain('colour');
  });

  it('says that its claim is not one', async () => {
    const directory = await device('garbage-claim');
    await writeFile(join(directory, 'factory/claim.json'), '{{{');
    expect(faultOf(await runOnce(directory))).toMatchObject({ status: 3 });
  });

  it('says that its factory root is not signed metadata', async () => {
    const directory = await device('garbage-root');
    await writeFile(join(directory, 'factory/root.json'), '[]');
    expect([3, 7]).toContain(faultOf(await runOnce(directory)).status);
  });

  it('says that its private key is damaged, and keeps the file', async () => {
    const directory = await device('garbage-key');
    await mkdir(join(directory, 'data/identity'), { recursive: true, mode: 0o700 });
    await writeFile(join(directory, 'data/identity/device.key'), 'garbage', { mode: 0o600 });
    expect([3, 7]).toContain(faultOf(await runOnce(directory)).status);
    expect(await readFile(join(directory, 'data/identity/device.key'), 'utf8')).toBe('garbage');
  });
});

describe('the device listener', () => {
  const post = async (path: string, body: unknown): Promise<{ status: number; body: unknown }> => {
    const connection = new RawHttps(run.deviceUrl, ca, identity);
    try {
      return await connection.send('POST', path, body);
    } finally {
      connection.close();
    }
  };
  const deep = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));

  it.each([
    ['an unknown field', { protocol: 1, nonsense: true }, 400],
    ['a report of another shape', { protocol: 1, reports: [{ reportSequence: 0 }] }, 400],
    ['a body nested too deep', deep(2000), 400],
    ['a body that is too large', { protocol: 1, reports: 'x'.repeat(100_000) }, 413],
  ])('answers %s with a code and a cure', async (_name, body, status) => {
    const answer = await post(DEVICE_PATHS.report, body);
    expect(answer).toMatchObject({ status, body: { ok: false, code: expect.any(String), cure: expect.any(String) } });
  });

  it('goes on serving after all of that', async () => {
    const connection = new RawHttps(run.deviceUrl, ca, identity);
    expect((await connection.send('GET', `${DEVICE_PATHS.metadata}/timestamp.json`)).status).toBe(200);
    connection.close();
  });
});

describe('the broker', () => {
  const refusals = async (): Promise<string[]> =>
    (await run.words.audit(200))
      .filter(({ actor, action }) => actor === `device:${DEVICE}` && action === 'mqtt-refused')
      .map(({ subject }) => subject);

  it.each([
    ['a status that is not CBOR', Buffer.from('not cbor').toString('latin1'), 'mqtt-payload-malformed'],
    ['a status that is too large', 'x'.repeat(8000), 'mqtt-payload-too-large'],
  ])('refuses %s, and writes it down', async (_name, payload, code) => {
    const client = await connectMqtt({
      url: `mqtts://localhost:${run.ports.mqtt}`,
      ca,
      certificate: identity,
      clientId: DEVICE,
    });
    client.on('error', () => undefined);
    await publish(client, statusTopic(DEVICE), payload, false);
    for (let tries = 0; tries < 50 && !(await refusals()).includes(code); tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 100));
    client.end(true);
    expect(await refusals()).toContain(code);
  });
});
