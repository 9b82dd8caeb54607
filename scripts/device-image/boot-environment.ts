/** Where the board's boot environment lies, and what it is when it is made anew: the same for everything that runs there and writes it. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';

const SOURCES = join(import.meta.dirname, 'board');

/** Into /etc of a file system's tree, whose folder must be there: what libubootenv reads. */
export async function placeEnvironmentFiles(tree: string): Promise<void> {
  for (const name of ['fw_env.config', 'u-boot-initial-env']) {
    await copyFile(join(SOURCES, name), join(tree, 'etc', name));
  }
}
