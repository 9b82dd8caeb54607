/**
 * What is dear to make and the same each time (deltas, packed images), kept beside the images: with what it was made of,
 * and what making it used. Made anew when any of that changes.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { glob, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Usage } from './usage.ts';

/** Everything that decides the result: digests of images, the command, versions. */
export type Ingredients = Readonly<Record<string, string | number>>;

export interface Made {
  readonly folder: string;
  readonly usage: Usage;
}

const RECORD = 'made.json';

/** `make` fills an empty folder; its result is believed only once it ended. */
export async function madeOnce(
  folder: string,
  ingredients: Ingredients,
  make: (folder: string) => Promise<Usage>,
): Promise<Made> {
  const record = join(folder, RECORD);
  if (existsSync(record)) {
    const kept: { ingredients: Ingredients; usage: Usage } = JSON.parse(readFileSync(record, 'utf8'));
    if (JSON.stringify(kept.ingredients) === JSON.stringify(ingredients)) return { folder, usage: kept.usage };
  }
  const making = `${folder}.part`;
  await rm(making, { recursive: true, force: true });
  await mkdir(making, { recursive: true });
  const { wallS, cpuS, peakMb } = await make(making);
  const usage = { wallS, cpuS, peakMb };
  await writeFile(join(making, RECORD), JSON.stringify({ ingredients, usage }));
  await rm(folder, { recursive: true, force: true });
  await rename(making, folder);
  return { folder, usage };
}

/** Of all TypeScript under `folder`: what is made by our own code changes with it. */
export async function digestOfSources(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const paths: string[] = [];
  for await (const path of glob('**/*.ts', { cwd: folder })) paths.push(path);
  for (const path of paths.sort()) {
    hash.update(`${path}\0`).update(await readFile(join(folder, path)));
  }
  return hash.digest('hex');
}
