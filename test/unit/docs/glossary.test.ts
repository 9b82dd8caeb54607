import { describe, expect, it } from 'vitest';
import { readProjectFile } from './project-files.ts';

describe('docs/GLOSSARY.md', () => {
  it('has every word once, in alphabetical order', async () => {
    const words = [...(await readProjectFile('docs/GLOSSARY.md')).matchAll(/^\| \*\*(.+?)\*\*/gm)].map(
      ([, word = '']) => word,
    );
    expect(words.length).toBeGreaterThan(40);
    expect(words).toEqual([...new Set(words)].sort());
  });
});
