import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { holdDataDirectory } from '../../../agent/single-instance.ts';
import { TestMaker } from '../../sim/release-fixture.ts';
import { authority } from './test-authority.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '../../../agent/main.ts');
let device: string;
let config: string;

beforeEach(async () => {
  device = await mkdtemp(join(tmpdir(), 'agent-'));
  await mkdir(join(device, 'factory'));
  config = join(device, 'factory/agent.json');
  await writeConfig({});
  await writeFile(join(device, 'factory/root.json'), new TestMaker().factoryRoot);
  await writeFile(join(device, 'factory/server-ca.pem'), (await authority()).certificatePem);
  const claim = {
    format: 'holdfast-claim-1',
    claimId: 'cam-0001',
    hardwareClass: 'acme-cam',
    secret: 'A'.repeat(43),
    expiresUnixMs: 4e12,
  };
  await writeFile(join(device, 'factory/claim.json'), JSON.stringify(claim));
});
afterEach(() => rm(device, { recursive: true }));

async function writeConfig(changes: object): Promise<void> {
  const content = {
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
    server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: 'server-ca.pem' },
    ...changes,
  };
  await writeFile(config, JSON.stringify(content));
}

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function agent(...args: string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => (said.stdout += chunk));
    child.stderr.on('data', (chunk) => (said.stderr += chunk));
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, ...said }));
  });
}

describe('bad input ends in one message with code, place, cure and exit status, and no stack trace', () => {
  const cases: [string, () => Promise<void> | void, string[], string, number][] = [
    ['an unknown command', () => {}, ['frobnicate'], 'usage', 2],
    ['an unknown option', () => {}, ['run', '--config', 'x', '--fast'], 'usage', 2],
    ['an option of another command', () => {}, ['run', '--config', 'x', '--release', 'y'], 'usage', 2],
    ['no --config', () => {}, ['status'], 'usage', 2],
    ['verify without a release', () => {}, ['verify', '--config', 'CONFIG'], 'usage', 2],
    [
      'two sources',
      () => {},
      ['verify', '--config', 'CONFIG', '--release', 'r', '--from', 'a', '--server', 'b'],
      'usage',
      2,
    ],
    ['a missing configuration', () => rm(config), ['run', '--config', 'CONFIG'], 'config-missing', 3],
    [
      'a configuration that is a folder',
      () =>
        rm(config)
          .then(() => mkdir(config))
          .then(() => undefined),
      ['run', '--config', 'CONFIG'],
      'path-kind-wrong',
      3,
    ],
    [
      'a corrupt configuration',
      () => writeFile(config, '{"format":'),
      ['run', '--config', 'CONFIG'],
      'config-malformed',
      3,
    ],
    [
      'a missing claim',
      () => rm(join(device, 'factory/claim.json')),
      ['run', '--config', 'CONFIG'],
      'claim-missing',
      3,
    ],
    [
      'a garbage claim',
      () => writeFile(join(device, 'factory/claim.json'), '\0\0'),
      ['enrol', '--config', 'CONFIG'],
      'claim-malformed',
      3,
    ],
    [
      'missing anchors',
      () => rm(join(device, 'factory/server-ca.pem')),
      ['run', '--config', 'CONFIG'],
      'anchors-unreadable',
      3,
    ],
    [
      'garbage anchors',
      () => writeFile(join(device, 'factory/server-ca.pem'), 'x'),
      ['enrol', '--config', 'CONFIG'],
      'anchors-unreadable',
      3,
    ],
    [
      'a missing factory root',
      () => rm(join(device, 'factory/root.json')),
      ['run', '--config', 'CONFIG'],
      'factory-root-missing',
      7,
    ],
    [
      'a garbage factory root',
      () => writeFile(join(device, 'factory/root.json'), '{"signatures":[]'),
      ['run', '--config', 'CONFIG'],
      'factory-root-malformed',
      7,
    ],
    [
      'a factory root of another environment',
      () => writeConfig({ environment: 'lab' }),
      ['run', '--config', 'CONFIG'],
      'environment-mismatch',
      4,
    ],
    ['a damaged device key', damagedKey, ['run', '--config', 'CONFIG'], 'device-key-unreadable', 7],
    [
      'an emulated board that nothing booted',
      () => writeConfig({ board: { kind: 'emulated', directory: '..' } }),
      ['run', '--config', 'CONFIG'],
      'booted-slot-unknown',
      5,
    ],
    ['a server that is not there', () => {}, ['enrol', '--config', 'CONFIG'], 'server-unreachable', 6],
    [
      'a source that is not there',
      () => {},
      ['verify', '--config', 'CONFIG', '--release', 'r', '--server', 'https://localhost:1'],
      'source-unreachable',
      6,
    ],
  ];

  async function damagedKey(): Promise<void> {
    await mkdir(join(device, 'data/identity'), { recursive: true });
    await writeFile(join(device, 'data/identity/device.key'), 'torn');
  }

  it.each(cases)('%s', async (_what, spoil, args, code, status) => {
    await spoil();
    const ended = await agent(...args.map((word) => (word === 'CONFIG' ? config : word)));
    expect(ended.stderr).toContain(`[${code}]`);
    expect(ended.stderr).toMatch(/\n {2}cure: \S/);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.status).toBe(status);
  });

  it('says the same to machines with --json', async () => {
    await rm(config);
    const ended = await agent('status', '--config', config, '--json');
    expect(JSON.parse(ended.stdout)).toMatchObject({ ok: false, code: 'config-missing', where: config });
  });

  it('a data directory that another agent works with', async () => {
    const held = holdDataDirectory(join(device, 'data'));
    const ended = await agent('run', '--config', config);
    held.close();
    expect(ended).toMatchObject({ status: 5, stderr: expect.stringContaining('[agent-running]') });
  });
});

