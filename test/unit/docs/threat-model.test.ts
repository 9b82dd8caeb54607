import { describe, expect, it } from 'vitest';
import { readProjectFile, textsOf } from './project-files.ts';

/** `test/unit/x.test.ts` "the name of a test, or of a row in its table". */
const PROOF = /`((?:test|scripts)\/[\w./-]+\.ts)` "([^"]+)"/g;
const text = await readProjectFile('docs/THREAT_MODEL.md');
const [defended = '', notDefended = ''] = text.split(/^## Not defended$/m);

function rows(section: string): string[][] {
  return section
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\|\s*(---|attacker)/.test(line))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

describe('docs/THREAT_MODEL.md', () => {
  for (const [, path = '', name = ''] of text.matchAll(PROOF)) {
    it(`${path} proves: ${name}`, async () => {
      expect(
        (await textsOf(path)).some((each) => each.includes(name)),
        `no test or table row of that name`,
      ).toBe(true);
    });
  }

  it('names for each attack the capability, the defence and the test that proves it', () => {
    expect(rows(defended).length).toBeGreaterThan(10);
    for (const row of rows(defended)) {
      expect(row, row.join(' | ')).toHaveLength(4);
      expect(row[3]?.match(PROOF), row.join(' | ')).not.toBeNull();
    }
  });

  it('says what is not defended', () => {
    expect(notDefended.match(/^- /gm)?.length ?? 0).toBeGreaterThan(4);
  });
});
