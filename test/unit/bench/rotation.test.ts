/** What the rotation's benchmark concludes from its counts, and the turns that its clients take. */
import { describe, expect, it } from 'vitest';
import { findingsOf } from '../../bench/rotate-bench.ts';
import type { RotationFigures } from '../../bench/rotation/run.ts';
import { Turnstile } from '../../bench/rotation/turnstile.ts';

const GOOD: RotationFigures = {
  devices: 100,
  online: 95,
  away: 5,
  rotatedS: Array.from({ length: 95 }, (_, at) => at + 1),
  returnedS: [1, 2, 3, 4, 5],
  gapS: [1],
  cuts: 1,
  bringUpS: 10,
  bringUpServerCpuS: 1,
  requests: 950,
  serverCpuS: 9.5,
  clientsCpuS: 19,
  serverPeakMb: 100,
  pollMs: [1, 2, 3],
  longestTurnS: 0,
  statusS: [1],
  failures: new Map([['away', 2]]),
  opened: 200,
  lockedOut: 0,
  formerAccepted: 0,
  offeredBefore: 0,
  offeredAfter: 5,
  proven: 100,
  factory: 0,
  auditEntries: 7,
  fetched: 3,
};
const met = (figures: RotationFigures): boolean[] => findingsOf(figures, undefined).ratios.map((one) => one.met);
const figureOf = (name: string): number | undefined =>
  findingsOf(GOOD, undefined).rows.find((row) => row.name === name)?.median;

describe('the rotation’s figures', () => {
  it('say when half, most and all of those that are online had rotated', () => {
    expect(figureOf('rotated, 50 % of those that are online')).toBe(48);
    expect(figureOf('rotated, 95 % of those that are online')).toBe(91);
    expect(figureOf('rotated, all that are online')).toBe(95);
    expect(figureOf('requests a second')).toBe(10);
  });

  it('meet every aim when nobody is locked out, served too early or left behind', () => {
    expect(met(GOOD)).toEqual([true, true, true, true, true, true]);
  });

  it.each([
    { rotatedS: [3601] },
    { lockedOut: 1 },
    { formerAccepted: 1 },
    { offeredBefore: 1 },
    { offeredAfter: 4 },
    { proven: 99 },
  ])('miss one aim for %j', (found) => {
    expect(met({ ...GOOD, ...found }).filter((one) => !one)).toHaveLength(1);
  });

  it('stand beside those of another size', () => {
    const small = { machine: { cpu: '', cores: 1, memoryMb: 1, system: '' }, versions: {}, ratios: [] };
    const rows = findingsOf({ ...GOOD, devices: 10, rotatedS: [10, 50] }, undefined).rows;
    const { ratios } = findingsOf(GOOD, { ...small, rows });
    expect(ratios.at(-1)).toMatchObject({ name: expect.stringContaining('100 devices / 10 devices'), value: 1.9 });
  });
});

describe('a turnstile', () => {
  it('lets no more in than it has places, and first those that are in the middle of something', async () => {
    const turnstile = new Turnstile(1);
    const order: string[] = [];
    let leave = (): void => {};
    const held = turnstile.pass(() => new Promise<void>((done) => (leave = done)));
    const others = [
      turnstile.pass(async () => order.push('other')),
      turnstile.pass(async () => order.push('first'), true),
    ];
    await Promise.resolve();
    expect(order).toEqual([]);
    leave();
    await Promise.all([held, ...others]);
    expect(order).toEqual(['first', 'other']);
    expect(turnstile.longestWaitMs).toBeGreaterThan(0);
  });

  it('is open for the next one after a failure', async () => {
    const turnstile = new Turnstile(1);
    await expect(turnstile.pass(async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await turnstile.pass(async () => 'in')).toBe('in');
  });
});
