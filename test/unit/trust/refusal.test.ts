import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { REFUSAL_CODES } from '../../../trust/refusal.ts';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

function textOf(folder: string, ending: string): string {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending) && entry.name !== 'refusal.test.ts')
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
    .join('\n');
}

const SOURCE = textOf('trust', '.ts');
const TESTS = textOf('test/unit/trust', '.test.ts');
const FORMATS = readFileSync(join(ROOT, 'docs/FORMATS.md'), 'utf8');
const GIVEN = REFUSAL_CODES.filter((code) => new RegExp(`refuse\\(\\s*'${code}'`).test(SOURCE));

describe('refusals', () => {
  it('trust/ gives most of them', () => {
    expect(GIVEN.length).toBeGreaterThan(30);
  });

  it.each(GIVEN)('%s is provoked by a test', (code) => {
    expect(TESTS).toContain(`'${code}'`);
  });

  it.each(REFUSAL_CODES)('%s has its row in docs/FORMATS.md', (code) => {
    expect(FORMATS).toMatch(new RegExp(`^\\| \`${code}\` \\|`, 'm'));
  });
});
