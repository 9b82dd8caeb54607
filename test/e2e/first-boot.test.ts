/**
 * A device from its factory to its owner: the real boot loop, first boot and agent as plain processes, the real server
 * and command line. Each boot mounts the factory's slot anew, with the factory's secrets in it.
 */
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PROVISIONS } from '../../cli/evidence/provisions.ts';
import { EmulatedDevice, type EmulatedUserspace } from '../../emulator/boot-loop.ts';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import type { Command } from '../../emulator/start-program.ts';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { decodeCommandLine } from '../../update-server/config.ts';
import { type RunningServer, startServer } from '../../update-server/server.ts';
import { documentOf, type Run, runHoldfast } from '../unit/cli/run-holdfast.ts';

const PROJECT = join(import.meta.dirname, '../..');
const PATIENCE_MS = 120_000;
const FACTORY_PASSWORD = 'xc3511';
const PASSPHRASE = 'correct horse battery staple of the owner';

let home: string;
let server: RunningServer;
let device: EmulatedDevice;
let powered: Promise<void>;
let factoryHostKey: string;
const holdfast = (...args: string[]): Promise<Run> => runHoldfast(args, { home });
const answerOf = async (...args: string[]) => documentOf(await holdfast(...args, '--json'));
const onDevice = (path: string): string => join(home, 'cam-0001', path);
const inEffect = (path: string): Promise<string> => readFile(onDevice(`run/rootfs/${path}`), 'utf8');
const until = (holds: () => Promise<void>) => vi.waitFor(holds, { timeout: PATIENCE_MS, interval: 500 });

const agentProgram = (file: string, ...words: string[]): Command => [
  process.execPath,
  join(PROJECT, 'agent', file),
  ...words,
];

/** One slot, as a careless factory fills it: a well-known password, a host key and a machine-id that all devices share. */
function userspace(shadow: string): EmulatedUserspace {
  return {
    async mount(_slot, root) {
      await mkdir(join(root, 'etc/ssh'), { recursive: true });
      await mkdir(join(root, 'root/.ssh'), { recursive: true });
      const files = {
        'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n',
        'etc/shadow': shadow,
        'etc/machine-id': `${'ab'.repeat(16)}\n`,
        'etc/ssh/ssh_host_ed25519_key': factoryHostKey,
        'root/.ssh/authorized_keys': `ssh-ed25519 ${'A'.repeat(67)}= factory\n`,
      };
      for (const [path, text] of Object.entries(files)) await writeFile(join(root, path), text, { mode: 0o600 });
      return { ok: true, version: '1.0.0' };
    },
    firstBoot: (_root, config) => agentProgram('first-boot-main.ts', 'firstboot', '--boot', '--config', config),
    programs: (_root, config) => ({ agent: agentProgram('main.ts', 'run', '--config', config) }),
  };
}

