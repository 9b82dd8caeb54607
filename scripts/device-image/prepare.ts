/**
 * What making an image and running the lab need on this machine, and what all devices of one userspace have in common:
 * installed, fetched and made once, and found again afterwards. Programs and firmware are Debian's; the agent is its own Debian
 * package, built from this checkout.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { buildPackage, gather } from '../package/build-packages.ts';
import { needProgram } from '../programs.ts';
import { DEBIAN } from './debian-userspace.ts';
import { type DeviceBase, makeDeviceBase, type Userspace } from './device-base.ts';
import { ForeignPackages } from './foreign-packages.ts';
import { SMALL } from './small-userspace.ts';

const PLACE = join(PROJECT_DIRECTORY, 'build/device-image');
/** By name, as --userspace takes it. */
export const USERSPACES: readonly Userspace[] = [SMALL, DEBIAN];
/** `debian` holds the fetched packages. */
const FOLDERS = { small: 'small', debian: 'debian-device' } as const;
const MAINTAINER = 'Holdfast lab <lab@localhost>';

export type Say = (line: string) => void;

/** The programs alone, for devices that somebody else made. */
export async function preparePrograms(say: Say): Promise<void> {
  await needProgram('sh', ['scripts/setup.sh', '--images', '--qemu', '--build'], {
    cwd: PROJECT_DIRECTORY,
    onStderr: (text) => say(text.trim()),
  });
}

/** Debian's packages for the devices, fetched once for all. */
export function foreignPackages(say: Say): ForeignPackages {
  return new ForeignPackages(join(PLACE, 'debian'), 'arm64', say);
}

export interface Preparation {
  readonly userspace: Userspace;
  /** With what a verified boot needs in the initial RAM disk. */
  readonly verified: boolean;
  readonly say: Say;
  /** Where what is made is kept. Packages are fetched into one place for all. */
  readonly place?: string;
}

export async function prepare({ userspace, verified, say, place = PLACE }: Preparation): Promise<DeviceBase> {
  await preparePrograms(say);
  // Modes of folders in the image follow it.
  process.umask(0o022);
  await mkdir(place, { recursive: true });
  const materials = await gather(PROJECT_DIRECTORY, MAINTAINER, undefined);
  const wanted = { variant: 'holdfast-agent-node', architecture: 'arm64' } as const;
  const { path: agentPackage } = await buildPackage(PROJECT_DIRECTORY, materials, wanted, place);
  const packages = foreignPackages(say);
  const folder = join(place, `${FOLDERS[userspace.name]}${verified ? '-verified' : ''}`);
  return makeDeviceBase({ userspace, folder, packages, agentPackage, verified, say });
}
