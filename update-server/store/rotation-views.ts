/** What people see of rotations. Reads only, within the caller's transaction. */
import type { RotationDetail, RotationPart, RotationView, Wave, WaveView } from '../../protocol/operator-api.ts';
import { EMPTY_TALLY } from '../core/gate.ts';
import type { Sqlite } from './database.ts';
import { tallyRotation } from './rotation-tally.ts';
import {
  findRotationRow,
  type RotationRow,
  type RotationWaveRow,
  rotationName,
  rotationNumber,
  rotationWaves,
} from './rotations.ts';
import { addTallies } from './wave-tally.ts';

/** Newest first. */
export function listRotations(db: Sqlite, nowUnixMs: number): RotationView[] {
  return db
    .prepare<RotationRow>('SELECT * FROM rotations ORDER BY id DESC')
    .all()
    .map((row) => viewOf(db, row, nowUnixMs));
}

const PARTS = `
  SELECT device_id AS deviceId, wave, state, state_since_unix_ms AS sinceUnixMs, detail
  FROM rotation_parts WHERE rotation = ? ORDER BY place_rank`;

export function findRotation(db: Sqlite, rotationId: string, nowUnixMs: number): RotationDetail | undefined {
  const row = findRotationRow(db, rotationNumber(rotationId));
  if (row === undefined) return undefined;
  return { rotation: viewOf(db, row, nowUnixMs), parts: db.prepare<RotationPart>(PARTS).all(row.id) };
}

function viewOf(db: Sqlite, row: RotationRow, nowUnixMs: number): RotationView {
  const rows = rotationWaves(db, row.id);
  const tallies = tallyRotation(db, row.id, rows.length, row.timeout_ms, nowUnixMs);
  let total = EMPTY_TALLY;
  const waves = rows.map((wave, index): WaveView => {
    total = addTallies(total, tallies[index] ?? EMPTY_TALLY);
    const { added, offered, attempted, confirmed, failed, forgiven } = total;
    return {
      wave: JSON.parse(wave.wave) as Wave,
      state: waveState(row, wave),
      ...{ devices: added, offered, attempted, confirmed, failed: failed + forgiven },
      openedUnixMs: wave.opened_unix_ms,
    };
  });
  return {
    rotationId: rotationName(row.id),
    state: row.state,
    reason: row.reason.slice(0, 1024),
    why: row.why,
    waves,
    devices: total.added,
    rotated: total.confirmed,
    failed: total.failed + total.forgiven,
    maxFailedPercent: row.max_failed_percent,
    minSample: row.min_sample,
    timeoutMs: row.timeout_ms,
    createdUnixMs: row.created_unix_ms,
    createdBy: row.created_by,
  };
}

function waveState(rotation: RotationRow, wave: RotationWaveRow): WaveView['state'] {
  if (wave.passed_unix_ms !== null) return 'passed';
  if (wave.opened_unix_ms === null) return 'waiting';
  return rotation.state === 'halted' ? 'halted' : 'open';
}
