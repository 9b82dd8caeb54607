import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { DOCUMENT, firstBootMachineDocument } from '../../../scripts/generate-first-boot-machine.ts';

describe('docs/FIRST_BOOT_MACHINE.md', () => {
  it('is what the table says', async () => {
    const cure = 'run: sh scripts/with-node.sh scripts/generate-first-boot-machine.ts';
    expect(await readFile(DOCUMENT, 'utf8'), cure).toBe(await firstBootMachineDocument());
  });
});
