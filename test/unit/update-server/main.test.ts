/** The published command, as a process: what it prints, what it leaves, how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeSealingKey } from '../../../platform/sealed-file.ts';
import { Publisher } from './repository/fixture.ts';

const PROJECT = resolve(import.meta.dirname, '../../..');
const NODE = join(PROJECT, 'node_modules/.bin/node');
const PORTS = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];

let directory: string;
let running: ChildProcess[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-main-'));
  running = [];
});
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
  await rm(directory, { recursive: true, force: true });
});

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

class Server {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  readonly ready: Promise<Record<string, string>>;

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(NODE, [join(PROJECT, 'update-server/main.ts'), ...args], { env: { ...process.env, ...env } });
    running.push(this.child);
    let stdout = '';
    let stderr = '';
    this.child.stderr?.on('data', (text) => {
      stderr += text;
    });
    this.ready = new Promise((resolve, reject) => {
      this.child.stdout?.on('data', (text) => {
        stdout += text;
        if (stdout.includes('\n') && stdout.startsWith('{"event"')) resolve(JSON.parse(stdout.split('\n', 1)[0] ?? ''));
      });
      this.child.on('close', () => reject(new Error(`ended: ${stdout}${stderr}`)));
    });
    this.ready.catch(() => undefined);
    this.ended = once(this.child, 'close').then(([status]) => ({ status: status as number | null, stdout, stderr }));
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }
}

const path = (...parts: string[]): string => join(directory, ...parts);
const run = (...args: string[]): Server => new Server(['run', '--json', '--data', path('data'), ...PORTS, ...args]);

/** What the ceremony gives to a server. */
async function ceremony(): Promise<string> {
  const publisher = new Publisher();
  const { root, targets, sealedOnlineKeys } = await publisher.ceremony();
  await mkdir(path('server'));
  await writeFile(path('server', '1.root.json'), root);
  await writeFile(path('server', '1.targets.json'), targets);
  await writeFile(path('server', 'online-keys.sealed'), sealedOnlineKeys);
  await writeFile(path('server', 'sealing.key'), encodeSealingKey(publisher.sealingKey));
  return path('server');
}

async function get(url: string, ca: string): Promise<number> {
  const outgoing = request(url, { ca: await readFile(ca) }).end();
  const [incoming] = await once(outgoing, 'response');
  incoming.resume();
  return incoming.statusCode;
}

test('the first start imports the ceremony, prints a token once, and every later start finds everything as it was', async () => {
  const first = run('--keys', await ceremony());
  const ready = await first.ready;
  expect(ready.oneTimeToken).toMatch(/^hf1_/);
  const { event: _event, oneTimeToken: _token, ...endpoints } = ready;
  expect(JSON.parse(await readFile(path('data', 'endpoints.json'), 'utf8'))).toEqual(endpoints);
  expect(await get(`${ready.deviceUrl}/healthz`, ready.serverCa ?? '')).toBe(200);
  expect(await get(`${ready.operatorUrl}/healthz`, ready.serverCa ?? '')).toBe(200);
  const authority = await readFile(ready.serverCa ?? '', 'utf8');
  expect(await first.stop()).toMatchObject({ status: 0 });

  const second = run();
  expect((await second.ready).oneTimeToken).toBeNull();
  expect(await readFile(ready.serverCa ?? '', 'utf8')).toBe(authority);
  expect(await second.stop('SIGKILL')).toMatchObject({ status: null });
  await writeFile(path('wrong.key'), encodeSealingKey(randomBytes(32)));
  expect(await run('--sealing-key', path('wrong.key')).ended).toMatchObject({ status: 3 });
  const third = run();
  expect((await third.ready).oneTimeToken).toBeNull();
  expect(await third.stop('SIGINT')).toMatchObject({ status: 0 });
});

test('nothing secret is readable by others, printed or logged', async () => {
  const server = run('--keys', await ceremony(), '--log-level', 'trace');
  await server.ready;
  for (const name of ['pki/server-ca.key', 'pki/device-ca.key', 'pki/server.key', 'online-keys.sealed', 'db.sqlite']) {
    expect([name, (await stat(path('data', name))).mode & 0o077]).toEqual([name, 0]);
  }
  const sealingKey = (await readFile(path('server', 'sealing.key'), 'utf8')).trim();
  const { stdout, stderr } = await server.stop();
  expect(stdout + stderr).not.toContain(sealingKey);
  expect(stderr).not.toContain('PRIVATE KEY');
  const token = /hf1_[\w-]+/.exec(stdout)?.[0] ?? '';
  expect(stderr).not.toContain(token);
  expect((await readFile(path('data', 'db.sqlite'))).includes(token)).toBe(false);
});

test('the sealing key may come as a systemd credential', async () => {
  const keys = await ceremony();
  await mkdir(path('credentials'));
  await writeFile(path('credentials', 'holdfast-sealing-key'), await readFile(path('server', 'sealing.key')));
  await rm(path('server', 'sealing.key'));
  const args = ['run', '--json', '--data', path('data'), ...PORTS, '--keys', keys];
  const server = new Server(args, { CREDENTIALS_DIRECTORY: path('credentials') });
  await server.ready;
  expect(await server.stop()).toMatchObject({ status: 0 });
});

