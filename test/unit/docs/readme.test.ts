import { describe, expect, it } from 'vitest';
import { readProjectFile } from './project-files.ts';

describe('README.md and CONTRIBUTING.md', () => {
  for (const path of ['README.md', 'CONTRIBUTING.md']) {
    it(`${path} names only npm scripts that exist`, async () => {
      const { scripts } = JSON.parse(await readProjectFile('package.json')) as { scripts: Record<string, string> };
      const named = [...(await readProjectFile(path)).matchAll(/\bnpm (?:run )?([a-z-]+)/g)].map(
        ([, name = '']) => name,
      );
      const unknown = named.filter((name) => !['ci', 'install', 'run', 'ping'].includes(name) && !(name in scripts));
      expect(named.length).toBeGreaterThan(0);
      expect(unknown).toEqual([]);
    });
  }
});
