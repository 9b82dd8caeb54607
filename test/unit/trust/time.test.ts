import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeTufDate, encodeTufDate, hasExpired, judgeTime, raiseTimeFloor } from '../../../trust/time.ts';

const seconds = () => fc.integer({ min: 0, max: 253_402_300_799 });

describe('TUF dates', () => {
  it('are read back as they were written', () => {
    fc.assert(
      fc.property(seconds(), (unixS) => {
        expect(decodeTufDate(encodeTufDate(unixS))).toBe(unixS);
      }),
    );
    expect(encodeTufDate(0)).toBe('1970-01-01T00:00:00Z');
    expect(encodeTufDate(1.9)).toBe('1970-01-01T00:00:01Z');
  });

  it.each([
    ...['2026-02-30T00:00:00Z', '2026-13-01T00:00:00Z', '2026-01-01T24:00:00Z', '2026-01-01T00:00:60Z'],
    ...[
      '2026-01-01T00:00:00',
      '2026-01-01T00:00:00+00:00',
      '2026-01-01T00:00:00.000Z',
      '2026-01-01',
      ' 2026-01-01T00:00:00Z',
    ],
    ...['2026-1-1T00:00:00Z', '2026-01-01t00:00:00z', '', '٢٠٢٦-01-01T00:00:00Z', '2026-01-01T00:00:00Z\n'],
  ])('refuses %j', (text) => {
    expect(decodeTufDate(text)).toBeUndefined();
  });

  it('throws beyond the year 9999', () => {
    expect(() => encodeTufDate(253_402_300_800)).toThrow(RangeError);
  });
});

describe('judging', () => {
  it('takes the later of floor and clock', () => {
    expect(judgeTime({ floorUnixS: 5, synchronisedUnixS: 9 })).toEqual({ nowUnixS: 9, synchronised: true });
    expect(judgeTime({ floorUnixS: 9, synchronisedUnixS: 5 })).toEqual({ nowUnixS: 9, synchronised: true });
    expect(judgeTime({ floorUnixS: 5, synchronisedUnixS: undefined })).toEqual({ nowUnixS: 5, synchronised: false });
  });

  it('has expired at the second of expiry', () => {
    const now = { nowUnixS: 100, synchronised: true };
    expect([99, 100, 101].map((expires) => hasExpired(expires, now))).toEqual([true, true, false]);
  });
});

describe('the time floor', () => {
  it('never falls, and signed time never lifts it past the expiry of the root', () => {
    fc.assert(
      fc.property(seconds(), seconds(), seconds(), (floorUnixS, signedUnixS, rootExpiresUnixS) => {
        const raised = raiseTimeFloor({ floorUnixS, signedUnixS, rootExpiresUnixS });
        expect(raised).toBeGreaterThanOrEqual(floorUnixS);
        expect(raised).toBeLessThan(Math.max(floorUnixS + 1, rootExpiresUnixS));
      }),
    );
    expect(raiseTimeFloor({ floorUnixS: 1, signedUnixS: 5, rootExpiresUnixS: 9 })).toBe(5);
    expect(raiseTimeFloor({ floorUnixS: 1, signedUnixS: 99, rootExpiresUnixS: 9 })).toBe(8);
  });

  it('never makes the root expire by itself, however far the signed date lies ahead', () => {
    const floorUnixS = raiseTimeFloor({ floorUnixS: 1, signedUnixS: 99, rootExpiresUnixS: 9 });
    expect(hasExpired(9, judgeTime({ floorUnixS, synchronisedUnixS: undefined }))).toBe(false);
  });
});
