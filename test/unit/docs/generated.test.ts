import { describe, expect, it } from 'vitest';
import { fillBlocks, GENERATED_BLOCKS } from '../../../scripts/documents/blocks.ts';
import { readProjectFile } from './project-files.ts';

describe('generated parts of documents', () => {
  for (const document of new Set(GENERATED_BLOCKS.map((block) => block.document))) {
    it(`${document} says what the code says (else: sh scripts/with-node.sh scripts/documents.ts)`, async () => {
      const text = await readProjectFile(document);
      expect(text).toBe(fillBlocks(document, text));
    });
  }

  it('has no empty table', () => {
    for (const block of GENERATED_BLOCKS) expect(block.render().split('\n').length, block.name).toBeGreaterThan(2);
  });
});
