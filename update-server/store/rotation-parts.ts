/**
 * One device's part in rotations: asked at its poll, settled by its statement. Offline devices have an open part for as
 * long as it takes, and are asked before they get anything else. Runs within the caller's transaction.
 */
import { isRotated } from '../../protocol/credentials.ts';
import type { FirstBootWord } from '../core/credential-standing.ts';
import type { RaisedFlag } from '../core/credentials.ts';
import type { Sqlite } from './database.ts';

interface AskedRow {
  readonly rotation: number;
  readonly wave: number;
  readonly from_epoch: number | null;
}

interface OpenRow extends AskedRow {
  readonly state: 'waiting' | 'asked';
  readonly timeout_ms: number;
}

/** A paused rotation lets those go on who were asked; a halted one asks nobody. */
const OPEN_PART = `
  parts.state IN ('waiting', 'asked') AND parts.open_unix_ms IS NOT NULL
    AND (rotations.state IN ('running', 'complete') OR (rotations.state = 'paused' AND parts.state = 'asked'))`;
const OPEN = `
  SELECT parts.rotation, parts.wave, parts.state, parts.from_epoch, rotations.timeout_ms
  FROM rotation_parts AS parts JOIN rotations ON rotations.id = parts.rotation
  WHERE parts.device_id = ? AND ${OPEN_PART}`;
/**
 * Whatever became of the rotation since: who was asked may still do it. A cancelled one has called all of them off. The first
 * condition on the state is the index's, word for word: SQLite uses it for nothing else.
 */
const ASKED = `
  SELECT rotation, wave, from_epoch FROM rotation_parts
  WHERE device_id = ? AND state IN ('waiting', 'asked') AND state <> 'waiting'`;
const ASK = `
  UPDATE rotation_parts SET state = 'asked', state_since_unix_ms = @nowUnixMs, from_epoch = @epoch,
    deadline_unix_ms = @deadlineUnixMs WHERE rotation = @rotation AND device_id = @deviceId`;
const SETTLE = `
  UPDATE rotation_parts SET state = ?, state_since_unix_ms = ?, deadline_unix_ms = NULL, detail = ?
  WHERE rotation = ? AND device_id = ?`;

export interface RotationDue {
  /** The epoch that the device has to leave behind; null: nothing is owed. */
  readonly fromEpoch: number | null;
  /** Rotations whose numbers changed. */
  readonly settled: readonly number[];
}

/** At a poll. An agent without a first boot is not asked: it could not. */
export function askForRotation(
  db: Sqlite,
  deviceId: string,
  said: FirstBootWord | null,
  nowUnixMs: number,
): RotationDue {
  let fromEpoch: number | null = null;
  const settled: number[] = [];
  for (const row of said === null ? [] : db.prepare<OpenRow>(OPEN).all(deviceId)) {
    if (said === null) break;
    const from = row.from_epoch ?? said.epoch;
    if (row.state === 'waiting') {
      const deadlineUnixMs = nowUnixMs + row.timeout_ms;
      db.prepare(ASK).run({ nowUnixMs, deadlineUnixMs, epoch: said.epoch, rotation: row.rotation, deviceId });
    } else if (said.epoch > from && said.state === 'blocked') {
      settle(db, row.rotation, deviceId, 'failed', `its first boot is blocked in epoch ${said.epoch}`, nowUnixMs);
      settled.push(row.rotation);
      continue;
    }
    fromEpoch = Math.max(fromEpoch ?? 0, from);
  }
  return { fromEpoch, settled };
}

/**
 * A device that was admitted with a new key counts its epochs from one, and has made every secret anew: its first proof is
 * the rotation that it owed before. Otherwise it would be asked again and again, until it had counted as far as then. That
 * holds in a rotation that is paused or halted, too.
 */
export function countNewLifeAsRotation(db: Sqlite, deviceId: string, nowUnixMs: number): void {
  db.prepare(`
    UPDATE rotation_parts SET state = 'asked', state_since_unix_ms = @nowUnixMs, from_epoch = 0,
      deadline_unix_ms = @nowUnixMs + (SELECT timeout_ms FROM rotations WHERE id = rotation)
    WHERE device_id = @deviceId AND state IN ('waiting', 'asked') AND open_unix_ms IS NOT NULL`).run({
    nowUnixMs,
    deviceId,
  });
}

export const isRotationOwed = (db: Sqlite, deviceId: string, said: FirstBootWord | null): boolean =>
  said !== null && db.prepare(OPEN).get(deviceId) !== undefined;

/** Every device that owes a rotation, in one reading: for the whole fleet's explanations. */
export function devicesOwingRotation(db: Sqlite): ReadonlySet<string> {
  const sql = `
    SELECT DISTINCT parts.device_id FROM rotation_parts AS parts JOIN rotations ON rotations.id = parts.rotation
      JOIN devices ON devices.device_id = parts.device_id
    WHERE devices.first_boot_state IS NOT NULL AND ${OPEN_PART}`;
  return new Set(
    db
      .prepare<{ device_id: string }>(sql)
      .all()
      .map((row) => row.device_id),
  );
}

export interface StatedEpoch {
  readonly epoch: number;
  readonly state: FirstBootWord['state'];
  readonly verdict: 'proven' | 'factory' | 'flagged';
  readonly flags: readonly RaisedFlag[];
}

/**
 * By name: SQLite would take the primary key, and at each statement walk all parts that are settled already. Where the index
 * cannot be used, the statement cannot be prepared.
 */
const PENDING = `
  SELECT 1 FROM rotation_parts INDEXED BY rotation_parts_pending
  WHERE rotation = ? AND wave = ? AND state IN ('waiting', 'asked') LIMIT 1`;

/**
 * At a statement. Returns the rotations that may have to move on: by a failure, or because the wave waits for nobody any
 * more. One success among many moves nothing, and counting ten thousand devices at each would cost more than rotating.
 * Also while the rotation is paused or halted: a device states each epoch once, and its proof would not come again.
 */
export function settleRotation(db: Sqlite, deviceId: string, stated: StatedEpoch, nowUnixMs: number): number[] {
  const settled: number[] = [];
  for (const row of db.prepare<AskedRow>(ASKED).all(deviceId)) {
    if (stated.epoch <= (row.from_epoch ?? stated.epoch)) continue;
    const failure = failureOf(stated);
    if (stated.verdict !== 'proven' && failure === undefined) continue;
    const words = failure ?? `epoch ${stated.epoch} after ${row.from_epoch}`;
    settle(db, row.rotation, deviceId, failure === undefined ? 'rotated' : 'failed', words, nowUnixMs);
    if (failure !== undefined || db.prepare(PENDING).get(row.rotation, row.wave) === undefined)
      settled.push(row.rotation);
  }
  return settled;
}

/** Undefined: it is done, or still at it. */
function failureOf({ epoch, state, verdict, flags }: StatedEpoch): string | undefined {
  if (verdict === 'flagged') return flags.map(({ code, detail }) => `${code}: ${detail}`).join('; ');
  if (verdict === 'proven') return undefined;
  if (state === 'blocked') return `its first boot is blocked in epoch ${epoch}`;
  return isRotated({ epoch, state, credentials: [] }) ? `not every secret was replaced in epoch ${epoch}` : undefined;
}

function settle(
  db: Sqlite,
  rotation: number,
  deviceId: string,
  state: 'rotated' | 'failed',
  detail: string,
  nowUnixMs: number,
): void {
  db.prepare(SETTLE).run(state, nowUnixMs, detail.slice(0, 700), rotation, deviceId);
}
