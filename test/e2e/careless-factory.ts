/**
 * A factory that fills every slot with the same secrets, the owner's real server and command line, and its devices as plain
 * processes with their real first boot. A device's board is a file beside its disk: its SoC's serial number.
 */
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { EmulatedDevice, type EmulatedUserspace } from '../../emulator/boot-loop.ts';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import type { Command } from '../../emulator/start-program.ts';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { decodeCommandLine } from '../../update-server/config.ts';
import { type RunningServer, startServer } from '../../update-server/server.ts';
import { documentOf, type Run, runHoldfast } from '../unit/cli/run-holdfast.ts';

const PROJECT = join(import.meta.dirname, '../..');
export const FACTORY_PASSWORD = 'xc3511';
export const FACTORY_MACHINE_ID = 'ab'.repeat(16);
const PASSPHRASE = 'correct horse battery staple of the owner';
const HARDWARE_CLASS = 'acme-cam';
const OWNERS = ['ann', 'bob'] as const;
/** Where emulator/factory.ts has it. */
const SERIAL = 'board/serial-number';

const PROVIDERS = {
  unixPasswords: { breakGlass: 'root' },
  templates: [
    {
      ...{ name: 'broker', kind: 'mqtt-password', escrow: true },
      files: [{ template: '/usr/share/acme/client.conf.in', path: '/etc/acme/client.conf' }],
    },
  ],
};

export type Answer = ReturnType<typeof documentOf>;

export class CarelessFactory {
  readonly home: string;
  /** The private host key that all its devices have. */
  readonly hostKey: string;
  readonly #server: RunningServer;
  readonly #shadow: string;
  readonly #running = new Map<string, { readonly device: EmulatedDevice; readonly ends: Promise<void> }>();

  private constructor(home: string, server: RunningServer, hostKey: string) {
    this.home = home;
    this.#server = server;
    this.hostKey = hostKey;
    this.#shadow = `root:${cryptOf(FACTORY_PASSWORD, 'factory')}:19000:0:99999:7:::\npi::19000:0:99999:7:::\n`;
  }

