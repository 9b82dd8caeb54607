/**
 * The small device: Debian's kernel, busybox as its init, libubootenv, and the agent's own Debian package with the Node
 * that it brings. A boot image (kernel, initial RAM disk) and a root image (squashfs) for each release.
 *
 * Invariant: the same packages, files and version give the same bytes, whenever and by whomever they are made.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { IMAGE_TIME_UNIX_S, IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { makeFatImage } from '../images/fat-image.ts';
import { needProgram } from '../programs.ts';
import type { ForeignPackage, ForeignPackages } from './foreign-packages.ts';

const SOURCES = join(import.meta.dirname, 'small');
const KERNEL_META = 'linux-image-arm64';
const KERNEL_PREFIX = 'linux-image-6';
/** The agent's Node needs the C++ libraries; fw_printenv needs its own. */
const LIBRARIES = [
  'busybox-static',
  'libc6',
  'libgcc-s1',
  'libstdc++6',
  'libubootenv-tool',
  'libubootenv0.1',
  'zlib1g',
];
/** What the disk, its file systems, the network and the watchdog need; each brings what it depends on. */
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_net',
  'virtio_rng',
  'squashfs',
  'ext4',
  'vfat',
  'nls_cp437',
  'nls_ascii',
  'i6300esb',
  'xhci_pci',
  'usb_storage',
  'sd_mod',
];
const APPLETS =
  'sh cat cut date dd df dmesg echo env free grep hexdump hostname id ifconfig init insmod kill ls mkdir mount poweroff ps reboot rm route sed sha256sum sleep sync touch umount uname usleep watchdog'.split(
    ' ',
  );
/** Where the agent's package has it. */
export const AGENT_BUNDLE = 'usr/lib/holdfast/agent.mjs';
const UNUSED_AFTER_MS = 24 * 3_600_000;
const BOOT_BYTES = 48 * 1024 * 1024;
/** What a slot is written in, and read past the page cache. */
const PAGE_BYTES = 4096;

export interface SmallBase {
  /** The root file system's files that all releases have. */
  readonly tree: string;
  /** The packaged agent's bundle: beside the tree, so that an image can have another one. */
  readonly agentBundle: string;
  /** Kernel and initial RAM disk. */
  readonly bootImage: string;
  readonly packages: readonly ForeignPackage[];
  readonly kernel: string;
}

export interface BaseRequest {
  /** Kept between runs; made anew when what it is made of has changed. */
  readonly folder: string;
  readonly packages: ForeignPackages;
  /** The agent's .deb for arm64, with Node. */
  readonly agentPackage: string;
  readonly say: (line: string) => void;
}

export async function smallBase({ folder, packages, agentPackage, say }: BaseRequest): Promise<SmallBase> {
  const kernelName = await packages.dependencyOf(KERNEL_META, KERNEL_PREFIX);
  const fetched = await packages.fetch([...LIBRARIES, kernelName]);
  const made = join(folder, await digestOf(fetched, agentPackage));
  const base = {
    tree: join(made, 'tree'),
    agentBundle: join(made, 'agent.mjs'),
    bootImage: join(made, 'boot.img'),
    packages: fetched,
    kernel: kernelName,
  };
  await mkdir(folder, { recursive: true });
  await removeUnused(folder);
  if (existsSync(made)) {
    await utimes(made, new Date(), new Date());
    return base;
  }
  say('making the small device: kernel, initial RAM disk, root file system');
  // Another run may make the same at this moment.
  const fresh = await mkdtemp(`${made}.new-`);
  const kernelTree = join(fresh, 'kernel');
  for (const { name, path } of fetched) {
    await needProgram('dpkg-deb', ['--extract', path, name === kernelName ? kernelTree : join(fresh, 'tree')]);
  }
  await needProgram('dpkg-deb', ['--extract', agentPackage, join(fresh, 'tree')]);
  await rename(join(fresh, 'tree', AGENT_BUNDLE), join(fresh, 'agent.mjs'));
  await finishTree(join(fresh, 'tree'));
  await makeBoot(fresh, kernelTree);
  await rm(kernelTree, { recursive: true });
  await rename(fresh, made).catch(async (error) => {
    if (!existsSync(made)) throw error;
    await rm(fresh, { recursive: true });
  });
  return base;
}

