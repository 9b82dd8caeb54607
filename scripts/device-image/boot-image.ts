/**
 * What boots every userspace: Debian's kernel, and an initial RAM disk with the modules that the disk needs, as the FAT
 * image of a slot's boot partition.
 *
 * Invariant: the same packages give the same bytes, whenever and by whomever the image is made.
 */
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IMAGE_TIME_UNIX_S, IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { makeFatImage } from '../images/fat-image.ts';
import { needProgram } from '../programs.ts';
import type { ForeignPackage } from './foreign-packages.ts';
import { BOOT, partitionOf } from './layout.ts';
import { addVerityTools, VERITY_MODULES } from './verity-tools.ts';

const SOURCES = join(import.meta.dirname, 'board');
/** Beside the kernel: the initial RAM disk's one program. */
export const RAM_DISK_PACKAGE = 'busybox-static';
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

export interface BootRequest {
  readonly folder: string;
  /** The kernel's package and RAM_DISK_PACKAGE, unpacked. */
  readonly tree: string;
  readonly trialWatchdogSeconds: number;
  /** VERITY_TOOLS, for an initial RAM disk that can verify its root file system; none for one that need not. */
  readonly tools: readonly ForeignPackage[];
}

/** Makes boot.img in `folder`, and beside it what is in it: Image and initrd.img. */
export async function makeBootImage({ folder, tree, trialWatchdogSeconds, tools }: BootRequest): Promise<void> {
  const version = await kernelVersion(tree);
  const initrd = join(folder, 'initrd');
  await mkdir(join(initrd, 'lib/modules'), { recursive: true });
  for (const name of ['bin', 'dev', 'proc', 'sys', 'new']) await mkdir(join(initrd, name));
  await copyFile(join(tree, 'bin/busybox'), join(initrd, 'bin/busybox'));
  await copyFile(join(SOURCES, 'initrd-init'), join(initrd, 'init'));
  await chmod(join(initrd, 'init'), 0o755);
  await writeFile(join(initrd, 'trial-seconds'), `${trialWatchdogSeconds}\n`);
  await needProgram('depmod', ['--basedir', tree, version], { env: IMAGE_TOOL_ENV });
  const order: string[] = [];
  if (tools.length > 0) await addVerityTools(initrd, tools);
  const modules = tools.length > 0 ? [...MODULES, ...VERITY_MODULES] : MODULES;
  for (const path of await modulePaths(tree, version, modules)) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    order.push(name);
    await copyFile(path, join(initrd, 'lib/modules', name));
  }
  await writeFile(join(initrd, 'lib/modules/order'), `${order.join('\n')}\n`);
  const archive = join(folder, 'initrd.img');
  await packRamDisk(initrd, archive);
  const kernel = join(folder, 'Image');
  await copyFile(join(tree, 'boot', `vmlinuz-${version}`), kernel);
  const files = [
    { name: 'Image', bytes: await readFile(kernel) },
    { name: 'initrd.img', bytes: await readFile(archive) },
  ];
  const workDirectory = join(folder, 'fat');
  await makeFatImage({
    outFile: join(folder, 'boot.img'),
    sizeBytes: partitionOf(BOOT.a).sizeBytes,
    files,
    workDirectory,
  });
  await rm(initrd, { recursive: true });
}

/** What its modules are for; `uname -r` there. */
export async function kernelVersion(tree: string): Promise<string> {
  const [version = ''] = await readdir(join(tree, 'lib/modules'));
  return version;
}

/**
 * Every module and what it depends on, each once, in the order in which they can be loaded: paths that begin with
 * `tree`, in which depmod has been.
 */
export async function modulePaths(tree: string, version: string, names: readonly string[]): Promise<string[]> {
  const paths = new Set<string>();
  for (const name of names) {
    const words = ['--dirname', tree, '--set-version', version, '--show-depends', name];
    const { stdout } = await needProgram('modprobe', words, { env: IMAGE_TOOL_ENV });
    for (const line of stdout.split('\n')) {
      const path = /^insmod (\S+)/.exec(line)?.[1];
      if (path !== undefined) paths.add(path);
    }
  }
  return [...paths];
}

/** The same tree gives the same bytes. */
export async function packRamDisk(tree: string, outFile: string): Promise<void> {
  const paths = (await readdir(tree, { recursive: true })).sort();
  const at = `@${IMAGE_TIME_UNIX_S}`;
  await needProgram('touch', ['--no-dereference', '--date', at, '.', ...paths], { cwd: tree });
  const words = ['--create', '--format=newc', '--reproducible', '--owner=0:0', '--quiet', `--file=${outFile}.cpio`];
  await needProgram('cpio', words, { cwd: tree, input: `${['.', ...paths].join('\n')}\n` });
  await needProgram('gzip', ['--no-name', '--fast', '--force', `${outFile}.cpio`]);
  await rename(`${outFile}.cpio.gz`, outFile);
}
