/**
 * Overwrites a file with zeros where it lies, durably, before somebody removes it: a staged key must not be left in free
 * blocks. That holds for the blocks that the file system shows; flash that moves what is written may keep the former ones.
 */
import { open } from 'node:fs/promises';
import { systemErrorCode } from '../../platform/fault.ts';

/** No error where the disk does not let it: the removal that follows says so, or works all the same. */
export async function eraseFile(path: string): Promise<void> {
  try {
    const file = await open(path, 'r+');
    try {
      const { size } = await file.stat();
      await file.write(new Uint8Array(size), 0, size, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
  }
}