/** What was made for an earlier state of the sources. What a run that still goes on may be using stays. */
async function removeUnused(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (Date.now() - (await stat(path)).mtimeMs > UNUSED_AFTER_MS) await rm(path, { recursive: true, force: true });
  }
}

async function digestOf(packages: readonly ForeignPackage[], agentPackage: string): Promise<string> {
  const hash = createHash('sha256');
  for (const { path, sha256 } of packages) hash.update(`${path.slice(path.lastIndexOf('/'))} ${sha256}\n`);
  for (const file of [agentPackage, join(import.meta.dirname, 'small-image.ts')]) hash.update(await readFile(file));
  for (const name of (await readdir(SOURCES)).sort()) hash.update(await readFile(join(SOURCES, name)));
  return hash.digest('hex').slice(0, 16);
}

async function finishTree(tree: string): Promise<void> {
  for (const path of [
    'usr/share',
    'usr/lib/aarch64-linux-gnu/gconv',
    'usr/lib/aarch64-linux-gnu/audit',
    'lib/systemd',
  ]) {
    await rm(join(tree, path), { recursive: true, force: true });
  }
  for (const path of [
    'dev',
    'proc',
    'sys',
    'run',
    'tmp',
    'data',
    'boot/common',
    'mnt',
    'etc/init.d',
    'usr/lib/acme/health.d',
  ]) {
    await mkdir(join(tree, path), { recursive: true });
  }
  for (const name of APPLETS) await symlink('busybox', join(tree, 'bin', name));
  await mkdir(join(tree, 'sbin'), { recursive: true });
  await symlink('../bin/busybox', join(tree, 'sbin/init'));
  const place = async (name: string, path: string, mode: number): Promise<void> => {
    await copyFile(join(SOURCES, name), join(tree, path));
    await chmod(join(tree, path), mode);
  };
  await place('inittab', 'etc/inittab', 0o644);
  await place('rcS', 'etc/init.d/rcS', 0o755);
  await place('agent', 'etc/init.d/agent', 0o755);
  await place('stop', 'etc/init.d/stop', 0o755);
  await place('10-app', 'usr/lib/acme/health.d/10-app', 0o755);
  await writeFile(join(tree, 'etc/fw_env.config'), '/dev/vda8 0x0 0x4000\n/dev/vda8 0x10000 0x4000\n');
  await writeFile(join(tree, 'etc/u-boot-initial-env'), 'bootcmd=run distro_bootcmd\n');
}

async function makeBoot(folder: string, kernelTree: string): Promise<void> {
  const [version = ''] = await readdir(join(kernelTree, 'lib/modules'));
  const initrd = join(folder, 'initrd');
  await mkdir(join(initrd, 'lib/modules'), { recursive: true });
  for (const name of ['bin', 'dev', 'proc', 'sys', 'new']) await mkdir(join(initrd, name));
  await copyFile(join(folder, 'tree/bin/busybox'), join(initrd, 'bin/busybox'));
  await copyFile(join(SOURCES, 'initrd-init'), join(initrd, 'init'));
  await chmod(join(initrd, 'init'), 0o755);
  await needProgram('depmod', ['--basedir', kernelTree, version], { env: IMAGE_TOOL_ENV });
  const order: string[] = [];
  for (const path of await modulePaths(kernelTree, version)) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    order.push(name);
    await copyFile(path, join(initrd, 'lib/modules', name));
  }
  await writeFile(join(initrd, 'lib/modules/order'), `${order.join('\n')}\n`);
  const archive = join(folder, 'initrd.img');
  await packRamDisk(initrd, archive);
  const files = [
    { name: 'Image', bytes: await readFile(join(kernelTree, 'boot', `vmlinuz-${version}`)) },
    { name: 'initrd.img', bytes: await readFile(archive) },
  ];
  const workDirectory = join(folder, 'fat');
  await makeFatImage({ outFile: join(folder, 'boot.img'), sizeBytes: BOOT_BYTES, files, workDirectory });
  await rm(initrd, { recursive: true });
  await rm(archive);
}

