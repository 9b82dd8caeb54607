/** The programs of others that Holdfast is measured beside: Debian's packages, their versions, and which are missing. */
import { existsSync } from 'node:fs';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { needProgram, runProgram } from '../../../scripts/programs.ts';

/** Debian package → the program by which we know that it is there. */
const PACKAGES = {
  time: '/usr/bin/time',
  'util-linux': '/usr/bin/taskset',
  zstd: '/usr/bin/zstd',
  openssl: '/usr/bin/openssl',
  'squashfs-tools': '/usr/bin/mksquashfs',
  rauc: '/usr/bin/rauc',
  'dbus-daemon': '/usr/bin/dbus-daemon',
  'dbus-bin': '/usr/bin/dbus-send',
  swupdate: '/usr/bin/swupdate',
  cpio: '/usr/bin/cpio',
  xdelta3: '/usr/bin/xdelta3',
  casync: '/usr/bin/casync',
  zchunk: '/usr/bin/zckdl',
  debootstrap: '/usr/sbin/debootstrap',
} as const;
export type Peer = keyof typeof PACKAGES;

/** What nothing can be measured without. */
const NEEDED: readonly Peer[] = ['time', 'util-linux', 'zstd', 'openssl'];
const WITH_FIGURES: readonly Peer[] = [
  'rauc',
  'swupdate',
  'xdelta3',
  'zstd',
  'casync',
  'zchunk',
  'squashfs-tools',
  'openssl',
];

export async function installPeers(): Promise<void> {
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await needProgram('apt-get', ['update', '-q'], { env });
  await needProgram('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...Object.keys(PACKAGES)], { env });
}

/** Why this peer cannot be measured here; undefined when it can. */
export function missing(...peers: Peer[]): string | undefined {
  const gone = peers.filter((peer) => !existsSync(PACKAGES[peer]));
  return gone.length === 0 ? undefined : `the package ${gone.join(', ')} is not installed (--install-peers)`;
}

export function demandMeasuring(): void {
  const why = missing(...NEEDED);
  if (why === undefined) return;
  throw new Fault({
    code: 'program-missing',
    what: 'a program to measure with is missing',
    where: why,
    cure: 'Give --install-peers (Debian, as root), or install it.',
    exitStatus: EXIT.environment,
  });
}

/** Of Debian's packages, as dpkg has them; those that are not there are left out. */
export async function peerVersions(): Promise<Record<string, string>> {
  const fields = ['db:Status-Status', 'Package', 'Version'].map((field) => `\${${field}}`);
  const { stdout } = await runProgram('dpkg-query', ['-W', '-f', `${fields.join(' ')}\\n`, ...WITH_FIGURES]);
  const found = stdout.split('\n').flatMap((line) => {
    const [status, name = '', version = ''] = line.split(' ');
    return status === 'installed' ? [[name, version] as const] : [];
  });
  return Object.fromEntries(found);
}
