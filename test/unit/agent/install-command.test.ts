/** `holdfast-agent install DIR` as a process, on an emulated board with real files. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { holdDataDirectory } from '../../../agent/single-instance.ts';
import { journalRecord } from '../../../agent/storage/journal.ts';
import { nodeDisk } from '../../../platform/disk.ts';
import { writeDurably } from '../../../platform/durable-file.ts';
import {
  chooseBoot,
  emulatedPaths,
  encodeBooted,
  FACTORY_BOOT_ENV,
  readBootEnv,
  writeBootEnv,
} from '../../../platform/emulated-boot-env.ts';
import { TestMaker } from '../../sim/release-fixture.ts';
import { authority } from './test-authority.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '../../../agent/main.ts');
const V1 = { boot: new Uint8Array(70_000).fill(1), rootfs: new Uint8Array(2_100_000).fill(1) };
const V2 = { boot: new Uint8Array(70_000).fill(2), rootfs: new Uint8Array(2_100_000).fill(2) };
let device: string;
let stick: string;
let maker: TestMaker;

beforeEach(async () => {
  device = await mkdtemp(join(tmpdir(), 'install-'));
  stick = join(device, 'stick');
  // The agent runs as a process and may find the machine's clock synchronised.
  maker = new TestMaker(Math.floor(Date.now() / 1000));
  await mkdir(join(device, 'factory'));
  for (const slot of ['a', 'b']) {
    await mkdir(join(device, 'board/slots', slot), { recursive: true });
    for (const [component, bytes] of Object.entries(V1))
      await writeFile(join(device, `board/slots/${slot}/${component}.img`), bytes);
  }
  await writeBootEnv(nodeDisk, device, FACTORY_BOOT_ENV);
  await writeFile(join(device, 'factory/root.json'), maker.factoryRoot);
  await writeFile(join(device, 'factory/server-ca.pem'), (await authority()).certificatePem);
  await writeFile(join(device, 'factory/agent.json'), JSON.stringify(config()));
  await boot(1);
});
afterEach(() => rm(device, { recursive: true }));

const config = () => ({
  format: 'holdfast-agent-1',
  vendor: 'acme.example',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  environment: 'rehearsal',
  board: { kind: 'emulated', directory: '..' },
  deviceId: 'cam-0001',
  dataDirectory: '../data',
  factoryRoot: 'root.json',
  factoryInstalled: { sequence: 1, version: '1.0.0' },
  claimFile: 'claim.json',
  // Nothing answers there: an installation from a stick needs no server.
  server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: 'server-ca.pem' },
});

/** The bootloader's part of a boot. */
async function boot(number: number): Promise<'a' | 'b'> {
  const env = (await readBootEnv(nodeDisk, device)) ?? FACTORY_BOOT_ENV;
  const choice = chooseBoot(env);
  if (choice.env !== env) await writeBootEnv(nodeDisk, device, choice.env);
  const facts = { bootId: `boot-${number}`, slot: choice.slot, trial: choice.trial };
  await writeDurably(nodeDisk, emulatedPaths(device).booted, encodeBooted(facts));
  await rm(emulatedPaths(device).rebootRequest, { force: true });
  return choice.slot;
}

async function makeStick(release: { sequence: number; version: string; hardwareClass?: string }): Promise<string> {
  const { releasePath } = maker.release({ ...release, images: V2 });
  await writeStick();
  return releasePath;
}

async function writeStick(carried = (_path: string) => true): Promise<void> {
  for (const [folder, files] of [
    ['metadata', maker.metadata],
    ['targets', maker.files],
  ] as const) {
    for (const [path, bytes] of files) {
      if (!carried(path)) continue;
      await mkdir(dirname(join(stick, folder, path)), { recursive: true });
      await writeFile(join(stick, folder, path), bytes);
    }
  }
}

function agent(...words: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const file = join(device, 'factory/agent.json');
    const args = [MAIN, ...words, '--config', file, '--json'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => (said.stdout += chunk));
    child.stderr.on('data', (chunk) => (said.stderr += chunk));
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, ...said }));
  });
}

const slotB = (component: string) => readFile(join(device, `board/slots/b/${component}.img`));
const journal = async () => {
  const found = await journalRecord(nodeDisk, join(device, 'data')).read();
  return found.found === 'whole' ? found.value : undefined;
};

