/**
 * Owner and mode of a file, which platform/disk.ts does not know, and a file that is durable with both: nobody ever reads
 * a secret in it through the mode that an older file left behind.
 */
import { chmod, chown, stat } from 'node:fs/promises';
import type { Disk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { systemErrorCode } from '../../platform/fault.ts';

export interface FileForm {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export const SECRET_FORM: FileForm = { mode: 0o600, uid: 0, gid: 0 };

export interface FileForms {
  /** Undefined when there is no such file. */
  read(path: string): Promise<FileForm | undefined>;
  set(path: string, form: FileForm): Promise<void>;
  /** Nothing would change if it were set. */
  has(path: string, form: FileForm): Promise<boolean>;
}

export const nodeForms: FileForms = {
  async read(path) {
    try {
      const { mode, uid, gid } = await stat(path);
      return { mode: mode & 0o7777, uid, gid };
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  },

  async set(path, { mode, uid, gid }) {
    await chown(path, uid, gid);
    await chmod(path, mode);
  },

  async has(path, { mode, uid, gid }) {
    const form = await nodeForms.read(path);
    return form?.mode === mode && form.uid === uid && form.gid === gid;
  },
};

/** For a device that is a folder, run by anybody: files keep their owner. */
export const modesAlone: FileForms = {
  read: nodeForms.read,
  set: (path, { mode }) => chmod(path, mode),
  has: async (path, { mode }) => (await nodeForms.read(path))?.mode === mode,
};

/** platform/durable-file.ts's order, with owner and mode set before there is anything to read. */
export async function writeFormed(
  disk: Disk,
  forms: FileForms,
  path: string,
  bytes: Uint8Array,
  form: FileForm,
): Promise<void> {
  // One that a cut left may be somebody else's.
  await disk.remove(`${path}.new`);
  await writeDurably(disk, path, bytes, 0o600, (fresh) => forms.set(fresh, form));
}
