/** Fills in the generated parts of the documents: sh scripts/with-node.sh scripts/documents.ts */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fillBlocks, GENERATED_BLOCKS } from './documents/blocks.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

for (const document of new Set(GENERATED_BLOCKS.map((block) => block.document))) {
  const path = join(ROOT, document);
  const text = await readFile(path, 'utf8');
  const filled = fillBlocks(document, text);
  if (filled !== text) await writeFile(path, filled);
  process.stdout.write(`${document}: ${filled === text ? 'stands' : 'rewritten'}\n`);
}