function programOutput(file: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync(file, args, { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file}: ${stderr}`);
  return stdout;
}

const cryptOf = (password: string, salt: string): string =>
  programOutput('openssl', ['passwd', '-6', '-salt', salt, '-stdin'], `${password}\n`).trim();

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'holdfast-first-boot-'));
  const ports = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];
  const words = ['run', '--lab', '--data', join(home, 'server'), ...ports];
  const config = decodeCommandLine(words, '0.0.0');
  if (config === undefined) throw new Error('no configuration');
  server = await startServer(config, { log: pino({ level: 'silent' }), version: '0.0.0' });
  await writeFile(join(home, 'token'), `${server.oneTimeToken ?? ''}\n`, { mode: 0o600 });
  await writeFile(join(home, 'passphrase'), `${PASSPHRASE}\n`, { mode: 0o600 });
  const login = await holdfast('login', '--server-data', join(home, 'server'), '--token-file', join(home, 'token'));
  if (login.status !== 0) throw new Error(login.stderr);
  programOutput('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'factory-host-key')]);
  factoryHostKey = await readFile(join(home, 'factory-host-key'), 'utf8');
  await buildDevice();
}, PATIENCE_MS);

async function buildDevice(): Promise<void> {
  for (const owner of ['ann', 'bob']) {
    const made = await holdfast('escrow', 'key', 'new', owner, '--passphrase-file', join(home, 'passphrase'));
    if (made.status !== 0) throw new Error(made.stderr);
  }
  await holdfast('devices', 'claims', '--class', 'acme-cam', '--prefix', 'cam-', '--count', '1', '--file', 'batch');
  await holdfast('devices', 'extract-claim', 'batch', 'cam-0001', '--out', 'claim');
  await writeFile(join(home, 'image'), 'no image is read here');
  const keys = await readOwnerPublicKeys(['ann', 'bob'].map((name) => join(home, `${name}.escrow-key.pub`)));
  const owners = keys.map((key) => Buffer.from(key).toString('hex'));
  await makeDevice({
    directory: join(home, 'cam-0001'),
    images: { rootfs: join(home, 'image') },
    installed: { sequence: 1, version: '1.0.0' },
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'lab',
    rootFile: join(home, 'server/metadata/1.root.json'),
    claim: await readFile(join(home, 'claim'), 'utf8'),
    server: { url: server.endpoints.deviceUrl, mqttUrl: null, anchorsFile: server.endpoints.serverCa },
    timing: { ...DEMO_TIMING, pollIntervalMs: 500 },
    health: 'none',
    firstBoot: { providers: { unixPasswords: { breakGlass: 'root' } }, owners },
  });
  device = new EmulatedDevice(
    join(home, 'cam-0001'),
    userspace(`root:${cryptOf(FACTORY_PASSWORD, 'factory')}:19000:0:99999:7:::\npi::19000:0:99999:7:::\n`),
  );
}

afterAll(async () => {
  await device?.powerOff();
  await powered;
  await server?.close();
  await rm(home, { recursive: true, force: true });
});

/** The blob as an owner gets it, opened with an owner's key: what the device made, by name. */
async function openedByOwner(name: string, request: string): Promise<Record<string, string>> {
  const sealed = `${name}-${request}.sealed`;
  await holdfast('escrow', 'request', 'cam-0001', '--reason', 'locked out');
  await holdfast('escrow', 'approve', request);
  const fetched = await holdfast('escrow', 'fetch', 'cam-0001', '--out', sealed);
  if (fetched.status !== 0) throw new Error(fetched.stderr);
  const key = ['--key', `${name}.escrow-key`, '--passphrase-file', 'passphrase'];
  const proof = ['--device', 'cam-0001', '--device-key', onDevice('data/identity/device.crt')];
  const opened = await holdfast('escrow', 'open', sealed, ...key, ...proof, '--out', `${sealed}.json`);
  if (opened.status !== 0) throw new Error(opened.stderr);
  const { secrets } = JSON.parse(await readFile(join(home, `${sealed}.json`), 'utf8'));
  return Object.fromEntries(secrets.map(({ name: one, text }: { name: string; text: string }) => [one, text]));
}

/** Every file below a folder that holds the text, whatever else is in it. */
function filesWith(text: string, folder: string): string[] {
  const { stdout } = spawnSync('grep', ['-rlaF', '-f', '-', folder], {
    cwd: home,
    input: `${text}\n`,
    encoding: 'utf8',
  });
  return stdout.split('\n').filter((line) => line !== '');
}

const rootHash = async (): Promise<string> => /^root:([^:]*):/m.exec(await inEffect('etc/shadow'))?.[1] ?? '';
const hashes = (password: string, hash: string): boolean => cryptOf(password, hash.split('$')[2] ?? '') === hash;

describe('a device that leaves its factory', { timeout: 3 * PATIENCE_MS }, () => {
  let first: { password: string; hash: string };

  it('replaces every secret of the factory, enrols, and proves it to the server', async () => {
    powered = device.powerOn();
    await until(async () => {
      expect(await answerOf('credentials', 'status')).toMatchObject({ standings: { proven: 1, factory: 0 } });
    });
    expect((await answerOf('devices', '--factory')).devices).toEqual([]);
    expect(hashes(FACTORY_PASSWORD, await rootHash())).toBe(false);
    expect(await inEffect('etc/shadow')).toMatch(/^pi:\*:/m);
    expect(await inEffect('etc/ssh/ssh_host_ed25519_key')).not.toBe(factoryHostKey);
    expect(await inEffect('etc/machine-id')).not.toContain('ab'.repeat(16));
    expect(await inEffect('root/.ssh/authorized_keys')).not.toContain('factory');
  });

  it('gives its owner the password that it made, through a server that cannot read it', async () => {
    // Before it is opened: what was opened is replaced at once.
    const hash = await rootHash();
    const secrets = await openedByOwner('ann', 'e1');
    first = { password: secrets['password:root'] ?? '', hash };
    expect(hashes(first.password, hash)).toBe(true);
    expect(filesWith(first.password, 'server')).toEqual([]);
  });

  it('makes new ones after that, over a slot that still brings the factory’s, and the other owner can open them', async () => {
    await until(async () => {
      expect(await answerOf('credentials', 'status', 'k1')).toMatchObject({ rotation: { state: 'complete' } });
    });
    expect(await rootHash()).not.toBe(first.hash);
    expect(hashes(first.password, await rootHash())).toBe(false);
    const secrets = await openedByOwner('bob', 'e2');
    expect(secrets['password:root']).not.toBe(first.password);
  });

  it('is evidence for every provision, and says that it is no verdict', async () => {
    const rows = PROVISIONS.map(({ clause }) => ({ clause, devices: 1, holdFor: 1, notFor: [] }));
    // What was opened just now is being replaced: until the new escrow is there, a row does not hold.
    await until(async () => {
      const { provisions, meaning } = await answerOf('evidence', 'credentials');
      expect(meaning).toContain('never a verdict');
      expect(provisions).toMatchObject(rows);
    });
  });

  it('leaves no secret in plaintext but in the files of those who need it', async () => {
    const secrets = await openedByOwner('ann', 'e3');
    const password = secrets['password:root'] ?? '';
    expect(password.length).toBeGreaterThan(20);
    expect(filesWith(password, 'cam-0001')).toEqual([]);
    // The search finds what is there: the host key, in the device's own copy and where sshd reads it, and nowhere else
    // once the rotation that the opening brought is over.
    await until(async () => {
      const [, line = ''] = (await inEffect('etc/ssh/ssh_host_ed25519_key')).split('\n');
      expect(filesWith(line, 'cam-0001').sort()).toEqual([
        'cam-0001/data/own/etc/ssh/ssh_host_ed25519_key',
        'cam-0001/run/rootfs/etc/ssh/ssh_host_ed25519_key',
      ]);
    });
    expect(filesWith(password, 'cam-0001')).toEqual([]);
  });
});
