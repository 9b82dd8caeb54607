/** A release is named by its folder here, or by its path on the server. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PLAN_FILE } from '../keys/release-plan.ts';

export async function isReleaseFolder(path: string): Promise<boolean> {
  return stat(join(path, PLAN_FILE)).then(
    (facts) => facts.isFile(),
    () => false,
  );
}
