/**
 * How much of a period's budget is used, also when the clock is wrong, jumps, or is not there.
 *
 * Invariants: a new period begins only when the clock is synchronised and shows a later one, or, without a clock, when
 * the device has run for a whole period. A clock that goes back, or comes to itself, never gives a second budget; one
 * that once ran ahead does not close the device off until that date.
 */
export type BudgetPeriod = 'day' | 'month';

export interface BudgetUse {
  /** `2026-11-24`, `2026-11` (UTC); empty while no clock has ever said. */
  readonly period: string;
  readonly usedBytes: number;
}

const DAY_MS = 86_400_000;

/** Milliseconds of running after which a device without a clock begins a new period. */
export function periodLengthMs(period: BudgetPeriod): number {
  return period === 'day' ? DAY_MS : 31 * DAY_MS;
}

export function useNow(
  use: BudgetUse,
  period: BudgetPeriod,
  now: { readonly wallUnixMs: number | undefined; readonly ranMs: number },
): BudgetUse {
  if (now.wallUnixMs === undefined) return now.ranMs < periodLengthMs(period) ? use : { ...use, usedBytes: 0 };
  const present = new Date(now.wallUnixMs).toISOString().slice(0, period === 'day' ? 10 : 7);
  if (present === use.period) return use;
  // From then on the new name binds: what was recorded under a later one, or under none, counts for this one.
  return { period: present, usedBytes: use.period !== '' && present > use.period ? 0 : use.usedBytes };
}
