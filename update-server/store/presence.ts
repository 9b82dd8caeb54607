/** Who is there, and the fast path's telemetry: shown, never decided on. Runs within the caller's transaction. */
import type { StatusMessage } from '../../protocol/mqtt-topics.ts';
import type { DeviceRecord, ViewSettings } from '../core/ports.ts';
import type { Sqlite } from './database.ts';
import { deviceOf, isOnline, listDeviceRows } from './device-rows.ts';

export function recordPresence(db: Sqlite, deviceId: string, presence: 'here' | 'gone', nowUnixMs: number): void {
  db.prepare(
    `UPDATE devices SET presence = @presence, presence_unix_ms = @nowUnixMs,
      last_seen_unix_ms = CASE WHEN @presence = 'here' THEN @nowUnixMs ELSE last_seen_unix_ms END
    WHERE device_id = @deviceId`,
  ).run({ presence, nowUnixMs, deviceId });
}

/** State is decided by polls and reports only; a status moves the progress bar. */
export function recordStatus(db: Sqlite, deviceId: string, status: StatusMessage, nowUnixMs: number): void {
  db.prepare(`UPDATE devices SET done_bytes = ?, total_bytes = ?, last_seen_unix_ms = ? WHERE device_id = ?`).run(
    status.doneBytes,
    status.totalBytes,
    nowUnixMs,
    deviceId,
  );
}

/** After a start nobody is connected yet. What was heard before stays as "last seen". */
export function forgetPresence(db: Sqlite, nowUnixMs: number): void {
  db.prepare(`UPDATE devices SET presence = NULL, presence_unix_ms = ? WHERE presence IS NOT NULL`).run(nowUnixMs);
}

export interface DeviceCounts {
  readonly total: number;
  readonly online: number;
  readonly byEnrolment: Readonly<Record<DeviceRecord['enrolment'], number>>;
}

export function countDevices(db: Sqlite, settings: ViewSettings): DeviceCounts {
  const devices = listDeviceRows(db).map(deviceOf);
  const having = (enrolment: DeviceRecord['enrolment']): number =>
    devices.filter((device) => device.enrolment === enrolment).length;
  return {
    total: devices.length,
    online: devices.filter((device) => isOnline(device, settings.nowUnixMs, settings.onlineWindowMs)).length,
    byEnrolment: { claimed: having('claimed'), enrolled: having('enrolled'), revoked: having('revoked') },
  };
}
