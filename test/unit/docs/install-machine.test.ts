import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { DOCUMENT, installMachineDocument } from '../../../scripts/generate-install-machine.ts';

describe('docs/INSTALL_MACHINE.md', () => {
  it('is what the tables say', async () => {
    const cure = 'run: sh scripts/with-node.sh scripts/generate-install-machine.ts';
    expect(await readFile(DOCUMENT, 'utf8'), cure).toBe(await installMachineDocument());
  });
});
