import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const FOLDERS = ['trust', 'protocol', 'platform', 'agent', 'update-server', 'keys', 'emulator', 'cli', 'scripts'];

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

const CAST = /\bas\s+(?:unknown\s+as\s+)?Verified</;
const IMPORT = /from '[^']*\/verified\.ts'/;

it('only trust/ makes something Verified', () => {
  const guilty = FOLDERS.flatMap(sources).filter((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    if (path === 'trust/verified.ts') return false;
    return CAST.test(text) || (IMPORT.test(text) && !path.startsWith('trust/'));
  });
  expect(guilty).toEqual([]);
});

it('the scan would see a cast', () => {
  expect(CAST.test('const root = bytes as unknown as Verified<Root>;')).toBe(true);
  expect(IMPORT.test("import { markVerified } from '../trust/verified.ts';")).toBe(true);
});
