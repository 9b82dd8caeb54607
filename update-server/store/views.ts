/** What people see: devices with their one reason, rollouts with their waves. Reads only, within the caller's transaction. */
import type { DeviceDetail, DeviceView, RolloutView, Wave, WaveView } from '../../protocol/operator-api.ts';
import { type CredentialPolicy, serviceFor, standingOf } from '../core/credential-standing.ts';
import { type Exclusion, explain } from '../core/explain.ts';
import { EMPTY_TALLY } from '../core/gate.ts';
import type { Candidate } from '../core/offer.ts';
import type { DeviceRecord, ViewSettings } from '../core/ports.ts';
import type { Sqlite } from './database.ts';
import { credentialsView } from './device-approval.ts';
import { listDeviceEvents } from './device-events.ts';
import { deviceOf, findDeviceRow, isOnline, listDeviceRows } from './device-rows.ts';
import { candidatesByDevice, candidatesOf, rolloutName, rolloutNumber } from './parts.ts';
import { findReleaseRow, releaseOf } from './releases.ts';
import { findRolloutRow, type RolloutRow, waveRows } from './rollout-advance.ts';
import { devicesOwingRotation, isRotationOwed } from './rotation-parts.ts';
import { addTallies, tallyWaves } from './wave-tally.ts';

interface ExclusionRow {
  readonly device_id: string;
  readonly rollout: number;
  readonly why: Exclusion['why'];
  readonly created_unix_ms: number;
  readonly version: string;
  readonly sequence: number;
  readonly release_class: string;
  readonly release_channel: string;
}

/** Named by the rollout and not fitting; and whole-class rollouts of the device's class on another channel. */
const EXCLUSIONS = `
  SELECT device_id, rollout, why, created_unix_ms, version, sequence,
    releases.hardware_class AS release_class, releases.channel AS release_channel
  FROM (
    SELECT device_id, rollout, why FROM exclusions
    UNION ALL
    SELECT devices.device_id, rollouts.id, 'other-channel' FROM rollouts
      JOIN releases ON releases.release_path = rollouts.release_path
      JOIN devices ON devices.hardware_class = releases.hardware_class AND devices.channel <> releases.channel
    WHERE rollouts.whole_class = 1
  ) AS excluded
    JOIN rollouts ON rollouts.id = excluded.rollout
    JOIN releases ON releases.release_path = rollouts.release_path
  WHERE rollouts.state IN ('running', 'paused', 'halted')`;

function exclusionOf(row: ExclusionRow): Exclusion {
  const of = row.why === 'other-class' ? `class ${row.release_class}` : `channel ${row.release_channel}`;
  return {
    rolloutId: rolloutName(row.rollout),
    why: row.why,
    detail: `${row.version} (sequence ${row.sequence}) is for ${of}`,
    sinceUnixMs: row.created_unix_ms,
    sequence: row.sequence,
  };
}

function viewOf(
  device: DeviceRecord,
  candidates: readonly Candidate[],
  exclusions: readonly Exclusion[],
  settings: ViewSettings,
  { gate }: CredentialPolicy,
  facts: CredentialFacts,
): Pick<DeviceDetail, 'device' | 'explanation'> {
  const { nowUnixMs, onlineWindowMs } = settings;
  const standing = standingOf(device.credentials, device.firstBoot);
  const service = serviceFor(standing, gate, facts.rotationOwed);
  const explanation = explain({ device, candidates, exclusions, nowUnixMs, service });
  const view: DeviceView = {
    deviceId: device.deviceId,
    hardwareClass: device.hardwareClass,
    channel: device.channel,
    enrolment: device.enrolment,
    online: isOnline(device, nowUnixMs, onlineWindowMs),
    lastSeenUnixMs: device.lastSeenUnixMs,
    agentVersion: device.agentVersion,
    board: device.board,
    bootedSlot: device.bootedSlot,
    state: device.state,
    installed: device.installed,
    floorSequence: device.floorSequence,
    actionId: device.actionId,
    reason: explanation.reason,
    reasonSinceUnixMs: explanation.sinceUnixMs,
    credentials: device.enrolment === 'enrolled' && gate !== 'off' ? standing : null,
    certificateEndsUnixMs: facts.certificateEndsUnixMs,
  };
  return { device: view, explanation };
}

interface CredentialFacts {
  readonly rotationOwed: boolean;
  readonly certificateEndsUnixMs: number | null;
}

/** The end of each device's newest certificate that is not refused. */
function certificateEnds(db: Sqlite, nowUnixMs: number, deviceId: string | null = null): Map<string, number> {
  const sql = `
    SELECT device_id, max(not_after_unix_ms) AS ends FROM certificates
    WHERE revoked_unix_ms IS NULL AND (superseded_unix_ms IS NULL OR superseded_unix_ms > ?) ${deviceId === null ? '' : 'AND device_id = ?'}
    GROUP BY device_id`;
  const values = deviceId === null ? [nowUnixMs] : [nowUnixMs, deviceId];
  const rows = db.prepare<{ device_id: string; ends: number }>(sql).all(...values);
  return new Map(rows.map((row) => [row.device_id, row.ends]));
}

