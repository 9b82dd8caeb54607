/**
 * What all devices of one userspace have in common, made once of packages and of this checkout, and found again: the boot
 * image, the files of the root file system, and the agent's bundle from its own package.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../programs.ts';
import { makeBootImage, RAM_DISK_PACKAGE } from './boot-image.ts';
import { filesIn } from './files-in.ts';
import type { ForeignPackage, ForeignPackages } from './foreign-packages.ts';
import { VERITY_TOOLS } from './verity-tools.ts';

const KERNEL_META = 'linux-image-arm64';
const KERNEL_PREFIX = 'linux-image-6';
/** Where the agent's package has it. */
export const AGENT_BUNDLE = 'usr/lib/holdfast/agent.mjs';
export const FIRST_BOOT_BUNDLE = 'usr/lib/holdfast/firstboot.mjs';

const UNUSED_AFTER_MS = 24 * 3_600_000;

export interface Userspace {
  readonly name: 'small' | 'debian';
  readonly hasSystemd: boolean;
  /** What a slot on trial gets from power on until its agent must have taken the watchdog over. */
  readonly trialWatchdogSeconds: number;
  /** The Debian packages that it consists of, beside the agent's. */
  packageNames(packages: ForeignPackages): Promise<readonly string[]>;
  /** Paths of this checkout that it is made with: folders of files, and code. */
  readonly sources: readonly string[];
  /** Makes a root file system of the packages in `tree`. */
  fill(made: Materials): Promise<void>;
  /** What the lab's images have beside the tree, by path in the image: how a release fails, what is said on the console. */
  labFiles(): Promise<Readonly<Record<string, string>>>;
}

export interface Materials {
  /** An empty folder. */
  readonly tree: string;
  readonly packages: readonly ForeignPackage[];
  /** The agent's .deb for arm64, with Node. */
  readonly agentPackage: string;
  /** The kernel's package, unpacked; depmod has been there. */
  readonly kernelTree: string;
  /** Where to leave who owns what, for mksquashfs; without it everything is root's. */
  readonly ownersFile: string;
}

export interface DeviceBase {
  readonly userspace: Userspace;
  /** The root file system's files that all releases have. */
  readonly tree: string;
  /** mksquashfs' list of who owns what; need not be there. */
  readonly ownersFile: string;
  /** The packaged agent's bundle: beside the tree, so that an image can have another one. */
  readonly agentBundle: string;
  /** Kernel and initial RAM disk, as U-Boot's boot script takes them when nothing is verified. */
  readonly bootImage: string;
  /** The same two by themselves. */
  readonly kernelFile: string;
  readonly ramDisk: string;
  readonly kernel: string;
}

export interface BaseRequest {
  readonly userspace: Userspace;
  /** Kept between runs; made anew when what it is made of has changed. */
  readonly folder: string;
  readonly packages: ForeignPackages;
  /** The agent's .deb for arm64, with Node. */
  readonly agentPackage: string;
  /** With an initial RAM disk that verifies the root file system (verified-boot.ts). */
  readonly verified: boolean;
  readonly say: (line: string) => void;
}

export async function makeDeviceBase(request: BaseRequest): Promise<DeviceBase> {
  const { userspace, folder, packages, agentPackage, verified, say } = request;
  const kernel = await packages.dependencyOf(KERNEL_META, KERNEL_PREFIX);
  const boot = await packages.fetch([RAM_DISK_PACKAGE, kernel]);
  const fetched = await packages.fetch(await userspace.packageNames(packages));
  const tools = verified ? await packages.fetch(VERITY_TOOLS) : [];
  const made = join(folder, await digestOf([...boot, ...fetched, ...tools], agentPackage, userspace));
  const base = {
    userspace,
    tree: join(made, 'tree'),
    ownersFile: join(made, 'owners'),
    agentBundle: join(made, 'agent.mjs'),
    bootImage: join(made, 'boot.img'),
    kernelFile: join(made, 'Image'),
    ramDisk: join(made, 'initrd.img'),
    kernel,
  };
  await mkdir(folder, { recursive: true });
  await removeUnused(folder);
  if (existsSync(made)) {
    await utimes(made, new Date(), new Date());
    return base;
  }
  say(`making the ${userspace.name} device: kernel, initial RAM disk, root file system`);
  // Another run may make the same at this moment.
  const fresh = await mkdtemp(`${made}.new-`);
  await mkdir(join(fresh, 'tree'));
  const kernelTree = join(fresh, 'kernel');
  for (const { path } of boot) await needProgram('dpkg-deb', ['--extract', path, kernelTree]);
  const { trialWatchdogSeconds } = userspace;
  await makeBootImage({ folder: fresh, tree: kernelTree, trialWatchdogSeconds, tools });
  const ownersFile = join(fresh, 'owners');
  await userspace.fill({ tree: join(fresh, 'tree'), packages: fetched, agentPackage, kernelTree, ownersFile });
  await rename(join(fresh, 'tree', AGENT_BUNDLE), join(fresh, 'agent.mjs'));
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

async function digestOf(
  packages: readonly ForeignPackage[],
  agentPackage: string,
  { sources }: Userspace,
): Promise<string> {
  const hash = createHash('sha256');
  for (const { path, sha256 } of packages) hash.update(`${path.slice(path.lastIndexOf('/'))} ${sha256}\n`);
  const code = ['device-base.ts', 'boot-image.ts', 'boot-environment.ts', 'verity-tools.ts'];
  const own = [...code, 'board', 'product'].map((name) => join(import.meta.dirname, name));
  for (const path of [agentPackage, ...own, ...sources]) {
    const files = (await stat(path)).isDirectory() ? await filesIn(path) : [path];
    for (const file of files) hash.update(file.slice(file.lastIndexOf('/'))).update(await readFile(file));
  }
  return hash.digest('hex').slice(0, 16);
}
