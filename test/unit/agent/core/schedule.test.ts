import { describe, expect, it } from 'vitest';
import { fractionOf, retryDelayMs } from '../../../../agent/core/schedule.ts';

const POLICY = { baseMs: 1000, capMs: 60_000 };

describe('pauses after failures', () => {
  it('double up to the cap, and stay there', () => {
    const ceilings = [1, 2, 3, 7, 50, 5000].map((attempt) => retryDelayMs(POLICY, attempt, 1 - 2 ** -32));
    expect(ceilings).toEqual([1000, 2000, 4000, 60_000, 60_000, 60_000]);
  });

  it('are spread over the upper half by the random fraction', () => {
    expect(retryDelayMs(POLICY, 3, 0)).toBe(2000);
    expect(retryDelayMs(POLICY, 3, 0.5)).toBe(3000);
  });

  it('draw a fraction in [0, 1) from four bytes', () => {
    expect(fractionOf(new Uint8Array(4))).toBe(0);
    expect(fractionOf(new Uint8Array([128, 0, 0, 0]))).toBe(0.5);
    expect(fractionOf(new Uint8Array([255, 255, 255, 255]))).toBeLessThan(1);
  });
});
