/**
 * A key that proved a claim which another key had used before: a card on another board, a board that was flashed anew, or
 * somebody who knows the claim's secret. It waits for a person; nothing changes for the key that is in use until then.
 * Runs within the caller's transaction.
 */
import type { DeviceCredentials } from '../../protocol/operator-api.ts';
import type { Actor, Store } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';

/** The device asks again by itself within minutes; who does not is somebody else. */
const APPROVAL_LIFE_MS = 7 * 24 * 3600 * 1000;

interface WaitingRow {
  readonly key_sha256: string;
  readonly asked_unix_ms: number;
  readonly approved_unix_ms: number | null;
}

const find = (db: Sqlite, deviceId: string): WaitingRow | undefined =>
  db.prepare<WaitingRow>('SELECT * FROM re_enrolments WHERE device_id = ?').get(deviceId);

/** False: it waits already. Another key takes the place, and an approval of the one before does not go over to it. */
export function keepWaitingKey(db: Sqlite, deviceId: string, keySha256: string, nowUnixMs: number): boolean {
  if (find(db, deviceId)?.key_sha256 === keySha256) return false;
  db.prepare(`
    INSERT OR REPLACE INTO re_enrolments (device_id, key_sha256, asked_unix_ms, approved_unix_ms)
    VALUES (?, ?, ?, NULL)`).run(deviceId, keySha256, nowUnixMs);
  return true;
}

/** Uses an approval up. */
export function takeApprovedKey(db: Sqlite, deviceId: string, keySha256: string, nowUnixMs: number): boolean {
  const row = find(db, deviceId);
  if (row?.key_sha256 !== keySha256 || row.approved_unix_ms === null) return false;
  if (row.approved_unix_ms + APPROVAL_LIFE_MS <= nowUnixMs) return false;
  db.prepare('DELETE FROM re_enrolments WHERE device_id = ?').run(deviceId);
  return true;
}

/** Null: none waits, or a person has decided. */
export function waitingKeyOf(db: Sqlite, deviceId: string): DeviceCredentials['waitingKey'] {
  const row = find(db, deviceId);
  if (row === undefined || row.approved_unix_ms !== null) return null;
  return { keySha256: row.key_sha256, sinceUnixMs: row.asked_unix_ms };
}

export function approveKey(
  db: Sqlite,
  approval: { readonly deviceId: string; readonly value: string | null; readonly why: string },
  actor: Actor,
  nowUnixMs: number,
): Awaited<ReturnType<Store['approveDevice']>> {
  const { deviceId, value, why } = approval;
  const waiting = waitingKeyOf(db, deviceId);
  if (waiting === null) return 'nothing-to-approve';
  if (waiting.keySha256 !== value) return 'says-otherwise';
  db.prepare('UPDATE re_enrolments SET approved_unix_ms = ? WHERE device_id = ?').run(nowUnixMs, deviceId);
  const detail = `key ${value.slice(0, 12)} takes the place of the one in use: ${why}`;
  appendAudit(db, { actor, action: 'device.approve', subject: deviceId, detail }, nowUnixMs);
  addDeviceEvent(db, deviceId, nowUnixMs, 'approved', detail);
  return 'approved';
}
