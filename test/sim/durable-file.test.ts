/**
 * What the storage code promises of single files (crash-everywhere/store-scenarios.ts), cut at every operation. And the
 * proof that the test bites: each sync taken away in turn breaks a promise.
 */
import { describe, expect, it } from 'vitest';
import { STORE_SCENARIOS, syncsOf, tryStore } from './crash-everywhere/store-scenarios.ts';
import type { SimulatedDisk } from './simulated-disk.ts';

const REPLAY = 'replay: npx vitest run test/sim/durable-file.test.ts -t';

for (const scenario of STORE_SCENARIOS) {
  describe(scenario.name, () => {
    it('leaves the old or the new, whole, at every cut, and the new once it returned', async () => {
      expect((await tryStore(scenario)).broken, `${REPLAY} '${scenario.name}'`).toEqual([]);
    });

    if (scenario.madeOfOthers) return;
    it('breaks that promise when any one of its syncs is taken away', async () => {
      const syncs = await syncsOf(scenario);
      // The folder of a two-copy record changes only when a copy is made; later syncs of it are a belt on braces.
      const needed = syncs.filter(({ text }) => !(scenario.name.includes('older copy') && text.startsWith('syncdir')));
      expect(needed.length).toBeGreaterThan(0);
      for (const sync of needed) {
        const alter = (disk: SimulatedDisk) => {
          disk.ignoresSync = ({ number }) => number === sync.number;
        };
        expect((await tryStore(scenario, { alter })).broken, `without ${sync.text}`).not.toEqual([]);
      }
    });
  });
}
