/**
 * The end of a renewal (renewal.ts), which every program carries out that reads the identity: both halves are durable
 * beside the old ones, and are moved over them.
 */
import type { Disk } from '../../platform/disk.ts';
import type { IdentityPaths } from './identity.ts';

/** At every start, before the identity is read: a renewal that was decided is carried to its end. */
export async function finishRenewal(disk: Disk, paths: IdentityPaths): Promise<void> {
  const names = await disk.list(directoryOf(paths.key));
  const has = (path: string): boolean => names.includes(path.slice(path.lastIndexOf('/') + 1));
  if (!has(nextOf(paths.certificate))) return;
  if (has(nextOf(paths.key))) await moveDurably(disk, nextOf(paths.key), paths.key);
  await moveDurably(disk, nextOf(paths.certificate), paths.certificate);
}

async function moveDurably(disk: Disk, from: string, to: string): Promise<void> {
  await disk.rename(from, to);
  await disk.syncDirectory(directoryOf(to));
}

/** Where a renewal keeps what is to come. */
export function nextOf(path: string): string {
  return `${path}.next`;
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
