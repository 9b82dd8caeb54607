/** A device's history: what it reported and what the server did about it. Runs within the caller's transaction. */
import type { DeviceEvent } from '../../protocol/operator-api.ts';
import { oneLine } from './audit-log.ts';
import type { Sqlite } from './database.ts';

/** A device keeps this many events; older ones make room. */
const EVENTS_PER_DEVICE = 1000;
const EVENTS_PER_VIEW = 200;
const TEXT_CAP_CHARACTERS = 1024;

const INSERT = `
  INSERT INTO device_events (device_id, at_unix_ms, report_epoch, report_sequence, digest, kind, text)
  VALUES (?, ?, ?, ?, ?, ?, ?)`;
const PRUNE = `
  DELETE FROM device_events WHERE device_id = @deviceId AND id <= (
    SELECT id FROM device_events WHERE device_id = @deviceId ORDER BY id DESC LIMIT 1 OFFSET ${EVENTS_PER_DEVICE})`;

export interface ReportMark {
  readonly epoch: number;
  readonly sequence: number;
  /** SHA-256 of the report, hex: tells a repeated report from another one with the same number. */
  readonly digest: string;
}

export function addDeviceEvent(
  db: Sqlite,
  deviceId: string,
  atUnixMs: number,
  kind: string,
  text: string,
  report?: ReportMark,
): void {
  const line = oneLine(text, TEXT_CAP_CHARACTERS);
  const { lastInsertRowid } = db
    .prepare(INSERT)
    .run(deviceId, atUnixMs, report?.epoch ?? null, report?.sequence ?? null, report?.digest ?? null, kind, line);
  if (Number(lastInsertRowid) % 50 === 0) db.prepare(PRUNE).run({ deviceId });
}

/** Newest first. */
export function listDeviceEvents(db: Sqlite, deviceId: string): DeviceEvent[] {
  const query = db.build
    .selectFrom('device_events')
    .select(['at_unix_ms', 'report_sequence', 'kind', 'text'])
    .where('device_id', '=', deviceId)
    .orderBy('id', 'desc')
    .limit(EVENTS_PER_VIEW);
  return db.all(query).map((row) => ({
    atUnixMs: row.at_unix_ms,
    reportSequence: row.report_sequence,
    kind: row.kind,
    text: row.text,
  }));
}
