import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countersAfterConfirm, decideSequence, slotReachesFloor } from '../../../trust/counter.ts';
import { codeOf } from './release-fixture.ts';

const count = () => fc.nat(1000);

describe('decideSequence', () => {
  it.each([
    [{ installedSequence: 4, floorSequence: 2 }, 3, 'sequence-not-newer'],
    [{ installedSequence: 4, floorSequence: 2 }, 4, 'sequence-not-newer'],
    [{ installedSequence: 4, floorSequence: 2 }, 5, 'accepted'],
    [{ installedSequence: 4, floorSequence: 7 }, 6, 'sequence-below-floor'],
    [{ installedSequence: 4, floorSequence: 7 }, 7, 'accepted'],
    [{ installedSequence: 4, floorSequence: 7 }, 3, 'sequence-not-newer'],
  ])('%o and sequence %i: %s', (counters, sequence, code) => {
    expect(codeOf(decideSequence(counters, sequence))).toBe(code);
  });
});

describe('after a confirmed boot', () => {
  it('neither counter falls, whatever was confirmed', () => {
    fc.assert(
      fc.property(count(), count(), count(), count(), (installedSequence, floorSequence, sequence, floor) => {
        const before = { installedSequence, floorSequence };
        const after = countersAfterConfirm(before, { sequence, floorSequence: floor });
        expect(after.installedSequence).toBe(Math.max(installedSequence, sequence));
        expect(after.floorSequence).toBeGreaterThanOrEqual(floorSequence);
        // A release never takes itself out of the boot order.
        expect(after.floorSequence).toBeLessThanOrEqual(Math.max(floorSequence, sequence));
        expect(codeOf(decideSequence(after, sequence))).toBe('sequence-not-newer');
      }),
    );
  });
});

it('a slot below the floor may not be booted', () => {
  expect([1, 2, 3].map((sequence) => slotReachesFloor(sequence, 2))).toEqual([false, true, true]);
});
