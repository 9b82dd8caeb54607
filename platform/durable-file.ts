/**
 * A file that is either the old one or the new one, whatever happens in between.
 *
 * The order, each step needed (removing any fsync turns test/sim/durable-file.test.ts red):
 *   1. write everything to `<path>.new`
 *   2. fsync that file        else the rename may survive without the bytes
 *   3. rename it over `path`
 *   4. fsync the folder       else the caller goes on believing a name that a power cut takes back
 *
 * Remaining gap: a disk that acknowledges a flush and loses it anyway. Records that must outlive such a disk are kept
 * twice (see two-copy-record.ts).
 */
import { dirname } from 'node:path';
import type { Disk } from './disk.ts';
import { EXIT, Fault, systemErrorCode } from './fault.ts';

/**
 * Replaces `path` by `bytes`. Once it returns, a power cut does not undo it. `prepare` is given the new file's path while
 * there is nothing in it to read.
 */
export async function writeDurably(
  disk: Disk,
  path: string,
  bytes: Uint8Array,
  permissions = 0o600,
  prepare?: (fresh: string) => Promise<void>,
): Promise<void> {
  const fresh = `${path}.new`;
  const file = await disk.open(fresh, 'create', permissions);
  try {
    await prepare?.(fresh);
    await file.write(bytes, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(fresh, path);
  await disk.syncDirectory(dirname(path));
}

/** Removes `path` for good: once it returns, a power cut does not bring it back. */
export async function removeDurably(disk: Disk, path: string): Promise<void> {
  await disk.remove(path);
  await disk.syncDirectory(dirname(path));
}

/** Makes a folder whose own name is durable. The folder above must exist. A file in its place is a Fault. */
export async function makeDirectoryDurably(disk: Disk, path: string, permissions = 0o700): Promise<void> {
  try {
    await disk.makeDirectory(path, permissions);
  } catch (error) {
    throw fileInTheWay(path, error) ?? error;
  }
  await disk.syncDirectory(dirname(path));
}

function fileInTheWay(path: string, error: unknown): Fault | undefined {
  const code = systemErrorCode(error);
  if (code !== 'EEXIST' && code !== 'ENOTDIR') return undefined;
  return new Fault({
    code: 'path-kind-wrong',
    what: 'a folder belongs here, and a file stands in its place',
    where: path,
    cure: 'Move the file away; the folder is made again.',
    exitStatus: EXIT.corrupt,
    cause: error,
  });
}
