/**
 * Every file, folder and link below some folders: kind, mode, owner, content. Two of them tell whether something changed,
 * byte for byte. Times are left out, but nothing else is, except what the caller names.
 */

import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256OfFile } from '../../file-digest.ts';

export type Snapshot = ReadonlyMap<string, string>;

export async function snapshot(root: string, folders: readonly string[], except: readonly string[]): Promise<Snapshot> {
  const found = new Map<string, string>();
  for (const folder of folders) await walk(root, folder, except, found);
  return found;
}

async function walk(root: string, path: string, except: readonly string[], found: Map<string, string>): Promise<void> {
  if (except.includes(path)) return;
  const full = join(root, path);
  const facts = await lstat(full).catch(() => undefined);
  if (facts === undefined) return;
  const owner = `${(facts.mode & 0o7777).toString(8)} ${facts.uid}:${facts.gid}`;
  if (facts.isDirectory()) {
    found.set(path, `folder ${owner}`);
    for (const name of (await readdir(full)).sort()) await walk(root, `${path}/${name}`, except, found);
  } else if (facts.isSymbolicLink()) found.set(path, `link ${await readlink(full)}`);
  else if (facts.isFile()) found.set(path, `file ${owner} ${await sha256OfFile(full)}`);
  else found.set(path, `other ${owner}`);
}

/** `+` is new, `-` is gone, `~` is different; sorted by path. */
export function difference(before: Snapshot, after: Snapshot): string[] {
  const lines: [string, string][] = [];
  for (const [path, facts] of after) {
    const old = before.get(path);
    if (old === undefined) lines.push([path, `+ ${path}`]);
    else if (old !== facts) lines.push([path, `~ ${path}`]);
  }
  for (const path of before.keys()) if (!after.has(path)) lines.push([path, `- ${path}`]);
  return lines.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, line]) => line);
}
