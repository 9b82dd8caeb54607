import { describe, expect, it } from 'vitest';
import { periodLengthMs, useNow } from '../../../../agent/core/budget.ts';

const at = (iso: string | undefined, ranMs = 0) => ({
  wallUnixMs: iso === undefined ? undefined : Date.parse(iso),
  ranMs,
});
const NOVEMBER = { period: '2026-11', usedBytes: 100 };

describe('the use of a budget', () => {
  it.each([
    ['stays within the period', '2026-11-30T23:59:59Z', NOVEMBER],
    ['begins anew in the next', '2026-12-01T00:00:00Z', { period: '2026-12', usedBytes: 0 }],
    ['is not given twice when the clock goes back', '2026-10-31T12:00:00Z', { period: '2026-10', usedBytes: 100 }],
    ['stays without a clock', undefined, NOVEMBER],
  ])('%s', (_, iso, expected) => {
    expect(useNow(NOVEMBER, 'month', at(iso))).toEqual(expected);
  });

  it('does not lock a device out until the date of a clock that ran ahead', () => {
    const ahead = { period: '2099-01', usedBytes: 100 };
    const back = useNow(ahead, 'month', at('2026-11-24T00:00:00Z'));
    expect(back).toEqual({ period: '2026-11', usedBytes: 100 });
    expect(useNow(back, 'month', at('2026-12-01T00:00:00Z'))).toEqual({ period: '2026-12', usedBytes: 0 });
  });

  it('counts what was used before the clock came to itself', () => {
    const before = { period: '', usedBytes: 100 };
    expect(useNow(before, 'day', at('2026-11-24T10:00:00Z'))).toEqual({ period: '2026-11-24', usedBytes: 100 });
  });

  it('without a clock, begins anew after a whole period of running', () => {
    expect(useNow(NOVEMBER, 'day', at(undefined, periodLengthMs('day') - 1))).toEqual(NOVEMBER);
    expect(useNow(NOVEMBER, 'day', at(undefined, periodLengthMs('day')))).toEqual({ ...NOVEMBER, usedBytes: 0 });
  });
});
