/** What an initial RAM disk holds besides when it verifies its root file system: dmsetup, and fw_setenv to leave a slot that is damaged. */
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../programs.ts';
import { placeEnvironmentFiles } from './boot-environment.ts';
import type { ForeignPackage } from './foreign-packages.ts';

/** Debian's arm64 kernel has SHA-256 built in; its module for processors with an instruction for it is faster. */
export const VERITY_MODULES = ['dm_verity', 'sha2_ce'];

export const VERITY_TOOLS = [
  'dmsetup',
  'libc6',
  'libdevmapper1.02.1',
  'libpcre2-8-0',
  'libselinux1',
  'libubootenv-tool',
  'libubootenv0.1',
  'libudev1',
  'zlib1g',
];
/** Libraries, and nothing that they bring for people, or for other character sets. */
const UNNEEDED = ['usr/share', 'usr/lib/aarch64-linux-gnu/gconv', 'usr/lib/aarch64-linux-gnu/audit', 'lib/udev', 'etc'];

export async function addVerityTools(ramDiskTree: string, tools: readonly ForeignPackage[]): Promise<void> {
  for (const { path } of tools) await needProgram('dpkg-deb', ['--extract', path, ramDiskTree]);
  for (const path of UNNEEDED) await rm(join(ramDiskTree, path), { recursive: true, force: true });
  for (const name of ['etc', 'run', 'var/lock']) await mkdir(join(ramDiskTree, name), { recursive: true });
  await placeEnvironmentFiles(ramDiskTree);
  await copyFile(join(import.meta.dirname, 'board/verity-init'), join(ramDiskTree, 'verity-init'));
}