describe('verify', () => {
  async function publish(): Promise<{ directory: string; releasePath: string; maker: TestMaker }> {
    const directory = join(device, 'stick');
    // The agent runs as a process and may find the machine's clock synchronised.
    const maker = new TestMaker(Math.floor(Date.now() / 1000));
    const { releasePath } = maker.release({
      sequence: 2,
      version: '2.0.0',
      images: { boot: new Uint8Array(70_000).fill(1), rootfs: new Uint8Array(2_100_000).fill(2) },
    });
    maker.publish();
    for (const [folder, files] of [
      ['metadata', maker.metadata],
      ['targets', maker.files],
    ] as const) {
      for (const [path, bytes] of files) {
        await mkdir(dirname(join(directory, folder, path)), { recursive: true });
        await writeFile(join(directory, folder, path), bytes);
      }
    }
    await writeFile(join(device, 'factory/root.json'), maker.factoryRoot);
    return { directory, releasePath, maker };
  }
  const verify = (directory: string, releasePath: string, ...more: string[]) =>
    agent('verify', '--config', config, '--release', releasePath, '--from', directory, '--json', ...more);

  it('accepts a good release from a directory and installs nothing', async () => {
    const { directory, releasePath } = await publish();
    const ended = await verify(directory, releasePath);
    expect([ended.status, ended.stderr]).toEqual([0, '']);
    expect(JSON.parse(ended.stdout)).toMatchObject({
      ok: true,
      version: '2.0.0',
      sequence: 2,
      images: [{ component: 'boot' }, { component: 'rootfs' }],
    });
  });

  it('refuses the same release with one flipped bit, with its code and exit status 4', async () => {
    const { directory, releasePath, maker } = await publish();
    const image = [...maker.files].find(([path]) => path.endsWith('rootfs.img'));
    const path = join(directory, 'targets', image?.[0] ?? '');
    const bytes = await readFile(path);
    bytes[2_000_000] = 3;
    await writeFile(path, bytes);
    const ended = await verify(directory, releasePath);
    expect(ended.status).toBe(4);
    expect(JSON.parse(ended.stdout)).toMatchObject({ ok: false, code: 'block-digest-mismatch' });
  });

  it('refuses a release for another class, and one that is not newer than the factory wrote', async () => {
    const { directory, releasePath } = await publish();
    await writeConfig({ hardwareClass: 'acme-hub' });
    expect(JSON.parse((await verify(directory, releasePath)).stdout)).toMatchObject({
      ok: false,
      code: 'class-mismatch',
    });
    await writeConfig({ factoryInstalled: { sequence: 2, version: '2.0.0' } });
    expect(JSON.parse((await verify(directory, releasePath)).stdout)).toMatchObject({
      ok: false,
      code: 'sequence-not-newer',
    });
  });

  it('keeps trusted metadata in the state folder that it is given: an older set is refused after a newer one', async () => {
    const { directory, releasePath, maker } = await publish();
    const old = join(device, 'old-stick');
    await cp(directory, old, { recursive: true });
    maker.publish();
    for (const [path, bytes] of maker.metadata) await writeFile(join(directory, 'metadata', path), bytes);
    const state = join(device, 'verify-state');
    expect((await verify(directory, releasePath, '--state', state)).status).toBe(0);
    const ended = await verify(old, releasePath, '--state', state);
    expect(JSON.parse(ended.stdout)).toMatchObject({ ok: false, code: 'metadata-version-rollback' });
    expect((await verify(old, releasePath)).status).toBe(0);
  });
});

describe('status', () => {
  it('says what is known before any agent ran, and fails on nothing that is merely not there yet', async () => {
    const ended = await agent('status', '--config', config);
    expect(ended.status).toBe(0);
    expect(ended.stdout).toContain('no agent has run here yet');
    expect(ended.stdout).toContain('rehearsal: not for production');
  });
});

describe('help and version', () => {
  it('are printed to stdout with status 0', async () => {
    expect(await agent('--help')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('holdfast-agent verify'),
    });
    expect(await agent('--version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });
});
