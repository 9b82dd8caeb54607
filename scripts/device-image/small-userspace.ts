/** The small device: busybox as its init, libubootenv, and the agent's own Debian package with the Node that it brings. */
import { chmod, copyFile, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../programs.ts';
import { placeEnvironmentFiles } from './boot-environment.ts';
import type { Materials, Userspace } from './device-base.ts';

const SOURCES = join(import.meta.dirname, 'small');
/** The agent's Node needs the C++ libraries; fw_printenv needs its own. */
const PACKAGES = ['busybox-static', 'libc6', 'libgcc-s1', 'libstdc++6', 'libubootenv-tool', 'libubootenv0.1', 'zlib1g'];
const APPLETS =
  'sh cat cut date dd df dmesg echo env free grep hexdump hostname id ifconfig init insmod kill ls mkdir mount poweroff ps reboot rm route sed sha256sum sleep sync touch umount uname usleep watchdog'.split(
    ' ',
  );
/** Nothing on this device reads them. */
const LEFT_OUT = ['usr/share', 'usr/lib/aarch64-linux-gnu/gconv', 'usr/lib/aarch64-linux-gnu/audit', 'lib/systemd'];
const FOLDERS = [
  'dev',
  'proc',
  'sys',
  'run',
  'tmp',
  'data',
  'boot/common',
  'mnt',
  'sbin',
  'etc/init.d',
  'usr/lib/acme/health.d',
];

export const SMALL: Userspace = {
  name: 'small',
  hasSystemd: false,
  trialWatchdogSeconds: 120,
  sources: [SOURCES, import.meta.filename],
  packageNames: async () => PACKAGES,
  fill,
  // All of it is the lab's.
  labFiles: async () => ({}),
};

async function fill({ tree, packages, agentPackage }: Materials): Promise<void> {
  for (const path of [...packages.map((one) => one.path), agentPackage]) {
    await needProgram('dpkg-deb', ['--extract', path, tree]);
  }
  for (const path of LEFT_OUT) await rm(join(tree, path), { recursive: true, force: true });
  for (const path of FOLDERS) await mkdir(join(tree, path), { recursive: true });
  for (const name of APPLETS) await symlink('busybox', join(tree, 'bin', name));
  await symlink('../bin/busybox', join(tree, 'sbin/init'));
  const place = async (name: string, path: string, mode: number): Promise<void> => {
    await copyFile(join(SOURCES, name), join(tree, path));
    await chmod(join(tree, path), mode);
  };
  await place('inittab', 'etc/inittab', 0o644);
  await place('rcS', 'etc/init.d/rcS', 0o755);
  await place('agent', 'etc/init.d/agent', 0o755);
  await place('stop', 'etc/init.d/stop', 0o755);
  await place('../product/10-app', 'usr/lib/acme/health.d/10-app', 0o755);
  await placeEnvironmentFiles(tree);
}