  /** A server, and an operator who is logged in. */
  static async open(): Promise<CarelessFactory> {
    const home = await mkdtemp(join(tmpdir(), 'holdfast-first-boot-'));
    const ports = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];
    const words = ['run', '--lab', '--data', join(home, 'server'), ...ports];
    const config = decodeCommandLine(words, '0.0.0');
    if (config === undefined) throw new Error('no configuration');
    const log = pino({ level: 'debug' }, pino.destination({ dest: join(home, 'server.log'), sync: true }));
    const server = await startServer(config, { log, version: '0.0.0' });
    await writeFile(join(home, 'token'), `${server.oneTimeToken ?? ''}\n`, { mode: 0o600 });
    await writeFile(join(home, 'passphrase'), `${PASSPHRASE}\n`, { mode: 0o600 });
    await writeFile(join(home, 'image'), 'no image is read here');
    programOutput('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'factory-host-key')]);
    const factory = new CarelessFactory(home, server, await readFile(join(home, 'factory-host-key'), 'utf8'));
    await factory.#must('login', '--server-data', join(home, 'server'), '--token-file', join(home, 'token'));
    for (const owner of OWNERS)
      await factory.#must('escrow', 'key', 'new', owner, '--passphrase-file', join(home, 'passphrase'));
    return factory;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.switchOff(name)));
    await this.#server.close();
    await rm(this.home, { recursive: true, force: true });
  }

  holdfast(...args: string[]): Promise<Run> {
    return runHoldfast(args, { home: this.home });
  }

  async answerOf(...args: string[]): Promise<Answer> {
    return documentOf(await this.holdfast(...args, '--json'));
  }

  async #must(...args: string[]): Promise<void> {
    const { status, stderr } = await this.holdfast(...args);
    if (status !== 0) throw new Error(stderr);
  }

  /** Of a board's folder. */
  on(board: string, path = ''): string {
    return join(this.home, board, path);
  }

  /** A file as the programs of the running device see it. */
  inEffect(board: string, path: string): Promise<string> {
    return readFile(this.on(board, `run/rootfs/${path}`), 'utf8');
  }

  /** Makes the claim, the first time that it is asked for. */
  async claim(deviceId: string): Promise<string> {
    const path = this.on('claims', `${deviceId}.claim.json`);
    const made = await readFile(path, 'utf8').catch(() => undefined);
    if (made !== undefined) return made;
    await this.#must('devices', 'claims', '--class', HARDWARE_CLASS, '--ids', deviceId, '--file', `batch-${deviceId}`);
    await mkdir(this.on('claims'), { recursive: true, mode: 0o700 });
    await this.#must('devices', 'extract-claim', `batch-${deviceId}`, deviceId, '--out', path);
    await rm(join(this.home, `batch-${deviceId}`));
    return readFile(path, 'utf8');
  }

  /** A card as the factory writes it, in a board with this serial number. */
  async build(board: string, deviceId: string, serial: string): Promise<void> {
    const keys = await readOwnerPublicKeys(OWNERS.map((name) => join(this.home, `${name}.escrow-key.pub`)));
    const owners = keys.map((key) => Buffer.from(key).toString('hex'));
    await makeDevice({
      directory: this.on(board),
      images: { rootfs: join(this.home, 'image') },
      installed: { sequence: 1, version: '1.0.0' },
      vendor: 'acme.example',
      hardwareClass: HARDWARE_CLASS,
      channel: 'stable',
      environment: 'lab',
      rootFile: join(this.home, 'server/metadata/1.root.json'),
      claim: await this.claim(deviceId),
      server: {
        url: this.#server.endpoints.deviceUrl,
        mqttUrl: null,
        anchorsFile: this.#server.endpoints.serverCa,
      },
      timing: { ...DEMO_TIMING, pollIntervalMs: 500 },
      health: 'none',
      firstBoot: { providers: PROVIDERS, owners },
    });
    await this.#solder(board, serial);
  }

  /** All that is on a board's card, in another board; null: one that says nothing of itself. Both are off. */
  async copy(from: string, to: string, serial: string | null): Promise<void> {
    await cp(this.on(from), this.on(to), { recursive: true, preserveTimestamps: true });
    // Memory and console are not on the card.
    for (const name of ['run', SERIAL]) await rm(this.on(to, name), { recursive: true, force: true });
    if (serial !== null) await this.#solder(to, serial);
  }

  async #solder(board: string, serial: string): Promise<void> {
    await writeFile(this.on(board, SERIAL), `${serial}\0`);
  }

  switchOn(board: string): void {
    const device = new EmulatedDevice(this.on(board), userspace(this.#shadow, this.hostKey));
    this.#running.set(board, { device, ends: device.powerOn() });
  }

  async switchOff(board: string): Promise<void> {
    const running = this.#running.get(board);
    this.#running.delete(board);
    await running?.device.powerOff();
    await running?.ends;
  }

  /**
   * The newest blob as an owner gets it through the server, opened with that owner's key and proven by the certificate of
   * this board: what the device made, by name. What was opened is replaced at once.
   */
  async openedByOwner(
    owner: (typeof OWNERS)[number],
    request: string,
    { deviceId, board }: { readonly deviceId: string; readonly board: string },
  ): Promise<Readonly<Record<string, string>>> {
    const sealed = `${owner}-${request}.sealed`;
    await this.holdfast('escrow', 'request', deviceId, '--reason', 'locked out');
    await this.holdfast('escrow', 'approve', request);
    await this.#must('escrow', 'fetch', deviceId, '--out', sealed);
    const key = ['--key', `${owner}.escrow-key`, '--passphrase-file', 'passphrase'];
    const proof = ['--device', deviceId, '--device-key', this.on(board, 'data/identity/device.crt')];
    await this.#must('escrow', 'open', sealed, ...key, ...proof, '--out', `${sealed}.json`);
    const { secrets } = JSON.parse(await readFile(join(this.home, `${sealed}.json`), 'utf8'));
    // The owner has read it.
    await rm(join(this.home, `${sealed}.json`));
    return Object.fromEntries(secrets.map(({ name, text }: { name: string; text: string }) => [name, text]));
  }
}

/** One slot: a well-known password, a host key and a machine-id that all devices share. */
function userspace(shadow: string, hostKey: string): EmulatedUserspace {
  return {
    async mount(_slot, root) {
      const files = {
        'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n',
        'etc/group': 'root:x:0:\npi:x:1000:\n',
        'etc/shadow': shadow,
        'etc/machine-id': `${FACTORY_MACHINE_ID}\n`,
        'etc/ssh/ssh_host_ed25519_key': hostKey,
        'root/.ssh/authorized_keys': `ssh-ed25519 ${'A'.repeat(67)}= factory\n`,
        'usr/share/acme/client.conf.in': 'host broker.example\npassword {{password}}\n',
        'etc/acme/client.conf': 'password mqtt\n',
      };
      for (const [path, text] of Object.entries(files)) {
        await mkdir(join(root, path, '..'), { recursive: true });
        await writeFile(join(root, path), text, { mode: 0o600 });
      }
      return { ok: true, version: '1.0.0' };
    },
    ...AGENT_PROGRAMS,
  };
}

/** First boot and agent as they stand in the sources: what is mounted brings files alone. */
export const AGENT_PROGRAMS: Pick<EmulatedUserspace, 'firstBoot' | 'programs'> = {
  firstBoot: (_root, config) => agentProgram('first-boot-main.ts', 'firstboot', '--boot', '--config', config),
  programs: (_root, config) => ({ agent: agentProgram('main.ts', 'run', '--config', config) }),
};

function agentProgram(file: string, ...words: string[]): Command {
  return [process.execPath, join(PROJECT, 'agent', file), ...words];
}

function programOutput(file: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync(file, args, { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file}: ${stderr}`);
  return stdout;
}

function cryptOf(password: string, salt: string): string {
  return programOutput('openssl', ['passwd', '-6', '-salt', salt, '-stdin'], `${password}\n`).trim();
}

/** Is it the hash, as it stands in shadow, of this password? */
export function hashes(password: string, hash: string): boolean {
  return cryptOf(password, hash.split('$')[2] ?? '') === hash;
}

/** What stands for root in a shadow file. */
export function rootHashIn(shadow: string): string {
  return /^root:([^:]*):/m.exec(shadow)?.[1] ?? '';
}
