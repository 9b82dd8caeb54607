/**
 * A minimal Debian bookworm in a folder: made once by debootstrap and kept, copied for each trial, entered by chroot
 * with a /proc of its own. Needs root.
 */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { needProgram, type ProgramResult, runProgram } from '../../programs.ts';
import type { Architecture } from '../node-runtime.ts';

/** What a device has and a minimal Debian has not. */
const INCLUDE = 'systemd-sysv,dbus,libubootenv-tool,libstdc++6';

/**
 * The kept root, with packages by name beside the minimum. Of a foreign architecture it is unpacked and not configured:
 * nothing of it can run here.
 */
export async function debianRoot(
  cache: string,
  architecture: Architecture,
  foreign: boolean,
  include = INCLUDE,
): Promise<string> {
  const kept = join(cache, `bookworm-${architecture}`);
  if (existsSync(kept)) return kept;
  await mkdir(cache, { recursive: true });
  const fresh = `${kept}.new`;
  await rm(fresh, { recursive: true, force: true });
  await needProgram('debootstrap', [
    '--variant=minbase',
    `--include=${include}`,
    `--arch=${architecture}`,
    ...(foreign ? ['--foreign'] : []),
    'bookworm',
    fresh,
  ]);
  await rename(fresh, kept);
  return kept;
}

export class Chroot {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** One that somebody else made, and removes. */
  static at(path: string): Chroot {
    return new Chroot(path);
  }

  static async copyOf(kept: string, folder: string): Promise<Chroot> {
    await rm(folder, { recursive: true, force: true });
    await needProgram('cp', ['-a', '--reflink=auto', kept, folder]);
    return new Chroot(folder);
  }

  run(...words: readonly string[]): Promise<ProgramResult> {
    const enter = ['--mount', '--pid', '--fork', `--mount-proc=${this.path}/proc`, 'chroot', this.path];
    return runProgram('unshare', [...enter, ...words], {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    });
  }

  /** Puts a package into /tmp of the root and has dpkg install it. */
  async install(deb: string, ...options: readonly string[]): Promise<ProgramResult> {
    await copyFile(deb, join(this.path, 'tmp', basename(deb)));
    return this.run('dpkg', ...options, '--install', `/tmp/${basename(deb)}`);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}