test('a lab needs no ceremony, and says what it is', async () => {
  const server = new Server(['--lab', '--data', path('data'), ...PORTS]);
  const [text] = (await once(server.child.stdout ?? server.child, 'data')) as [Buffer];
  expect(text.toString()).toContain('THIS IS A LAB');
  expect(await server.stop()).toMatchObject({ status: 0 });
  expect(await run().ended).toMatchObject({ status: 3 });
});

describe('ends in one fault', () => {
  async function fault(server: Server): Promise<string> {
    const { status, stdout, stderr } = await server.ended;
    const said = JSON.parse(stdout) as { ok: boolean; code: string; cure: string };
    expect(said.ok).toBe(false);
    expect(said.cure).not.toBe('');
    expect(stderr).not.toMatch(/\n\s+at /);
    return `${status} ${said.code}`;
  }

  test('without keys, and leaves no folder behind', async () => {
    expect(await fault(run())).toBe('3 keys-missing');
    await expect(stat(path('data'))).rejects.toThrow();
  });

  test.each<[string, (keys: string) => Promise<unknown>, string]>([
    [
      'another sealing key',
      (keys) => writeFile(join(keys, 'sealing.key'), encodeSealingKey(randomBytes(32))),
      '3 sealing-key-wrong',
    ],
    ['a garbage sealing key', (keys) => writeFile(join(keys, 'sealing.key'), 'garbage'), '3 sealing-key-malformed'],
    ['no sealing key', (keys) => rm(join(keys, 'sealing.key')), '3 sealing-key-missing'],
    ['no root', (keys) => rm(join(keys, '1.root.json')), '3 ceremony-file-missing'],
    ['a garbage root', (keys) => writeFile(join(keys, '1.root.json'), 'garbage'), '3 ceremony-file-refused'],
    [
      'a root of megabytes',
      (keys) => writeFile(join(keys, '1.root.json'), Buffer.alloc(2_000_000)),
      '3 ceremony-file-refused',
    ],
    ['garbage targets', (keys) => writeFile(join(keys, '1.targets.json'), '{}'), '3 ceremony-file-refused'],
    [
      'garbage online keys',
      (keys) => writeFile(join(keys, 'online-keys.sealed'), 'garbage'),
      '7 sealed-file-malformed',
    ],
  ])('with %s, and starts once that is cured', async (_name, spoil, expected) => {
    const keys = await ceremony();
    const good = new Map<string, Buffer>();
    for (const name of ['sealing.key', '1.root.json', '1.targets.json', 'online-keys.sealed']) {
      good.set(name, await readFile(join(keys, name)));
    }
    await spoil(keys);
    expect(await fault(run('--keys', keys))).toBe(expected);
    for (const [name, bytes] of good) await writeFile(join(keys, name), bytes);
    const cured = run('--keys', keys);
    expect((await cured.ready).oneTimeToken).toMatch(/^hf1_/);
    await cured.stop();
  });

  test.each<[string, string, string]>([
    ['the newest targets', 'metadata/1.targets.json', '7 repository-corrupt'],
    ['the root', 'metadata/1.root.json', '7 repository-corrupt'],
    ['the database', 'db.sqlite', '7 database-corrupt'],
    ['an authority', 'pki/device-ca.pem', '7 pki-damaged'],
    ['the online keys', 'online-keys.sealed', '7 sealed-file-malformed'],
    ['the settings', 'settings.json', '7 settings-damaged'],
  ])('when %s in the data folder are damaged', async (_name, file, expected) => {
    const first = run('--keys', await ceremony());
    await first.ready;
    await first.stop();
    const digest = createHash('sha256')
      .update(await readFile(path('data', 'artifacts', '..', 'pki', 'server-ca.pem')))
      .digest('hex');
    await rm(path('data', 'db.sqlite-wal'), { force: true });
    await writeFile(path('data', file), Buffer.alloc(8192, 'garbage'));
    expect(await fault(run())).toBe(expected);
    expect(
      createHash('sha256')
        .update(await readFile(path('data', 'pki', 'server-ca.pem')))
        .digest('hex'),
    ).toBe(digest);
  });

  test.each(['--device-port', '--operator-port', '--mqtt-port'])('when the port of %s is taken', async (option) => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    const address = blocker.address();
    const port = String(typeof address === 'object' ? address?.port : 0);
    const keys = await ceremony();
    expect(await fault(run('--keys', keys, option, port))).toBe('5 port-in-use');
    blocker.close();
    const freed = run('--keys', keys);
    expect((await freed.ready).oneTimeToken).toMatch(/^hf1_/);
    expect(await fault(run('--keys', keys))).toBe('5 data-in-use');
    await freed.stop();
  });

  test('when the command line is wrong', async () => {
    expect(await fault(run('--nonsense'))).toBe('2 command-line-wrong');
  });
});

test('help says what a newcomer needs, on stdout', async () => {
  const { status, stdout } = await new Server(['run', '--help']).ended;
  expect(status).toBe(0);
  expect(stdout).toMatch(/--keys <folder>[\s\S]*SIGUSR2/);
});
