import { describe, expect, it } from 'vitest';
import { documents, readProjectFile } from './project-files.ts';

const decisions = (await documents()).filter((path) => /^docs\/adr\/\d{4}-/.test(path));

describe('docs/adr', () => {
  it('numbers decisions without a gap', () => {
    expect(decisions.map((path) => Number(path.slice(9, 13)))).toEqual(decisions.map((_, index) => index + 1));
  });

  for (const path of decisions) {
    it(`${path} says what was decided, what was rejected and why, and is listed`, async () => {
      const text = await readProjectFile(path);
      expect(text).toMatch(/^Status: /m);
      for (const heading of ['Context', 'Decision', 'Rejected', 'Consequences'])
        expect(text).toMatch(new RegExp(`^## ${heading}$`, 'm'));
      const rejected = text.split('## Rejected')[1]?.split('## Consequences')[0] ?? '';
      const items = rejected.split(/^- /m).slice(1);
      expect(items.length).toBeGreaterThan(0);
      for (const item of items) expect(item.replaceAll(/\s+/g, ' ')).toContain('rejected because');
      expect(await readProjectFile('docs/adr/README.md')).toContain(path.slice('docs/adr/'.length));
    });
  }
});
