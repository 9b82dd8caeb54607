/**
 * "Mounts" a slot: reads the boot partition as a bootloader does, and takes what the boot loop needs of the root file
 * system out of its image, without loop mounts. A slot of which either image cannot be read does not boot.
 */
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EmulatedUserspace, Mounted } from '../../emulator/boot-loop.ts';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { runProgram } from '../programs.ts';

/** Folders of the root file system that the emulated userspace uses; the rest stays in the image. */
const NEEDED = ['/usr/lib/holdfast', '/usr/lib/acme', '/etc', '/root'] as const;
const AGENT = 'usr/lib/holdfast/agent.mjs';
const FIRST_BOOT = 'usr/lib/holdfast/firstboot.mjs';

const failed = (why: string): Mounted => ({ ok: false, why });

/** `version` of a release file, or undefined when it is not one. */
function releaseName(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const named = typeof value === 'object' && value !== null && 'version' in value && 'sequence' in value;
    return named ? `${String(value.version)} (${String(value.sequence)})` : undefined;
  } catch {
    return undefined;
  }
}

async function mountSlot(slotDirectory: string, rootDirectory: string, workDirectory: string): Promise<Mounted> {
  const boot = await runProgram('mtype', ['-i', join(slotDirectory, 'boot.img'), '::release.jsn'], {
    env: IMAGE_TOOL_ENV,
  });
  const kernel = boot.status === 0 ? releaseName(boot.stdout) : undefined;
  if (kernel === undefined) return failed('boot.img is not a boot partition');
  await rm(rootDirectory, { recursive: true, force: true });
  const lines: string[] = [];
  for (const folder of NEEDED) {
    const above = join(rootDirectory, folder, '..');
    await mkdir(above, { recursive: true });
    lines.push(`rdump ${folder} ${above}`);
  }
  const script = join(workDirectory, 'mount-commands');
  await writeFile(script, `${lines.join('\n')}\n`);
  await runProgram('debugfs', ['-f', script, join(slotDirectory, 'rootfs.img')], { env: IMAGE_TOOL_ENV });
  await rm(script, { force: true });
  const release = await readFile(join(rootDirectory, 'etc/holdfast-release'), 'utf8').catch(() => '');
  const root = releaseName(release);
  if (root === undefined) return failed('rootfs.img is not a root file system');
  if (!(await readdir(join(rootDirectory, AGENT, '..'))).includes('agent.mjs')) return failed('no agent in the image');
  // debugfs keeps modes only where it may set owners too.
  for (const name of await readdir(join(rootDirectory, 'usr/lib/holdfast/health.d')).catch(() => [])) {
    await chmod(join(rootDirectory, 'usr/lib/holdfast/health.d', name), 0o755);
  }
  return { ok: true, version: root === kernel ? root : `${root}, kernel of ${kernel}` };
}

/** The demo product's: its app, and the agent and first boot that the image carries; without them, nothing opens. */
export const demoUserspace: EmulatedUserspace = {
  mount: mountSlot,
  firstBoot: (rootDirectory, configFile) => [
    process.execPath,
    join(rootDirectory, FIRST_BOOT),
    'firstboot',
    '--boot',
    '--config',
    configFile,
  ],
  programs: (rootDirectory, configFile) => ({
    app: [process.execPath, join(rootDirectory, 'usr/lib/acme/app.mjs')],
    agent: [process.execPath, join(rootDirectory, AGENT), 'run', '--config', configFile],
  }),
};
