/** The guide for makers, followed: the commands of docs/FIRST_BOOT_GATES.md, in a fresh Debian, with the package of this checkout. */
import { copyFile, readFile, rm } from 'node:fs/promises';
import { arch } from 'node:os';
import { basename, join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { buildPackage, gather } from '../package/build-packages.ts';
import { Chroot } from '../package/check/debian-root.ts';

const PROJECT = join(import.meta.dirname, '../..');
const GUIDE = join(PROJECT, 'docs/FIRST_BOOT_GATES.md');
const HEADING = 'Put it in your image';

/** Throws with what the commands said when one of them fails. */
export async function followGuide(root: string): Promise<void> {
  const text = await readFile(GUIDE, 'utf8');
  const [, commands] = new RegExp(`^## ${HEADING}$[\\s\\S]*?^\`\`\`sh\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(text) ?? [];
  if (commands === undefined) throw new Error(`${GUIDE} has no commands under "${HEADING}"`);
  const materials = await gather(PROJECT, 'The first-boot matrix <matrix@localhost>', undefined);
  const wanted = { variant: 'holdfast-agent-node', architecture: arch() === 'arm64' ? 'arm64' : 'amd64' } as const;
  const { path } = await buildPackage(PROJECT, materials, wanted, join(PROJECT, 'build/first-boot/packages'));
  await copyFile(path, join(root, 'root', basename(path)));
  // There it is a link into a system that runs.
  await rm(join(root, 'etc/resolv.conf'), { force: true });
  await copyFile('/etc/resolv.conf', join(root, 'etc/resolv.conf'));
  const { status, stdout, stderr } = await Chroot.at(root).run('sh', '-exc', `cd /root\n${commands}`);
  if (status === 0) return;
  throw new Fault({
    code: 'guide-failed',
    what: `the guide's commands end with ${status}: ${`${stdout}\n${stderr}`.trim().slice(-600)}`,
    where: GUIDE,
    cure: 'Mend the guide, or what it names.',
    exitStatus: EXIT.bug,
  });
}
