/** The numbers that the gate decides on, for a rotation's waves: one reading a rotation, whatever its size. */
import { EMPTY_TALLY, type WaveTally } from '../core/gate.ts';
import type { Sqlite } from './database.ts';

interface CountRow {
  readonly wave: number;
  readonly state: 'waiting' | 'asked' | 'rotated' | 'failed' | 'called-off';
  readonly forgiven: number;
  readonly place_taken: number;
  readonly out_of_reach: number;
  readonly parts: number;
  readonly since_unix_ms: number;
}

const COUNT = `
  SELECT wave, state, forgiven, place_taken,
    state = 'waiting' AND open_unix_ms IS NOT NULL AND open_unix_ms <= ? AS out_of_reach,
    count(*) AS parts, max(state_since_unix_ms) AS since_unix_ms
  FROM rotation_parts WHERE rotation = ? GROUP BY 1, 2, 3, 4, 5`;
const FAILURES = `
  SELECT device_id AS deviceId, state, detail FROM rotation_parts
  WHERE rotation = ? AND wave = ? AND state = 'failed' AND forgiven = 0 ORDER BY state_since_unix_ms, place_rank LIMIT 5`;

type Counts = { -readonly [Key in keyof WaveTally]: WaveTally[Key] };

/** A device that was not seen for `timeoutMs` after its wave opened is out of reach: it holds no place. */
export function tallyRotation(
  db: Sqlite,
  rotation: number,
  waves: number,
  timeoutMs: number,
  nowUnixMs: number,
): WaveTally[] {
  const tallies = Array.from({ length: waves }, (): Counts => ({ ...EMPTY_TALLY }));
  for (const row of db.prepare<CountRow>(COUNT).all(nowUnixMs - timeoutMs, rotation)) {
    const tally = tallies[row.wave];
    if (tally !== undefined) count(tally, row);
  }
  tallies.forEach((tally, wave) => {
    if (tally.failed > 0) tally.failures = db.prepare<WaveTally['failures'][number]>(FAILURES).all(rotation, wave);
  });
  return tallies;
}

function count(tally: Counts, row: CountRow): void {
  tally.added += row.parts;
  if (row.state === 'waiting' || row.state === 'called-off') {
    if (row.state === 'waiting' && row.out_of_reach === 0) tally.pending += row.parts;
    else {
      tally.empty += row.parts;
      if (row.place_taken === 0) tally.free += row.parts;
    }
    return;
  }
  tally.offered += row.parts;
  tally.attempted += row.parts;
  if (row.state === 'asked') tally.pending += row.parts;
  else {
    tally.lastSettledUnixMs = Math.max(tally.lastSettledUnixMs ?? 0, row.since_unix_ms);
    if (row.state === 'rotated') tally.confirmed += row.parts;
    else if (row.forgiven === 1) tally.forgiven += row.parts;
    else tally.failed += row.parts;
  }
}
