/**
 * Keys that proved a claim which another key had used before: a card on another board, copies of it on several, a board
 * that was flashed anew, or somebody who knows the claim's secret. Each waits for a person; nothing changes for the key that
 * is in use until then, and no key takes another's place in the row. Runs within the caller's transaction.
 */
import type { DeviceCredentials } from '../../protocol/operator-api.ts';
import type { Actor, Store } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';

/** The device asks again by itself within minutes; who does not is somebody else. */
const APPROVAL_LIFE_MS = 7 * 24 * 3600 * 1000;
/** Of one claim. A card that was copied comes with a key from each board; beyond so many the oldest make room. */
const KEYS_PER_CLAIM = 32;

interface WaitingRow {
  readonly key_sha256: string;
  readonly asked_unix_ms: number;
  readonly approved_unix_ms: number | null;
}

const FIND = 'SELECT * FROM re_enrolments WHERE device_id = ? AND key_sha256 = ?';
const KEEP =
  'INSERT INTO re_enrolments (device_id, key_sha256, asked_unix_ms, approved_unix_ms) VALUES (?, ?, ?, NULL)';
/** Never the one that a person has approved. */
const PRUNE = `
  DELETE FROM re_enrolments WHERE device_id = @deviceId AND approved_unix_ms IS NULL AND id <= (
    SELECT id FROM re_enrolments WHERE device_id = @deviceId ORDER BY id DESC LIMIT 1 OFFSET ${KEYS_PER_CLAIM})`;
const WAITING = 'SELECT * FROM re_enrolments WHERE device_id = ? AND approved_unix_ms IS NULL ORDER BY id';

const find = (db: Sqlite, deviceId: string, keySha256: string): WaitingRow | undefined =>
  db.prepare<WaitingRow>(FIND).get(deviceId, keySha256);

/** False: it waits already. */
export function keepWaitingKey(db: Sqlite, deviceId: string, keySha256: string, nowUnixMs: number): boolean {
  if (find(db, deviceId, keySha256) !== undefined) return false;
  db.prepare(KEEP).run(deviceId, keySha256, nowUnixMs);
  db.prepare(PRUNE).run({ deviceId });
  return true;
}

/** Uses an approval up. One that came too late makes the key wait again. */
export function takeApprovedKey(db: Sqlite, deviceId: string, keySha256: string, nowUnixMs: number): boolean {
  const approvedUnixMs = find(db, deviceId, keySha256)?.approved_unix_ms ?? null;
  if (approvedUnixMs === null) return false;
  db.prepare('DELETE FROM re_enrolments WHERE device_id = ? AND key_sha256 = ?').run(deviceId, keySha256);
  return approvedUnixMs + APPROVAL_LIFE_MS > nowUnixMs;
}

/** Those about which no person has decided, oldest first. */
export function waitingKeysOf(db: Sqlite, deviceId: string): DeviceCredentials['waitingKeys'] {
  const rows = db.prepare<WaitingRow>(WAITING).all(deviceId);
  return rows.map(({ key_sha256, asked_unix_ms }) => ({ keySha256: key_sha256, sinceUnixMs: asked_unix_ms }));
}

export function approveKey(
  db: Sqlite,
  approval: { readonly deviceId: string; readonly value: string | null; readonly why: string },
  actor: Actor,
  nowUnixMs: number,
): Awaited<ReturnType<Store['approveDevice']>> {
  const { deviceId, value, why } = approval;
  const waiting = waitingKeysOf(db, deviceId).map(({ keySha256 }) => keySha256);
  if (waiting.length === 0) return 'nothing-to-approve';
  if (value === null || !waiting.includes(value)) return 'says-otherwise';
  // One key takes the place: who was approved before and has not come is not the right one any more.
  db.prepare('UPDATE re_enrolments SET approved_unix_ms = NULL WHERE device_id = ?').run(deviceId);
  db.prepare('UPDATE re_enrolments SET approved_unix_ms = ? WHERE device_id = ? AND key_sha256 = ?').run(
    nowUnixMs,
    deviceId,
    value,
  );
  const detail = `key ${value.slice(0, 12)} takes the place of the one in use: ${why}`;
  appendAudit(db, { actor, action: 'device.approve', subject: deviceId, detail }, nowUnixMs);
  addDeviceEvent(db, deviceId, nowUnixMs, 'approved', detail);
  return 'approved';
}
