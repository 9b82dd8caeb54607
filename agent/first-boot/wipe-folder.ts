/**
 * Empties a folder for a factory reset. Follows no symbolic link and leaves the folder itself, which may be a mount
 * point. Run again after a cut, it ends the same.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeDisk } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';

export async function wipeFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (names === undefined) return;
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true });
  await nodeDisk.syncDirectory(folder);
}
