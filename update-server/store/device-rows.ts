/** Devices as the database keeps them, and as the core sees them. Runs within the caller's transaction. */
import type { FirstBootState, InstallState, Slot, WaitReason } from '../../protocol/device-api.ts';
import type { CredentialRecord } from '../core/credential-standing.ts';
import type { DeviceRecord } from '../core/ports.ts';
import type { DeviceChange } from '../core/update-state.ts';
import type { Sqlite } from './database.ts';

export interface DeviceRow {
  readonly device_id: string;
  readonly hardware_class: string;
  readonly enrolment: DeviceRecord['enrolment'];
  readonly enrolment_since_unix_ms: number;
  readonly claim_expires_unix_ms: number | null;
  readonly channel: string | null;
  readonly agent_version: string | null;
  readonly board: string | null;
  readonly booted_slot: Slot | null;
  readonly state: InstallState | null;
  readonly state_since_unix_ms: number | null;
  readonly installed_sequence: number | null;
  readonly installed_version: string | null;
  readonly installed_since_unix_ms: number | null;
  readonly floor_sequence: number;
  readonly action_id: string | null;
  readonly waiting: WaitReason | null;
  readonly waiting_since_unix_ms: number | null;
  readonly quarantined: string;
  readonly last_seen_unix_ms: number | null;
  readonly presence: 'here' | 'gone' | null;
  readonly presence_unix_ms: number | null;
  readonly done_bytes: number;
  readonly total_bytes: number;
  readonly acknowledged_report: number;
  readonly report_epoch: number;
  readonly report_boot: string | null;
  readonly protocol: number | null;
  readonly first_boot_state: FirstBootState | null;
  readonly first_boot_epoch: number | null;
  readonly credential_life: number;
  readonly hardware_id: string | null;
  readonly stated_hardware: string | null;
  readonly approved_hardware: string | null;
  readonly credentials_verdict: CredentialRecord['verdict'] | null;
  readonly credentials_state: FirstBootState | null;
  readonly credentials_epoch: number | null;
  readonly credentials_flags: string | null;
  readonly stated_unix_ms: number | null;
}

const SELECT = `
  SELECT devices.*, claims.expires_unix_ms AS claim_expires_unix_ms, stated.verdict AS credentials_verdict,
    stated.state AS credentials_state, stated.epoch AS credentials_epoch, stated.flags AS credentials_flags,
    stated.stated_unix_ms
  FROM devices LEFT JOIN claims ON claims.claim_id = devices.device_id
    LEFT JOIN credential_records AS stated ON stated.device_id = devices.device_id`;

export function deviceOf(row: DeviceRow): DeviceRecord {
  const installed =
    row.installed_sequence === null ? null : { sequence: row.installed_sequence, version: row.installed_version ?? '' };
  return {
    deviceId: row.device_id,
    hardwareClass: row.hardware_class,
    enrolment: row.enrolment,
    enrolmentSinceUnixMs: row.enrolment_since_unix_ms,
    claimExpiresUnixMs: row.claim_expires_unix_ms,
    channel: row.channel,
    agentVersion: row.agent_version,
    board: row.board,
    bootedSlot: row.booted_slot,
    state: row.state,
    stateSinceUnixMs: row.state_since_unix_ms,
    installed,
    installedSinceUnixMs: row.installed_since_unix_ms,
    floorSequence: row.floor_sequence,
    actionId: row.action_id,
    waiting: row.waiting,
    waitingSinceUnixMs: row.waiting_since_unix_ms,
    quarantined: JSON.parse(row.quarantined) as DeviceRecord['quarantined'],
    lastSeenUnixMs: row.last_seen_unix_ms,
    presence: row.presence,
    presenceUnixMs: row.presence_unix_ms,
    doneBytes: row.done_bytes,
    totalBytes: row.total_bytes,
    acknowledgedReport: row.acknowledged_report,
    protocol: row.protocol,
    firstBoot: row.first_boot_state === null ? null : { state: row.first_boot_state, epoch: row.first_boot_epoch ?? 0 },
    credentials: credentialsOf(row),
  };
}

function credentialsOf(row: DeviceRow): CredentialRecord | null {
  if (row.credentials_verdict === null || row.credentials_state === null) return null;
  return {
    verdict: row.credentials_verdict,
    state: row.credentials_state,
    epoch: row.credentials_epoch ?? 0,
    flags: JSON.parse(row.credentials_flags ?? '[]') as CredentialRecord['flags'],
    statedUnixMs: row.stated_unix_ms ?? 0,
  };
}

export function findDeviceRow(db: Sqlite, deviceId: string): DeviceRow | undefined {
  return db.prepare<DeviceRow>(`${SELECT} WHERE devices.device_id = ?`).get(deviceId);
}

/** By id. */
export function listDeviceRows(db: Sqlite): DeviceRow[] {
  return db.prepare<DeviceRow>(`${SELECT} ORDER BY devices.device_id`).all();
}

/** Enrolled ones, by id, `limit` at most, from the one behind `after`. */
export function enrolledRowsAfter(db: Sqlite, after: string, limit: number): DeviceRow[] {
  const sql = `${SELECT} WHERE devices.enrolment = 'enrolled' AND devices.device_id > ? ORDER BY devices.device_id LIMIT ?`;
  return db.prepare<DeviceRow>(sql).all(after, limit);
}

/** Heard through MQTT, or at a poll or report not long ago and no last will since. */
export function isOnline(device: DeviceRecord, nowUnixMs: number, onlineWindowMs: number): boolean {
  if (device.enrolment !== 'enrolled') return false;
  if (device.presence === 'here') return true;
  const lastSeen = device.lastSeenUnixMs;
  if (lastSeen === null || lastSeen + onlineWindowMs <= nowUnixMs) return false;
  return device.presence === null || (device.presenceUnixMs ?? 0) < lastSeen;
}

const UPDATE_AFTER_REPORTS = `
  UPDATE devices SET booted_slot = ?, state = ?, state_since_unix_ms = ?, installed_sequence = ?, installed_version = ?,
    installed_since_unix_ms = ?, action_id = ?, waiting = ?, done_bytes = ?, total_bytes = ?, last_seen_unix_ms = ?,
    acknowledged_report = ?, report_epoch = ?, report_boot = ?
  WHERE device_id = ?`;

/** Writes what reports changed. */
export function writeReported(
  db: Sqlite,
  device: DeviceRecord & DeviceChange,
  marks: {
    readonly acknowledged: number;
    readonly epoch: number;
    readonly boot: string | null;
    readonly nowUnixMs: number;
  },
): void {
  db.prepare(UPDATE_AFTER_REPORTS).run(
    device.bootedSlot,
    device.state,
    device.stateSinceUnixMs,
    device.installed?.sequence ?? null,
    device.installed?.version ?? null,
    device.installedSinceUnixMs,
    device.actionId,
    device.waiting,
    device.doneBytes,
    device.totalBytes,
    marks.nowUnixMs,
    marks.acknowledged,
    marks.epoch,
    marks.boot,
    device.deviceId,
  );
}
