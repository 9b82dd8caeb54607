/** Files that hold a secret of a person: made new, 0600, outside of every git repository, whole or not at all. */
import { lstat, open, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { refuseInsideRepository } from '../keys/repository-guard.ts';
import { faultOfSystemError } from '../platform/command-line.ts';
import { nodeDisk } from '../platform/disk.ts';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';

/** Before anything is asked or made: can the file be there? Faults: `file-exists`, `secrets-inside-repository`. */
export async function demandNewSecretFile(path: string): Promise<void> {
  await refuseInsideRepository(dirname(resolve(path)), 'secrets');
  await demandNewFile(path);
}

/** The same for what is public. */
export async function demandNewFile(path: string): Promise<void> {
  const taken = await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT') return false;
      throw faultOfSystemError(error, path) ?? error;
    },
  );
  if (taken) throw exists(path);
}

function exists(path: string): Fault {
  return new Fault({
    code: 'file-exists',
    what: 'there is a file of this name, and nothing is overwritten',
    where: path,
    cure: 'Choose another name, or remove the old file.',
    exitStatus: EXIT.refused,
  });
}

/** Durable once it returns. `mode` 0644 for what is public. */
export async function writeNewFile(path: string, content: Uint8Array, mode: 0o600 | 0o644 = 0o600): Promise<void> {
  try {
    const file = await open(path, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } catch (error) {
      await unlink(path);
      throw error;
    } finally {
      await file.close();
    }
    await nodeDisk.syncDirectory(dirname(resolve(path)));
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') throw exists(path);
    throw faultOfSystemError(error, path) ?? error;
  }
}
