/** Who owns what in an image, for mksquashfs: whoever unpacked the tree, in the image everything is root's but what is not. */
import { lstat, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Special } from './debian-packages.ts';

/**
 * A list of `m` lines for mksquashfs' -pf, one for each path of the tree. Numbers are those of the tree's own passwd and
 * group. Throws when something special is not there.
 */
export async function writeOwners(tree: string, special: readonly Special[], outFile: string): Promise<void> {
  const [users, groups] = [await numbers(tree, 'passwd'), await numbers(tree, 'group')];
  const byPath = new Map(special.map((one) => [one.path, one]));
  const lines: string[] = [];
  for (const path of (await readdir(tree, { recursive: true })).sort()) {
    const { mode, user, group } = byPath.get(path) ?? {
      mode: (await lstat(join(tree, path))).mode & 0o7777,
      user: 'root',
      group: 'root',
    };
    lines.push(`${quoted(path)} m ${mode.toString(8)} ${idOf(users, user)} ${idOf(groups, group)}`);
  }
  await writeFile(outFile, `${lines.join('\n')}\n`);
}

async function numbers(tree: string, file: string): Promise<ReadonlyMap<string, string>> {
  const lines = (await readFile(join(tree, 'etc', file), 'utf8')).trim().split('\n');
  return new Map(lines.map((line) => line.split(':')).map(([name = '', , id = '']) => [name, id]));
}

function idOf(ids: ReadonlyMap<string, string>, name: string): string {
  const id = ids.get(name);
  if (id === undefined) throw new Error(`the image knows no ${name}`);
  return id;
}

/** Names of units have backslashes. */
export function quoted(path: string): string {
  return `"${path.replaceAll(/["\\]/g, '\\$&')}"`;
}
