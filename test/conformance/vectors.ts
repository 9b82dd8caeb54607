/**
 * Finds public test vectors, which lie beside the project and not in it: HOLDFAST_VECTORS, or ../shared/vectors from
 * the project's root. Where they are absent, a suite says so loudly and why, and is counted as skipped, never as passed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, it } from 'vitest';

const PROJECT_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const VECTORS_DIRECTORY = resolve(process.env.HOLDFAST_VECTORS ?? join(PROJECT_ROOT, '../shared/vectors'));

/** Counts by outcome, printed in one line at the end of a suite. */
export class Counts {
  readonly #counts = new Map<string, number>();

  add(outcome: string, cases = 1): void {
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + cases);
  }

  of(outcome: string): number {
    return this.#counts.get(outcome) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, cases) => sum + cases, 0);
  }

  toString(): string {
    return [...this.#counts].map(([outcome, cases]) => `${cases} ${outcome}`).join(', ');
  }
}

/** A suite over the folder `folder` of the vectors; skipped, loudly, when that folder is not there. */
export function describeVectors(suite: string, folder: string, body: (path: string, counts: Counts) => void): void {
  const path = join(VECTORS_DIRECTORY, folder);
  if (!existsSync(path)) {
    console.log(`${suite}: SKIPPED, no vectors at ${path}; set HOLDFAST_VECTORS to the folder that holds ${folder}/`);
    describe(suite, () => it.skip(`no vectors at ${path}`, () => undefined));
    return;
  }
  const counts = new Counts();
  describe(suite, () => {
    body(path, counts);
    afterAll(() => console.log(`${suite}: ${counts.total} cases, ${counts}`));
  });
}

export function readJson(...path: readonly string[]): unknown {
  return JSON.parse(readFileSync(join(...path), 'utf8'));
}

export function readBytes(...path: readonly string[]): Uint8Array {
  return new Uint8Array(readFileSync(join(...path)));
}

/** File names of one ending, sorted. */
export function filesOf(path: string, ending: string): string[] {
  return readdirSync(path)
    .filter((name) => name.endsWith(ending))
    .sort();
}

export function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.trim(), 'hex'));
}