/** Every module and what it depends on, each once, in the order in which they can be loaded. */
async function modulePaths(kernelTree: string, version: string): Promise<string[]> {
  const paths = new Set<string>();
  for (const name of MODULES) {
    const words = ['--dirname', kernelTree, '--set-version', version, '--show-depends', name];
    const { stdout } = await needProgram('modprobe', words, { env: IMAGE_TOOL_ENV });
    for (const line of stdout.split('\n')) {
      const path = /^insmod (\S+)/.exec(line)?.[1];
      if (path !== undefined) paths.add(path);
    }
  }
  return [...paths];
}

async function packRamDisk(tree: string, outFile: string): Promise<void> {
  const paths = (await readdir(tree, { recursive: true })).sort();
  const at = `@${IMAGE_TIME_UNIX_S}`;
  await needProgram('touch', ['--no-dereference', '--date', at, '.', ...paths], { cwd: tree });
  const words = ['--create', '--format=newc', '--reproducible', '--owner=0:0', '--quiet', `--file=${outFile}.cpio`];
  await needProgram('cpio', words, { cwd: tree, input: `${['.', ...paths].join('\n')}\n` });
  await needProgram('gzip', ['--no-name', '--fast', '--force', `${outFile}.cpio`]);
  await rename(`${outFile}.cpio.gz`, outFile);
}

export interface RootRequest {
  readonly base: SmallBase;
  readonly version: string;
  /** What this release does instead of working: see small/rcS and small/10-app. */
  readonly fault: string;
  /** agent.json, root.json, server-ca.pem: into /etc/holdfast. */
  readonly factory: readonly string[];
  /** Other files of this release, by their path in the image; none that the tree has. */
  readonly files?: Readonly<Record<string, string>>;
  readonly outFile: string;
}

/** A root file system; its length is a multiple of 4096. */
export async function makeRootImage(request: RootRequest): Promise<void> {
  const { base, outFile, version, fault, factory, files = {} } = request;
  const work = `${outFile}.work`;
  await rm(work, { recursive: true, force: true });
  await rm(outFile, { force: true });
  await mkdir(work, { recursive: true });
  await mkdir(dirname(outFile), { recursive: true });
  await writeFile(join(work, 'version'), `${version}\n`);
  await writeFile(join(work, 'fault'), `${fault}\n`);
  const placed: Record<string, string> = {
    'etc/version': join(work, 'version'),
    'etc/fault': join(work, 'fault'),
    [AGENT_BUNDLE]: base.agentBundle,
    ...Object.fromEntries(factory.map((path) => [`etc/holdfast/${path.slice(path.lastIndexOf('/') + 1)}`, path])),
    ...files,
  };
  // Of a pseudo file mksquashfs takes the text that a command prints.
  const lines = Object.entries(placed).map(([path, source]) => `${path} f 644 0 0 cat '${source}'`);
  await writeFile(join(work, 'pseudo'), `${lines.join('\n')}\n`);
  const same = ['-all-root', '-all-time', String(IMAGE_TIME_UNIX_S), '-mkfs-time', String(IMAGE_TIME_UNIX_S)];
  const how = ['-comp', 'zstd', '-Xcompression-level', '5', '-noappend', '-no-progress', '-quiet', '-reproducible'];
  // mksquashfs refuses a time that is given in two ways.
  const words = ['-u', 'SOURCE_DATE_EPOCH', 'mksquashfs', base.tree, outFile, ...how, ...same];
  await needProgram('env', [...words, '-pf', join(work, 'pseudo')]);
  const { size } = await stat(outFile);
  await truncate(outFile, Math.ceil(size / PAGE_BYTES) * PAGE_BYTES);
  await rm(work, { recursive: true });
}
