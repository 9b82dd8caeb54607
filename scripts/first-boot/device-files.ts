/**
 * What is laid into a Debian root to make a device of it: the gates, exactly as the package has them; three network managers
 * with a card each; logins of every kind; a listener that nobody named to the gates; and stand-ins for the agent.
 */
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FIRST_BOOT_FOLDER, firstBootFiles } from '../package/first-boot-files.ts';
import { needProgram } from '../programs.ts';
import { IPV4_BITS, IPV6_BITS, LINKS, type Link } from './links.ts';

const PROJECT = join(import.meta.dirname, '../..');
export const SSHD_PORT = 22;
export const SSH_SOCKET_PORT = 2222;
export const LISTENER_PORT = 8080;

/** How the stand-in for `holdfast-agent firstboot` ends. */
export type FirstBootEnd = '0' | '1' | '4' | 'hang';

/** In an overlay: another root is never written through it. */
export async function lay(root: string, path: string, text: string, mode = 0o644): Promise<void> {
  const target = join(root, path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, text);
  await chmod(target, mode);
}

export function dropIn(root: string, unit: string, text: string): Promise<void> {
  return lay(root, `etc/systemd/system/${unit}.d/50-fault.conf`, text);
}

/** systemd's own way of saying that a unit must not start. */
export async function mask(root: string, unit: string): Promise<void> {
  await symlink('/dev/null', join(root, 'etc/systemd/system', unit));
}

export function setFirstBootEnd(root: string, end: FirstBootEnd): Promise<void> {
  return lay(root, 'stand-in/status', `${end}\n`);
}

/** `gates`: false for the same device without Holdfast. */
export async function makeDevice(root: string, end: FirstBootEnd, gates: boolean): Promise<void> {
  await layNetworks(root);
  await layLogins(root);
  await layStandIns(root, end);
  if (!gates) return;
  for (const { path, mode, content } of await firstBootFiles(PROJECT, 'holdfast-agent')) {
    if ('bytes' in content) await lay(root, path, String(content.bytes), mode);
  }
  await needProgram('sh', [join(root, FIRST_BOOT_FOLDER, 'holdfast-gates'), 'enable', '--root', root]);
}

async function layNetworks(root: string): Promise<void> {
  const [networkd, ifupdown, manager] = LINKS as readonly [Link, Link, Link];
  const address = ({ deviceIpv4, deviceIpv6 }: Link): [string, string] => [
    `${deviceIpv4}/${IPV4_BITS}`,
    `${deviceIpv6}/${IPV6_BITS}`,
  ];
  const [v4, v6] = address(networkd);
  await lay(
    root,
    'etc/systemd/network/10-wired.network',
    `[Match]\nName=${networkd.card}\n[Network]\nAddress=${v4}\nAddress=${v6}\nIPv6AcceptRA=no\n`,
  );
  const interfaces = ['auto lo', 'iface lo inet loopback', `auto ${ifupdown.card}`];
  for (const [family, text] of [
    ['inet', address(ifupdown)[0]],
    ['inet6', address(ifupdown)[1]],
  ]) {
    interfaces.push(`iface ${ifupdown.card} ${family} static`, `  address ${text}`);
  }
  await lay(root, 'etc/network/interfaces', `${interfaces.join('\n')}\n`);
  const others = `interface-name:${networkd.card};interface-name:${ifupdown.card}`;
  await lay(root, 'etc/NetworkManager/conf.d/cards.conf', `[keyfile]\nunmanaged-devices=${others}\n`);
  const [m4, m6] = address(manager);
  const ways = `[ipv4]\nmethod=manual\naddress1=${m4}\n[ipv6]\nmethod=manual\naddress1=${m6}\n`;
  await lay(
    root,
    'etc/NetworkManager/system-connections/wired.nmconnection',
    `[connection]\nid=wired\ntype=ethernet\ninterface-name=${manager.card}\n${ways}`,
    0o600,
  );
}

async function layLogins(root: string): Promise<void> {
  // Debian's own conflicts with ssh.service: here both are tried at once, each on a port of its own.
  await lay(
    root,
    'etc/systemd/system/ssh.socket',
    `[Socket]\nListenStream=${SSH_SOCKET_PORT}\nAccept=yes\n[Install]\nWantedBy=sockets.target\n`,
  );
  await lay(root, 'etc/systemd/system/maker.socket', `[Socket]\nListenStream=${LISTENER_PORT}\nAccept=yes\n`);
  await lay(
    root,
    'etc/systemd/system/maker@.service',
    '[Service]\nExecStart=/bin/echo a listener that nobody named\nStandardInput=socket\nStandardOutput=socket\n',
  );
  await lay(root, 'etc/systemd/system/sockets.target.d/maker.conf', '[Unit]\nWants=maker.socket\n');
  const enabled = ['ssh.service', 'ssh.socket', 'systemd-networkd.service', 'networking.service'];
  await needProgram('systemctl', ['--quiet', '--root', root, 'enable', ...enabled, 'NetworkManager.service']);
  // A hash that no password has: whoever can ask for one has come in far enough.
  await setRootPassword(root, `$6$factory0$${'a'.repeat(86)}`);
}

export async function setRootPassword(root: string, field: string): Promise<void> {
  const shadow = await readFile(join(root, 'etc/shadow'), 'utf8');
  await writeFile(
    join(root, 'etc/shadow'),
    shadow.replace(/^root:[^:]*/m, () => `root:${field}`),
  );
}

async function layStandIns(root: string, end: FirstBootEnd): Promise<void> {
  await setFirstBootEnd(root, end);
  const from = join(import.meta.dirname, 'stand-in');
  await copyFile(join(from, 'holdfast-agent'), join(root, 'usr/bin/holdfast-agent'));
  await copyFile(join(from, 'calls-home'), join(root, 'stand-in/calls-home'));
  await lay(root, 'etc/holdfast/agent.json', '{}\n');
  await lay(root, 'etc/systemd/system/calls-home.service', '[Service]\nType=exec\nExecStart=/stand-in/calls-home\n');
  await lay(root, 'etc/systemd/system/multi-user.target.d/calls-home.conf', '[Unit]\nWants=calls-home.service\n');
  await lay(root, 'etc/machine-id', '');
}
