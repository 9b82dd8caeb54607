/**
 * What making an image and running the lab need on this machine, and what all small devices have in common: installed,
 * fetched and made once, and found again afterwards. Programs and firmware are Debian's; the agent is its own Debian
 * package, built from this checkout.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { buildPackage, gather } from '../package/build-packages.ts';
import { needProgram } from '../programs.ts';
import { ForeignPackages } from './foreign-packages.ts';
import { type SmallBase, smallBase } from './small-image.ts';

const PLACE = join(PROJECT_DIRECTORY, 'build/device-image');
const MAINTAINER = 'Holdfast lab <lab@localhost>';

/** The programs alone, for devices that somebody else made. */
export async function preparePrograms(say: (line: string) => void): Promise<void> {
  await needProgram('sh', ['scripts/setup.sh', '--images', '--qemu', '--build'], {
    cwd: PROJECT_DIRECTORY,
    onStderr: (text) => say(text.trim()),
  });
}

export async function prepare(say: (line: string) => void): Promise<SmallBase> {
  await preparePrograms(say);
  await mkdir(PLACE, { recursive: true });
  const materials = await gather(PROJECT_DIRECTORY, MAINTAINER, undefined);
  const wanted = { variant: 'holdfast-agent-node', architecture: 'arm64' } as const;
  const { path: agentPackage } = await buildPackage(PROJECT_DIRECTORY, materials, wanted, PLACE);
  const packages = new ForeignPackages(join(PLACE, 'debian'), 'arm64', say);
  return smallBase({ folder: join(PLACE, 'small'), packages, agentPackage, say });
}
