/** The gates of the first boot, as the package lays them out: there, and bound to nothing until holdfast-gates is run. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackagedFile } from './deb.ts';

const UNITS = [
  ...['holdfast-quiet.service', 'holdfast-quiet.timer', 'holdfast-quiet-guard.service'],
  ...['holdfast-firstboot.service', 'holdfast-firstboot.timer', 'holdfast-open.service', 'holdfast-open.timer'],
];
export const FIRST_BOOT_FOLDER = '/usr/lib/holdfast/first-boot';

/** `documents` is the name of the folder below /usr/share/doc. */
export async function firstBootFiles(root: string, documents: string): Promise<PackagedFile[]> {
  const systemd = join(root, 'agent/systemd');
  const text = (path: string): Promise<string> => readFile(join(systemd, path), 'utf8');
  const files: PackagedFile[] = [];
  for (const name of UNITS) {
    const bytes = (await text(name)).replace('/doc/holdfast-agent/', `/doc/${documents}/`);
    files.push({ path: `/usr/lib/systemd/system/${name}`, mode: 0o644, content: { bytes } });
  }
  for (const name of (await readdir(join(systemd, 'first-boot'))).sort()) {
    const bytes = await text(`first-boot/${name}`);
    const mode = bytes.startsWith('#!') ? 0o755 : 0o644;
    files.push({ path: `${FIRST_BOOT_FOLDER}/${name}`, mode, content: { bytes } });
  }
  return files;
}
