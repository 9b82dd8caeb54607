import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Wave } from '../../../../protocol/operator-api.ts';
import { joinsLate, orderCohort, placeOf, planWaves, waveSize } from '../../../../update-server/core/cohort.ts';

const Name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,20}$/);
const Cohort = fc.uniqueArray(Name, { minLength: 1, maxLength: 60 });
const Percent = fc.double({ min: 0.01, max: 100, noNaN: true });
const AnyWave: fc.Arbitrary<Wave> = fc.oneof(
  fc.record({ devices: fc.integer({ min: 1, max: 80 }) }),
  fc.record({ percent: Percent }),
);

const idsOf = (rollout: string, cohort: readonly string[], waves: readonly Wave[]): Set<string> =>
  new Set(planWaves(rollout, cohort, waves).map((part) => part.deviceId));

describe('a place', () => {
  it('is a fraction, the same at every look, and written down here so that it never changes between versions', () => {
    expect(placeOf('r1', 'cam-0001')).toBe(placeOf('r1', 'cam-0001'));
    expect(placeOf('r1', 'cam-0001')).not.toBe(placeOf('r2', 'cam-0001'));
    expect(orderCohort('r1', ['cam-0001', 'cam-0002', 'cam-0003', 'cam-0004'])).toEqual(
      orderCohort('r1', ['cam-0004', 'cam-0003', 'cam-0002', 'cam-0001']),
    );
    fc.assert(
      fc.property(Name, Name, (rollout, device) => {
        const place = placeOf(rollout, device);
        expect(place >= 0 && place < 1).toBe(true);
      }),
    );
  });

  it('is spread evenly', () => {
    const tenths = Array.from({ length: 10 }, () => 0);
    for (let index = 0; index < 10_000; index += 1) {
      const tenth = Math.floor(placeOf('r1', `cam-${index}`) * 10);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    for (const count of tenths) expect(Math.abs(count - 1000)).toBeLessThan(200);
  });
});

describe('waves', () => {
  it('only gain devices when a percentage is raised', () => {
    fc.assert(
      fc.property(Name, Cohort, Percent, Percent, (rollout, cohort, a, b) => {
        const fewer = idsOf(rollout, cohort, [{ percent: Math.min(a, b) }]);
        const more = idsOf(rollout, cohort, [{ percent: Math.max(a, b) }]);
        expect([...fewer].every((id) => more.has(id))).toBe(true);
      }),
    );
  });

  it('give every device at most one place, in the order of places, and a later wave holds the earlier ones', () => {
    fc.assert(
      fc.property(Name, Cohort, fc.array(AnyWave, { minLength: 1, maxLength: 6 }), (rollout, cohort, waves) => {
        const parts = planWaves(rollout, cohort, waves);
        expect(new Set(parts.map((part) => part.deviceId)).size).toBe(parts.length);
        expect(parts.map((part) => part.rank)).toEqual(parts.map((_, index) => index));
        expect(parts.map((part) => part.deviceId)).toEqual(orderCohort(rollout, cohort).slice(0, parts.length));
        waves.forEach((wave, index) => {
          const upTo = parts.filter((part) => part.wave <= index).length;
          expect(upTo).toBeGreaterThanOrEqual(waveSize(wave, cohort.length));
        });
        const largest = Math.max(...waves.map((wave) => waveSize(wave, cohort.length)));
        expect(parts.length).toBe(largest);
      }),
    );
  });

  it('hold one device at least, and all at 100 %', () => {
    expect(waveSize({ percent: 0.01 }, 8)).toBe(1);
    expect(waveSize({ percent: 25 }, 8)).toBe(2);
    expect(waveSize({ percent: 100 }, 8)).toBe(8);
    expect(waveSize({ devices: 50 }, 8)).toBe(8);
    expect(waveSize({ percent: 50 }, 0)).toBe(0);
  });

  it('take late comers by place in a last wave of a percentage, and never in one of a number', () => {
    fc.assert(
      fc.property(Name, Name, Percent, (rollout, device, percent) => {
        expect(joinsLate(rollout, device, [{ devices: 1 }, { percent: 100 }])).toBe(true);
        expect(joinsLate(rollout, device, [{ percent: 100 }, { devices: 3 }])).toBe(false);
        expect(joinsLate(rollout, device, [{ percent }])).toBe(placeOf(rollout, device) * 100 < percent);
      }),
    );
  });
});
