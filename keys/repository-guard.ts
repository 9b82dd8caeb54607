/**
 * Keeps keys out of version control: one `git add .` in the wrong folder publishes a key for ever, and no later commit
 * takes it back.
 */
import { realpath, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { EXIT, Fault, systemErrorCode } from '../platform/fault.ts';

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT' || systemErrorCode(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** The real path of the nearest folder above (or at) `path` that exists: links may lead into a repository. */
async function nearestExisting(path: string): Promise<string> {
  let at = resolve(path);
  while (!(await exists(at)) && dirname(at) !== at) at = dirname(at);
  return realpath(at);
}

/** The root of the git work tree that `path` lies or would lie in, or undefined. A `.git` file counts (worktrees, submodules). */
export async function enclosingRepository(path: string): Promise<string | undefined> {
  let at = await nearestExisting(path);
  for (;;) {
    if (await exists(join(at, '.git'))) return at;
    const above = dirname(at);
    if (above === at) return undefined;
    at = above;
  }
}

/** Fault `<subject>-inside-repository` when secrets would land in a git work tree. */
export async function refuseInsideRepository(
  directory: string,
  subject: 'ceremony' | 'claims' | 'secrets',
): Promise<void> {
  const repository = await enclosingRepository(directory);
  if (repository === undefined) return;
  throw new Fault({
    code: `${subject}-inside-repository`,
    what: `the folder lies inside a git repository (${repository}), and secrets must never be committed`,
    where: directory,
    cure: `Choose a folder outside of every repository, for instance ~/holdfast-${subject}.`,
    exitStatus: EXIT.refused,
  });
}
