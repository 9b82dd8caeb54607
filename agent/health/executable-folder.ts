/** Every executable of one folder, once, in order of name, each within its deadline; and which of them failed. */
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorText, systemErrorCode } from '../../platform/fault.ts';
import { type CheckSettings, runExecutableCheck } from './executable-check.ts';

/** A folder with more than this is a mistake, not a set of checks. */
const EXECUTABLES_CAP = 64;

export interface FailedExecutable {
  readonly name: string;
  readonly detail: string;
}

/**
 * Null: no folder, nothing to run. A folder that is named and not there is a failure: an image that was not mounted has
 * no checks. With `stopAtFirst` the first failure is the answer.
 */
export async function runFolder(
  directory: string | null,
  settings: CheckSettings,
  { stopAtFirst = false, onEach = () => {} }: { stopAtFirst?: boolean; onEach?: () => void } = {},
): Promise<readonly FailedExecutable[]> {
  if (directory === null) return [];
  const names = await readdir(directory).catch((error: unknown) => {
    return `the folder cannot be read (${systemErrorCode(error) ?? errorText(error)})`;
  });
  if (typeof names === 'string') return [{ name: 'directory', detail: names }];
  const visible = names.filter((name) => !name.startsWith('.')).sort();
  if (visible.length > EXECUTABLES_CAP) {
    return [{ name: 'directory', detail: `${visible.length} executables, at most ${EXECUTABLES_CAP}` }];
  }
  const failed: FailedExecutable[] = [];
  for (const name of visible) {
    const path = join(directory, name);
    const outcome = (await isExecutableFile(path))
      ? await runExecutableCheck(path, settings)
      : { healthy: false, status: null, detail: 'it is not an executable file' };
    onEach();
    if (outcome.healthy) continue;
    failed.push({ name: name.slice(0, 64), detail: outcome.detail });
    if (stopAtFirst) break;
  }
  return failed;
}

export async function isExecutableFile(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
