/** The numbers that the gate decides on, counted by the database: one reading a rollout, whatever its size. */
import { hasFailed, isOpen } from '../core/action.ts';
import { EMPTY_TALLY, type WaveTally } from '../core/gate.ts';
import type { PartState } from '../core/ports.ts';
import type { Sqlite } from './database.ts';

interface CountRow {
  readonly wave: number;
  readonly state: PartState;
  readonly attempted: number;
  readonly forgiven: number;
  readonly place_taken: number;
  readonly out_of_reach: number;
  readonly parts: number;
  readonly offered: number;
  readonly since_unix_ms: number;
}

const COUNT = `
  SELECT wave, state, attempted, forgiven, place_taken,
    state = 'waiting' AND open_unix_ms IS NOT NULL AND open_unix_ms <= ? AS out_of_reach,
    count(*) AS parts, count(offered_unix_ms) AS offered, max(state_since_unix_ms) AS since_unix_ms
  FROM parts WHERE rollout = ? GROUP BY 1, 2, 3, 4, 5, 6`;
const FAILURES = `
  SELECT device_id AS deviceId, state, detail FROM parts
  WHERE rollout = ? AND wave = ? AND attempted = 1 AND forgiven = 0
    AND state IN ('rolled-back', 'refused', 'install-failed', 'silent', 'deadline-passed')
  ORDER BY state_since_unix_ms, place_rank LIMIT 5`;

type Counts = { -readonly [Key in keyof WaveTally]: WaveTally[Key] };

/** One tally a wave, `waves` of them. */
export function tallyWaves(
  db: Sqlite,
  rollout: number,
  waves: number,
  actionTimeoutMs: number,
  nowUnixMs: number,
): WaveTally[] {
  const tallies = Array.from({ length: waves }, (): Counts => ({ ...EMPTY_TALLY }));
  for (const row of db.prepare<CountRow>(COUNT).all(nowUnixMs - actionTimeoutMs, rollout)) {
    const tally = tallies[row.wave];
    if (tally !== undefined) count(tally, row);
  }
  tallies.forEach((tally, wave) => {
    if (tally.failed > 0) tally.failures = db.prepare<WaveTally['failures'][number]>(FAILURES).all(rollout, wave);
  });
  return tallies;
}

function count(tally: Counts, row: CountRow): void {
  tally.added += row.parts;
  tally.offered += row.offered;
  if (row.attempted === 1) tally.attempted += row.parts;
  const failed = hasFailed(row.state) && row.attempted === 1;
  if (row.state === 'confirmed' || failed) {
    tally.lastSettledUnixMs = Math.max(tally.lastSettledUnixMs ?? 0, row.since_unix_ms);
    if (row.state === 'confirmed') tally.confirmed += row.parts;
    else if (row.forgiven === 1) tally.forgiven += row.parts;
    else tally.failed += row.parts;
  } else if (isOpen(row.state) || (row.state === 'waiting' && row.out_of_reach === 0)) {
    tally.pending += row.parts;
  } else {
    tally.empty += row.parts;
    if (row.place_taken === 0) tally.free += row.parts;
  }
}

/** With the waves before it. */
export function addTallies(a: WaveTally, b: WaveTally): WaveTally {
  return {
    added: a.added + b.added,
    offered: a.offered + b.offered,
    attempted: a.attempted + b.attempted,
    confirmed: a.confirmed + b.confirmed,
    failed: a.failed + b.failed,
    forgiven: a.forgiven + b.forgiven,
    pending: a.pending + b.pending,
    empty: a.empty + b.empty,
    free: a.free + b.free,
    lastSettledUnixMs: Math.max(a.lastSettledUnixMs ?? 0, b.lastSettledUnixMs ?? 0),
    failures: [...a.failures, ...b.failures].slice(0, 5),
  };
}
