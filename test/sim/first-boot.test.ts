/**
 * A sample of `npm run sim -- --first-boot`: a life from the factory to another board, cut at every operation, and a
 * share of the pairs. And the proof that it bites: each sync taken away, and escrow and apply swapped.
 */
import { describe, expect, it } from 'vitest';
import { EveryCut } from './first-boot/every-cut.ts';
import { tryFaults } from './first-boot/faults.ts';
import { tryRemovals } from './first-boot/removals.ts';

const SEED = Number(process.env.HOLDFAST_SEED ?? '1');
/** So that the sample takes some seconds. */
const SHARE = 0.002;
const ONE_FAULT_OF = 23;

describe('the first boot', () => {
  it('ends open at every cut of a life, with nothing of the factory and everything in escrow', async () => {
    const counts = await new EveryCut({ seed: SEED, share: SHARE }).run();
    expect(counts.cuts).toBeGreaterThan(3000);
    expect(counts.pairs).toBeGreaterThan(500);
  });

  it('opens or stays closed on a disk that fails once, and ends well on the next boot', async () => {
    const { faults, closed } = await tryFaults(ONE_FAULT_OF);
    expect(closed).toBeGreaterThan(50);
    expect(faults).toBeGreaterThan(closed);
  });

  it('fails when any one sync is taken away, when escrow and apply are swapped, or when a boot does not reconcile', async () => {
    const removed = await tryRemovals(SEED, () => {});
    expect(removed.length).toBeGreaterThan(12);
    expect(removed.filter(({ noticedBy }) => noticedBy === '').map(({ what }) => what)).toEqual([]);
  });
});
