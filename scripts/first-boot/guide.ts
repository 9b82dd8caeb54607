/**
 * The guide for makers, followed: the commands and the agent.json of docs/FIRST_BOOT_GATES.md, in a fresh Debian, with the
 * package of this checkout.
 */
import { generateKeyPairSync } from 'node:crypto';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { arch, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { buildPackage, gather } from '../package/build-packages.ts';
import { Chroot } from '../package/check/debian-root.ts';
import { makeDeviceFiles, placeDeviceFiles } from '../package/check/device-files.ts';
import { lay } from './device-files.ts';

const PROJECT = join(import.meta.dirname, '../..');
const GUIDE = join(PROJECT, 'docs/FIRST_BOOT_GATES.md');
const HEADING = 'Put it in your image';

/** Throws with what the commands said when one of them fails. */
export async function followGuide(root: string): Promise<void> {
  const commands = await blockOfGuide('sh');
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

/** What it says to lay into /etc/holdfast, and the agent.json that it prints. Notes which host keys the image has. */
export async function configureAsGuided(root: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-guide-'));
  try {
    await placeDeviceFiles(await makeDeviceFiles(PROJECT, folder), root);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  await lay(root, 'etc/holdfast/owners', `${ownerKey()}\n${ownerKey()}\n`);
  await lay(root, 'etc/holdfast/agent.json', await blockOfGuide('json'));
  const ssh = join(root, 'etc/ssh');
  const names = (await readdir(ssh)).filter((name) => /^ssh_host_.*_key\.pub$/.test(name));
  const keys = await Promise.all(names.map((name) => readFile(join(ssh, name), 'utf8')));
  await writeFile(join(root, 'factory-host-keys'), keys.map((key) => `${key.split(' ')[1]}\n`).join(''));
}

const ownerKey = (): string =>
  generateKeyPairSync('x25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');

/** The first block of a language under the heading. */
async function blockOfGuide(language: 'sh' | 'json'): Promise<string> {
  const text = await readFile(GUIDE, 'utf8');
  const block = new RegExp(`^## ${HEADING}$[\\s\\S]*?^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'm');
  const found = block.exec(text)?.[1];
  if (found === undefined) throw new Error(`${GUIDE} has no ${language} under "${HEADING}"`);
  return found;
}
