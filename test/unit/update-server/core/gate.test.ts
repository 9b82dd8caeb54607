import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideGate, decideHalt, EMPTY_TALLY, type WaveTally } from '../../../../update-server/core/gate.ts';

const POLICY = { maxFailedPercent: 20, minSample: 3 };
const gate = (tally: Partial<WaveTally>, more: { soakMs?: number; behind?: number; now?: number } = {}) =>
  decideGate({ ...EMPTY_TALLY, ...tally }, POLICY, more.soakMs ?? 0, more.behind ?? 0, 'wave 1', more.now ?? 1000);

describe('the gate', () => {
  it('waits while an action is under way or a device may still poll', () => {
    expect(gate({ added: 4, attempted: 4, confirmed: 3, pending: 1 })).toMatchObject({
      decision: 'wait',
      reason: '3 of 4 devices that wave 1 added confirmed, 0 failed; waiting for 1',
    });
  });

  it('passes once every device confirmed', () => {
    expect(gate({ added: 4, attempted: 4, confirmed: 4 }).decision).toBe('pass');
  });

  it('passes with failures up to the limit, and halts above it', () => {
    const tally = { added: 5, attempted: 5, failures: [] };
    expect(gate({ ...tally, confirmed: 4, failed: 1 }).decision).toBe('pass');
    expect(gate({ ...tally, confirmed: 3, failed: 2 }).decision).toBe('halt');
  });

  it('counts failures over devices that attempted, not over those that are switched off', () => {
    const tally = { added: 100, attempted: 3, confirmed: 2, failed: 1, pending: 97 };
    expect(gate(tally).decision).toBe('halt');
  });

  it('does not halt below the minimum sample while somebody may still attempt it', () => {
    expect(gate({ added: 5, attempted: 2, failed: 1, pending: 4 }).decision).toBe('wait');
    expect(gate({ added: 2, attempted: 2, confirmed: 1, failed: 1 }).decision).toBe('halt');
    expect(gate({ added: 5, attempted: 1, failed: 1, empty: 4 }).decision).toBe('halt');
  });

  it('soaks after the last device settled', () => {
    const done = { added: 1, attempted: 1, confirmed: 1, lastSettledUnixMs: 1000 };
    expect(gate(done, { soakMs: 500, now: 1499 })).toMatchObject({ decision: 'wait' });
    expect(gate(done, { soakMs: 500, now: 1500 })).toMatchObject({ decision: 'pass' });
  });

  it('gives the place of a device out of reach to the next, and passes without it when there is none', () => {
    expect(gate({ added: 2, empty: 2, free: 2 }, { behind: 1 })).toMatchObject({ decision: 'replace', places: 1 });
    expect(gate({ added: 2, empty: 2, free: 2 }, { behind: 0 })).toMatchObject({ decision: 'pass' });
    expect(gate({ added: 2, empty: 2, free: 0, confirmed: 0 }, { behind: 4 })).toMatchObject({ decision: 'pass' });
  });

  it('does not count failures that a person has looked at', () => {
    expect(gate({ added: 2, attempted: 2, forgiven: 2 }).decision).toBe('pass');
  });

  it('names at most five devices in its reason', () => {
    const failures = Array.from({ length: 5 }, (_, index) => ({
      deviceId: `cam-${index}`,
      state: 'rolled-back' as const,
      detail: '',
    }));
    const reason = decideHalt({ ...EMPTY_TALLY, added: 9, attempted: 9, failed: 9, failures }, POLICY, 'wave 2') ?? '';
    expect(reason).toContain('9 of 9 devices that attempted it failed in wave 2 (100 %, more than the 20 % allowed)');
    expect(reason).toContain('cam-4 rolled back; and 4 more');
  });

  it('never passes while a counted share of failures is above the limit, and never waits when nothing is pending or soaking', () => {
    const Counts = fc.record({
      confirmed: fc.nat(20),
      failed: fc.nat(20),
      forgiven: fc.nat(5),
      pending: fc.nat(20),
      empty: fc.nat(10),
    });
    fc.assert(
      fc.property(
        Counts,
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 0, max: 100 }),
        (counts, minSample, limit) => {
          const { confirmed, failed, forgiven, pending, empty } = counts;
          const attempted = confirmed + failed + forgiven;
          const tally = { ...EMPTY_TALLY, ...counts, attempted, added: attempted + pending + empty };
          const { decision } = decideGate(tally, { maxFailedPercent: limit, minSample }, 0, 0, 'wave 1', 1);
          const counted = confirmed + failed;
          const tooMany = failed > 0 && (failed * 100) / counted > limit;
          if (pending === 0) expect(decision).toBe(tooMany ? 'halt' : 'pass');
          if (tooMany && counted >= minSample) expect(decision).toBe('halt');
          if (!tooMany) expect(decision).not.toBe('halt');
        },
      ),
    );
  });
});
