import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Every file below a folder, as paths that begin with it, in the order of their names. */
export async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  return files.sort();
}
