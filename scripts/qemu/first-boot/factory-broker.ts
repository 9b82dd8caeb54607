/**
 * The MQTT broker of a careless factory: Debian's mosquitto, which listens to everybody, with one password for all devices
 * in its file and in that of its client. The first boot has a template for each of the two (docs/FIRST_BOOT.md).
 */
import { chmod, mkdir, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { foreignPackages } from '../../device-image/prepare.ts';
import { IMAGE_TOOL_ENV } from '../../images/ext4-image.ts';
import { needProgram } from '../../programs.ts';
import type { ImageVariant, World } from '../world.ts';

/** On the list that everybody tries. */
export const BROKER_PAIR = { user: 'admin', password: 'admin' } as const;
export const BROKER_PORT = 1883;
/** Beside what the device has anyway. */
const PACKAGES = ['mosquitto', 'mosquitto-clients', 'libmosquitto1', 'libcjson1', 'libdlt2'];
const PARTS = /^(usr\/(bin|sbin|lib)|lib)\//;
const ACCOUNT = ['mosquitto:x:917:917::/var/lib/mosquitto:/usr/sbin/nologin', 'mosquitto:x:917:'] as const;
const UNIT = 'mosquitto.service';
const GATES = 'usr/lib/holdfast/first-boot/holdfast-gates';
const PLACES = { passwords: 'etc/mosquitto/passwords', client: 'etc/acme/client/mosquitto_pub' } as const;

/** `firstBoot.providers.templates` of agent.json. */
export const BROKER_TEMPLATES = [
  {
    name: 'broker',
    kind: 'mqtt-password',
    escrow: true,
    files: [
      {
        template: '/usr/share/acme/mosquitto-passwords.in',
        path: `/${PLACES.passwords}`,
        owner: 'mosquitto',
        group: 'mosquitto',
      },
      { template: '/usr/share/acme/mosquitto-client.in', path: `/${PLACES.client}` },
    ],
  },
] as const;

/** Fetches the packages, once for all runs. */
export async function fetchBroker(say: (line: string) => void): Promise<readonly string[]> {
  return (await foreignPackages(say).fetch(PACKAGES)).map(({ path }) => path);
}

/** `folder` is the world's for factory secrets; `gated`: bound to the second gate, as a maker names a unit to it. */
export async function brokerParts(world: World, folder: string, gated: boolean): Promise<ImageVariant> {
  const [passwords, client] = [join(folder, 'mosquitto-passwords'), join(folder, 'mosquitto-client')];
  const { user, password } = BROKER_PAIR;
  await writeFile(passwords, `${user}:${password}\n`);
  await needProgram('mosquitto_passwd', ['-U', passwords], { env: IMAGE_TOOL_ENV });
  await chmod(passwords, 0o644);
  await writeFile(client, `-u ${user}\n-P ${password}\n`);
  const files = await packageFiles(join(folder, 'broker'));
  Object.assign(files, { [PLACES.passwords]: passwords, [PLACES.client]: client });
  for (const [at, name] of ['passwd', 'group'].entries()) {
    const text = await readFile(join(world.tree, 'etc', name), 'utf8');
    files[`etc/${name}`] = join(folder, name);
    await writeFile(join(folder, name), `${text}${ACCOUNT[at]}\n`, { mode: 0o644 });
  }
  if (gated) Object.assign(files, await gateOf(world, join(folder, 'gates')));
  return { files, without: ['etc/passwd', 'etc/group'] };
}

/** Of links the image gets what they lead to. */
async function packageFiles(tree: string): Promise<Record<string, string>> {
  await rm(tree, { recursive: true, force: true });
  for (const deb of await fetchBroker(() => undefined)) await needProgram('dpkg-deb', ['--extract', deb, tree]);
  const files: Record<string, string> = {};
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(tree.length + 1);
    if (entry.isDirectory() || !PARTS.test(name)) continue;
    files[name.replace(/^lib\//, 'usr/lib/')] = await realpath(path);
  }
  return files;
}

async function gateOf(world: World, root: string): Promise<Record<string, string>> {
  await mkdir(root, { recursive: true });
  await needProgram('sh', [join(world.tree, GATES), 'enable', '--root', root, UNIT], { env: IMAGE_TOOL_ENV });
  const path = `etc/systemd/system/${UNIT}.d/10-holdfast-gate.conf`;
  return { [path]: join(root, path) };
}
