import { describe, expect, it } from 'vitest';
import { declaredSymbols, readProjectFile } from './project-files.ts';

const POINTER = /`([\w./-]+\.ts)` → `([\w.#-]+)`/g;
const text = await readProjectFile('docs/ARCHITECTURE.md');
const [before = '', questions = ''] = text.split(/^## Ten questions$/m);

describe('docs/ARCHITECTURE.md', () => {
  for (const [, path = '', symbol = ''] of text.matchAll(POINTER)) {
    it(`points at ${symbol} in ${path}, which exists`, async () => {
      expect(await declaredSymbols(path)).toContain(symbol);
    });
  }

  it('ends with ten questions, each answered by a path and a symbol', () => {
    const items = questions.split(/^\d+\. /m).slice(1);
    expect(items).toHaveLength(10);
    for (const item of items) {
      expect(item.split('\n')[0], item).toMatch(/\?/);
      expect(item.match(POINTER), item).not.toBeNull();
    }
  });

  it('says where to start reading, and has one picture', () => {
    expect(before).toContain('## Where to start reading');
    expect(text.match(/!\[|```mermaid/g)).toHaveLength(1);
  });
});