export function findDevice(
  db: Sqlite,
  deviceId: string,
  settings: ViewSettings,
  policy: CredentialPolicy,
): DeviceDetail | undefined {
  const row = findDeviceRow(db, deviceId);
  if (row === undefined) return undefined;
  const excluded = db.prepare<ExclusionRow>(`${EXCLUSIONS} AND device_id = ?`).all(deviceId).map(exclusionOf);
  const view = viewOf(deviceOf(row), candidatesOf(db, deviceId), excluded, settings, policy, {
    rotationOwed: isRotationOwed(db, deviceId, deviceOf(row).firstBoot),
    certificateEndsUnixMs: certificateEnds(db, settings.nowUnixMs, deviceId).get(deviceId) ?? null,
  });
  return { ...view, credentials: credentialsView(db, row), history: listDeviceEvents(db, deviceId) };
}

/** The whole fleet, by id, each with its explanation: three readings, whatever its size. */
export function listDevicesExplained(
  db: Sqlite,
  settings: ViewSettings,
  policy: CredentialPolicy,
): Pick<DeviceDetail, 'device' | 'explanation'>[] {
  const candidates = candidatesByDevice(db);
  const exclusions = new Map<string, Exclusion[]>();
  for (const row of db.prepare<ExclusionRow>(EXCLUSIONS).all()) {
    exclusions.set(row.device_id, [...(exclusions.get(row.device_id) ?? []), exclusionOf(row)]);
  }
  const ends = certificateEnds(db, settings.nowUnixMs);
  const owing = devicesOwingRotation(db);
  return listDeviceRows(db).map((row) => {
    const device = deviceOf(row);
    const facts = {
      rotationOwed: owing.has(device.deviceId),
      certificateEndsUnixMs: ends.get(device.deviceId) ?? null,
    };
    const mine = exclusions.get(device.deviceId) ?? [];
    return viewOf(device, candidates.get(device.deviceId) ?? [], mine, settings, policy, facts);
  });
}

/** Newest first. */
export function listRollouts(db: Sqlite, nowUnixMs: number): RolloutView[] {
  return db
    .prepare<RolloutRow>('SELECT * FROM rollouts ORDER BY id DESC')
    .all()
    .map((row) => rolloutView(db, row, nowUnixMs));
}

export function findRollout(db: Sqlite, rolloutId: string, nowUnixMs: number): RolloutView | undefined {
  const id = rolloutNumber(rolloutId);
  const row = id === undefined ? undefined : findRolloutRow(db, id);
  return row && rolloutView(db, row, nowUnixMs);
}

const NEVER_STARTED = `SELECT count(*) AS n FROM parts WHERE rollout = ? AND attempted = 0 AND state <> 'confirmed'`;

function rolloutView(db: Sqlite, row: RolloutRow, nowUnixMs: number): RolloutView {
  const release = findReleaseRow(db, row.release_path);
  if (release === undefined) throw new Error(`rollout ${rolloutName(row.id)} has lost its release`);
  const rows = waveRows(db, row.id);
  const tallies = tallyWaves(db, row.id, rows.length, row.action_timeout_ms, nowUnixMs);
  let total = EMPTY_TALLY;
  const waves = rows.map((wave, index): WaveView => {
    total = addTallies(total, tallies[index] ?? EMPTY_TALLY);
    return {
      wave: JSON.parse(wave.wave) as Wave,
      state: waveState(row, wave),
      devices: total.added,
      offered: total.offered,
      attempted: total.attempted,
      confirmed: total.confirmed,
      failed: total.failed + total.forgiven,
      openedUnixMs: wave.opened_unix_ms,
    };
  });
  return {
    rolloutId: rolloutName(row.id),
    release: releaseOf(release),
    state: row.state,
    reason: row.reason.slice(0, 1024),
    waves,
    devices: total.added,
    confirmed: total.confirmed,
    failed: total.failed + total.forgiven,
    neverStarted: db.prepare<{ n: number }>(NEVER_STARTED).get(row.id)?.n ?? 0,
    purpose: row.purpose,
    maxFailedPercent: row.max_failed_percent,
    minSample: row.min_sample,
    actionTimeoutMs: row.action_timeout_ms,
    createdUnixMs: row.created_unix_ms,
    createdBy: row.created_by,
  };
}

function waveState(
  rollout: RolloutRow,
  wave: { readonly opened_unix_ms: number | null; readonly passed_unix_ms: number | null },
): WaveView['state'] {
  if (wave.passed_unix_ms !== null) return 'passed';
  if (wave.opened_unix_ms === null) return 'waiting';
  return rollout.state === 'halted' ? 'halted' : 'open';
}
