/**
 * The image that a careless factory ships: a password of the classic list, host keys and authorized_keys that every device
 * has, a machine-id, an open sshd, a broker, logins on serial lines, a panel. With the gates of the first boot, or without:
 * the lab's twin.
 */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OWN_FILES } from '../../device-image/debian-userspace.ts';
import { filesIn } from '../../device-image/files-in.ts';
import { needProgram } from '../../programs.ts';
import type { ImageVariant, World } from '../world.ts';
import { BROKER_TEMPLATES, brokerParts } from './factory-broker.ts';

const FACTORY = join(import.meta.dirname, '../../device-image/debian/factory');
/** First of every list that scanners carry. */
export const FACTORY_PASSWORD = 'root';
/** Asks for a factory reset by being there. */
export const RESET_REQUEST = '/boot/common/factory-reset';
const FACTORY_MACHINE_ID = 'f0'.repeat(16);
const HOST_KEYS = ['ed25519', 'rsa', 'ecdsa'] as const;
const DROP_IN = '10-holdfast-gate.conf';

/** The first boot's: a maker's provider that works, or one that always fails; `none`: an image without Holdfast's gates. */
export type FirstBootProgram = 'agent' | 'provider-fails' | 'none';

/** The private key that the factory's support logs in with, everywhere. */
export function supportKey(world: World): string {
  return world.path('factory-secrets', 'support');
}

/** `type base64`: what every device of this factory would show. */
export async function factoryHostKeys(world: World): Promise<readonly string[]> {
  const files = HOST_KEYS.map((kind) => world.path('factory-secrets', `ssh_host_${kind}_key.pub`));
  const lines = await Promise.all(files.map((path) => readFile(path, 'utf8')));
  return lines.map((line) => line.split(' ').slice(0, 2).join(' '));
}

const made = new WeakMap<World, Map<FirstBootProgram, Promise<string>>>();

/** The root file system of it, made once in a run: every device of a factory has the same; answers its path. */
export function makeFactoryImage(world: World, program: FirstBootProgram): Promise<string> {
  const ofWorld = made.get(world) ?? new Map<FirstBootProgram, Promise<string>>();
  made.set(world, ofWorld);
  const image = ofWorld.get(program) ?? buildImage(world, program);
  ofWorld.set(program, image);
  return image;
}

/** agent.json, with the broker's templates, and a factory reset for whoever reaches the boot partition. */
async function settings(world: World, folder: string): Promise<Record<string, string>> {
  const config = JSON.parse(await readFile(world.path('factory/agent.json'), 'utf8'));
  const { firstBoot } = config;
  const providers = { ...firstBoot.providers, templates: BROKER_TEMPLATES };
  const text = JSON.stringify({ ...config, firstBoot: { ...firstBoot, providers, resetRequest: RESET_REQUEST } });
  return { 'etc/holdfast/agent.json': await put(join(folder, 'agent.json'), text, 0o644) };
}

async function buildImage(world: World, program: FirstBootProgram): Promise<string> {
  return world.makeVariant(`factory-${program}`, await factoryVariant(world, program));
}

/** What each of this maker's images has beside what others have: the factory's, and releases that are published later. */
export async function factoryVariant(world: World, program: FirstBootProgram): Promise<ImageVariant> {
  const secrets = world.path('factory-secrets');
  const own = await factorySecrets(world, secrets);
  const broker = await brokerParts(world, secrets, program !== 'none');
  const files = { ...own.files, ...broker.files, ...(await settings(world, secrets)) };
  const gates = program === 'none' ? await gatesOf(world.tree) : [];
  const fault = program === 'provider-fails' ? program : '';
  return { files, without: [...own.without, ...broker.without, ...gates], fault };
}

async function factorySecrets(world: World, folder: string): Promise<ImageVariant> {
  const files: Record<string, string> = {};
  for (const path of await filesIn(FACTORY)) files[path.slice(FACTORY.length + 1)] = path;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const kind of HOST_KEYS) {
    const path = await keyPair(join(folder, `ssh_host_${kind}_key`), kind);
    files[`etc/ssh/ssh_host_${kind}_key`] = path;
    files[`etc/ssh/ssh_host_${kind}_key.pub`] = `${path}.pub`;
  }
  files['root/.ssh/authorized_keys'] = `${await keyPair(join(folder, 'support'), 'ed25519')}.pub`;
  const hash = await needProgram('openssl', ['passwd', '-6', '-stdin'], { input: `${FACTORY_PASSWORD}\n` });
  const shadow = await readFile(join(world.tree, 'etc/shadow'), 'utf8');
  const own = shadow.replace(/^root:[^:]*/m, () => `root:${hash.stdout.trim()}`);
  files['etc/shadow'] = await put(join(folder, 'shadow'), own, 0o600);
  files['etc/machine-id'] = await put(join(folder, 'machine-id'), `${FACTORY_MACHINE_ID}\n`, 0o644);
  return { files, without: ['etc/shadow', 'etc/machine-id', ...OWN_FILES.map(([path]) => path)] };
}

/** The same in every image of a run, as of a factory. */
async function keyPair(path: string, kind: string): Promise<string> {
  const there = await readFile(path).catch(() => undefined);
  if (there === undefined) {
    await needProgram('ssh-keygen', ['-q', '-t', kind, '-N', '', '-C', 'factory', '-f', path]);
  }
  return path;
}

async function gatesOf(tree: string): Promise<string[]> {
  const files = await filesIn(join(tree, 'etc/systemd/system'));
  return files.filter((path) => path.endsWith(`/${DROP_IN}`)).map((path) => path.slice(tree.length + 1));
}

async function put(path: string, text: string, mode: number): Promise<string> {
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}
