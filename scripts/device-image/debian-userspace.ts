/**
 * A Debian with systemd, for a device: read-only, with the agent's own package and its own unit. The recipe for an image
 * of one's own: debian/root/ holds what stands in it beside the packages, board/ where its boot environment lies, debian/lab/
 * what only the lab's images have.
 *
 * No script of a package runs, so that neither root rights nor a machine of the device's kind are needed. What the
 * scripts of these packages would do, this file does (users, unit links, certificates) or debian/root/ holds.
 */
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { IMAGE_TIME_UNIX_S, IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { needProgram } from '../programs.ts';
import { placeEnvironmentFiles } from './boot-environment.ts';
import { kernelVersion, modulePaths } from './boot-image.ts';
import { installPackages, mergeUsr, type Special } from './debian-packages.ts';
import type { Materials, Userspace } from './device-base.ts';
import { filesIn } from './files-in.ts';
import { writeOwners } from './owners.ts';

const SOURCES = join(import.meta.dirname, 'debian');
const HEALTH_CHECK = join(import.meta.dirname, 'product/10-app');
/** What is asked for; apt adds what these need. */
const PACKAGES = [
  ...['base-files', 'base-passwd', 'usr-is-merged', 'libc-bin', 'dpkg', 'login', 'passwd', 'libpam-runtime'],
  ...['bash', 'dash', 'coreutils', 'diffutils', 'findutils', 'grep', 'gzip', 'hostname', 'less', 'mawk', 'procps'],
  ...['sed', 'tar', 'util-linux', 'mount', 'kmod', 'e2fsprogs'],
  ...[
    'systemd',
    'systemd-sysv',
    'systemd-resolved',
    'systemd-timesyncd',
    'udev',
    'dbus',
    'iproute2',
    'ca-certificates',
  ],
  // The first gate's firewall, and a login for the second one to hold. Neither starts by itself.
  ...['openssh-server', 'nftables'],
  // What the agent's Node needs, and fw_setenv.
  ...['libstdc++6', 'libubootenv-tool'],
];
/** Beside those of the initial RAM disk: a firewall, and what systemd asks for. Each brings what it depends on. */
const MODULES = ['autofs4', 'overlay', 'nf_tables', 'nft_ct', 'nft_limit', 'nft_log', 'nft_reject_inet'];
/** What only a person at a desk, another init or dpkg at its work would read. Copyrights and licences stay. */
const LEFT_OUT = [
  ...['bash-completion', 'bug', 'debconf', 'doc-base', 'gcc', 'gdb', 'info', 'initramfs-tools', 'lintian', 'locale'],
  ...['man', 'menu', 'perl5', 'pixmaps', 'runit', 'zsh'],
].map((name) => `usr/share/${name}`);
const LEFT_OUT_ELSEWHERE = [
  ...['cron.d', 'cron.daily', 'dhcp', 'init.d', 'logrotate.d', 'runit', 'sv', 'ufw', 'update-motd.d', 'apt'],
  ...['rc0.d', 'rc1.d', 'rc2.d', 'rc3.d', 'rc4.d', 'rc5.d', 'rc6.d', 'rcS.d'],
].map((name) => `etc/${name}`);
/** Sources of a database that nothing here makes; conversions between character sets that nobody uses. */
const LEFT_OUT_LIBRARIES = ['usr/lib/udev/hwdb.d', 'usr/lib/aarch64-linux-gnu/gconv'];
/** Where the slots' file systems and the data are mounted; what systemd mounts. */
const FOLDERS = ['boot/common', 'data', 'mnt', 'var', 'dev', 'proc', 'sys', 'run', 'tmp', 'root', 'etc/holdfast'];
const GATES = 'usr/lib/holdfast/first-boot/holdfast-gates';
const LINKS: Readonly<Record<string, string>> = {
  'etc/mtab': '../proc/self/mounts',
  'etc/resolv.conf': '../run/systemd/resolve/stub-resolv.conf',
  // Nobody can log in here: root is locked, and there is no other account.
  'etc/systemd/system-generators/systemd-getty-generator': '/dev/null',
  'usr/bin/awk': 'mawk',
};
/** What a device makes for itself and the packages do not bring. */
export const OWN_FILES = [
  ['etc/ssh/ssh_host_ed25519_key', 0o600],
  ['etc/ssh/ssh_host_ed25519_key.pub', 0o644],
  ['root/.ssh/authorized_keys', 0o600],
] as const;
/** As their packages' scripts set them. */
const SPECIAL: readonly Special[] = [
  { path: 'usr/lib/dbus-1.0/dbus-daemon-launch-helper', mode: 0o4754, user: 'root', group: 'messagebus' },
  { path: 'usr/bin/ssh-agent', mode: 0o2755, user: 'root', group: '_ssh' },
  { path: 'etc/shadow', mode: 0o640, user: 'root', group: 'shadow' },
  { path: 'etc/gshadow', mode: 0o640, user: 'root', group: 'shadow' },
];

export const DEBIAN: Userspace = {
  name: 'debian',
  hasSystemd: true,
  // Under emulation on a busy machine it takes minutes until its agent runs.
  trialWatchdogSeconds: 600,
  sources: ['debian', 'debian-userspace.ts', 'debian-packages.ts', 'owners.ts'].map((name) =>
    join(import.meta.dirname, name),
  ),
  packageNames: (packages) => packages.closureOf('debian-userspace', PACKAGES),
  fill,
  async labFiles() {
    const lab = join(SOURCES, 'lab');
    const files = (await filesIn(lab)).map((path) => [path.slice(lab.length + 1), path]);
    return { ...Object.fromEntries(files), 'usr/lib/acme/health.d/10-app': HEALTH_CHECK };
  },
};

async function fill({ tree, packages, agentPackage, kernelTree, ownersFile }: Materials): Promise<void> {
  const special = await installPackages(tree, [...packages.map(({ path }) => path), agentPackage]);
  await mergeUsr(tree);
  await prune(tree);
  for (const path of FOLDERS) await mkdir(join(tree, path), { recursive: true });
  await cp(join(SOURCES, 'root'), tree, { recursive: true });
  await placeEnvironmentFiles(tree);
  await cp(join(tree, 'usr/share/openssh/sshd_config'), join(tree, 'etc/ssh/sshd_config'));
  await makePlaces(tree);
  for (const [path, target] of Object.entries(LINKS)) {
    await mkdir(join(tree, path, '..'), { recursive: true });
    await symlink(target, join(tree, path));
  }
  // Empty: systemd makes one up at each boot, and lays it over this file (machine-id(5)).
  await writeFile(join(tree, 'etc/machine-id'), '');
  await makeUsers(tree);
  await gatherCertificates(tree);
  await copyModules(kernelTree, tree);
  // Nobody reaches or enters the device before its first boot is done (docs/FIRST_BOOT_GATES.md).
  await needProgram('sh', [join(tree, GATES), 'enable', '--root', tree], { env: IMAGE_TOOL_ENV });
  for (const words of [['preset-all'], ['set-default', 'multi-user.target']]) {
    await needProgram('systemctl', ['--quiet', '--root', tree, ...words], { env: IMAGE_TOOL_ENV });
  }
  await writeOwners(tree, [...special, ...SPECIAL], ownersFile);
}

/** Empty files over which the first boot shows what it made: in a read-only slot there is no making them. */
async function makePlaces(tree: string): Promise<void> {
  await mkdir(join(tree, 'root/.ssh'), { recursive: true, mode: 0o700 });
  for (const [path, mode] of OWN_FILES) await writeFile(join(tree, path), '', { mode });
}

async function prune(tree: string): Promise<void> {
  for (const path of [...LEFT_OUT, ...LEFT_OUT_ELSEWHERE, ...LEFT_OUT_LIBRARIES, 'var']) {
    await rm(join(tree, path), { recursive: true, force: true });
  }
  const doc = join(tree, 'usr/share/doc');
  for (const path of await filesIn(doc)) {
    if (!/\/(copyright|[^/]*LICENSE[^/]*)$/.test(path)) await rm(path);
  }
}

/** base-passwd's users and groups, then those of sysusers.d. Nobody has a password, and none is valid. */
async function makeUsers(tree: string): Promise<void> {
  const masters = async (name: string): Promise<string[]> =>
    (await readFile(join(tree, 'usr/share/base-passwd', `${name}.master`), 'utf8')).trim().split('\n');
  const day = Math.floor(IMAGE_TIME_UNIX_S / 86_400);
  const [users, groups] = [await masters('passwd'), await masters('group')];
  const nameOf = (line: string): string => line.split(':')[0] ?? '';
  const write = (name: string, lines: string[], mode: number): Promise<void> =>
    writeFile(join(tree, 'etc', name), `${lines.join('\n')}\n`, { mode });
  const unlocked = (line: string): string => line.replace(':*:', ':x:');
  await write('passwd', users.map(unlocked), 0o644);
  await write('group', groups.map(unlocked), 0o644);
  await write(
    'shadow',
    users.map((line) => `${nameOf(line)}:!*:${day}:0:99999:7:::`),
    0o640,
  );
  await write(
    'gshadow',
    groups.map((line) => `${nameOf(line)}:*::`),
    0o640,
  );
  await needProgram('systemd-sysusers', ['--root', tree], { env: IMAGE_TOOL_ENV });
  for (const name of ['.pwd.lock', 'passwd-', 'group-', 'shadow-', 'gshadow-']) {
    await rm(join(tree, 'etc', name), { force: true });
  }
  const chosen = await readFile(join(SOURCES, 'root', USERS), 'utf8');
  const known = new Set([...users, ...groups].map(nameOf));
  for (const [, name = ''] of chosen.matchAll(/^[ug]\s+(\S+)/gm)) known.add(name);
  for (const file of ['passwd', 'group']) {
    const lines = (await readFile(join(tree, 'etc', file), 'utf8')).trim().split('\n');
    const strange = lines.map(nameOf).find((name) => !known.has(name));
    if (strange !== undefined) throw numberless(strange, file);
  }
}

const USERS = 'usr/lib/sysusers.d/00-device.conf';

function numberless(name: string, file: string): Fault {
  return new Fault({
    code: 'user-without-number',
    what: `a package brings ${name}, whose number would depend on which other packages there are`,
    where: `etc/${file}`,
    cure: `Give it a number that stays in scripts/device-image/debian/root/${USERS}.`,
    exitStatus: EXIT.input,
  });
}

/** What update-ca-certificates makes for programs that want one file. */
async function gatherCertificates(tree: string): Promise<void> {
  const files = (await filesIn(join(tree, 'usr/share/ca-certificates'))).filter((path) => path.endsWith('.crt'));
  const texts = await Promise.all(files.map((path) => readFile(path, 'utf8')));
  await mkdir(join(tree, 'etc/ssl/certs'), { recursive: true });
  await writeFile(join(tree, 'etc/ssl/certs/ca-certificates.crt'), texts.map((text) => `${text.trim()}\n`).join(''));
}

async function copyModules(kernelTree: string, tree: string): Promise<void> {
  const version = await kernelVersion(kernelTree);
  const from = join(kernelTree, 'lib/modules', version);
  const to = join(tree, 'usr/lib/modules', version);
  await mkdir(to, { recursive: true });
  for (const name of (await readdir(from)).filter((one) => /^modules\.(builtin|order)/.test(one))) {
    if (!name.endsWith('.bin')) await cp(join(from, name), join(to, name));
  }
  for (const path of await modulePaths(kernelTree, version, MODULES)) {
    await cp(path, join(to, path.slice(from.length + 1)));
  }
  await needProgram('depmod', ['--basedir', tree, version], { env: IMAGE_TOOL_ENV });
}