describe('install DIR', () => {
  it('writes the newest release of the stick, arms its trial, and the agent of that slot confirms it without a server', async () => {
    await makeStick({ sequence: 2, version: '2.0.0' });
    await makeStick({ sequence: 3, version: '3.0.0' });
    // Listed, and not on the stick: the newest that can be installed is meant.
    maker.release({ sequence: 4, version: '4.0.0', images: V2 });
    await writeStick((path) => !path.includes('/4/'));
    const ended = await agent('install', stick);
    expect(JSON.parse(ended.stdout)).toEqual({ ok: true, version: '3.0.0', sequence: 3, end: 'reboot', slot: 'b' });
    expect(ended.status).toBe(0);
    expect((await slotB('rootfs')).equals(V2.rootfs)).toBe(true);
    expect(await journal()).toMatchObject({ state: 'armed', serverBefore: false });
    expect(await boot(2)).toBe('b');
    // Enrolled or not, server or not: the trial is judged by its own checks.
    await agent('run', '--once');
    expect(await readBootEnv(nodeDisk, device)).toEqual({ order: ['b', 'a'], trial: null });
    expect(await journal()).toMatchObject({ state: 'idle', action: null });
  });

  it('takes the release that it is told to, and refuses what is not newer than what runs', async () => {
    const second = await makeStick({ sequence: 2, version: '2.0.0' });
    await makeStick({ sequence: 3, version: '3.0.0' });
    expect(JSON.parse((await agent('install', stick, '--release', second)).stdout)).toMatchObject({ sequence: 2 });
    await boot(2);
    await agent('run', '--once');
    expect(JSON.parse((await agent('install', stick, '--release', second)).stdout)).toMatchObject({
      ok: true,
      end: 'runs-already',
    });
    await makeStick({ sequence: 1, version: '1.0.0-again' });
    const old = await agent('install', stick, '--release', 'releases/acme-cam/stable/1/release.suit');
    expect([old.status, JSON.parse(old.stdout)]).toMatchObject([4, { end: 'refused', code: 'sequence-not-newer' }]);
  });

  it('refuses a flipped bit on the stick, and nothing of it can boot', async () => {
    await makeStick({ sequence: 2, version: '2.0.0' });
    const image = [...maker.files.keys()].find((path) => path.endsWith('rootfs.img')) ?? '';
    const bytes = Buffer.from(await readFile(join(stick, 'targets', image)));
    bytes[2_000_000] = 7;
    await writeFile(join(stick, 'targets', image), bytes);
    const ended = await agent('install', stick);
    expect([ended.status, JSON.parse(ended.stdout)]).toMatchObject([
      4,
      { ok: false, end: 'refused', code: 'block-digest-mismatch' },
    ]);
    expect(await readBootEnv(nodeDisk, device)).toEqual({ order: ['a'], trial: null });
  });

  it('says what is wrong: an empty stick, a file that is gone, another agent at work, nothing for this class', async () => {
    await mkdir(stick);
    expect(JSON.parse((await agent('install', stick)).stdout)).toMatchObject({ code: 'stick-empty' });
    await makeStick({ sequence: 2, version: '2.0.0', hardwareClass: 'acme-hub' });
    const strange = await agent('install', stick);
    expect([strange.status, JSON.parse(strange.stdout)]).toMatchObject([4, { code: 'target-unknown' }]);
    await makeStick({ sequence: 3, version: '3.0.0' });
    const held = await holdDataDirectory(join(device, 'data'));
    const running = await agent('install', stick);
    held.close();
    expect([running.status, JSON.parse(running.stdout)]).toMatchObject([5, { code: 'agent-running' }]);
    const image = [...maker.files.keys()].find((path) => path.includes('/3/') && path.endsWith('rootfs.img')) ?? '';
    await rm(join(stick, 'targets', image));
    const gone = await agent('install', stick);
    expect([gone.status, JSON.parse(gone.stdout)]).toMatchObject([5, { code: 'stick-unreadable' }]);
    await writeStick();
    expect(JSON.parse((await agent('install', stick)).stdout)).toMatchObject({ ok: true, end: 'reboot' });
  });

  it('ends by itself when the device starts again without the stick', async () => {
    await makeStick({ sequence: 3, version: '3.0.0' });
    const image = [...maker.files.keys()].find((path) => path.endsWith('rootfs.img')) ?? '';
    await rm(join(stick, 'targets', image));
    await agent('install', stick);
    expect(await journal()).toMatchObject({ state: 'downloading' });
    await boot(2);
    await agent('run', '--once');
    expect(await journal()).toMatchObject({ state: 'idle', action: null, settled: { final: true } });
  });
});
