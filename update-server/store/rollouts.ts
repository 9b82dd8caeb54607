/** Starting rollouts, and what people command of them. Runs within the caller's transaction. */
import { NO_SLOTS_BOARD } from '../../protocol/device-api.ts';
import type { RolloutRequest, RolloutVerb } from '../../protocol/operator-api.ts';
import { describeWave, planWaves } from '../core/cohort.ts';
import type { Actor, StartOutcome, Touched, VerbOutcome } from '../core/ports.ts';
import { nextRolloutState } from '../core/rollout.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { openParts, PartChanges, rolloutName, rolloutNumber } from './parts.ts';
import { findReleaseRow, type ReleaseRow } from './releases.ts';
import { advanceRollout, devicesAtWork, findRolloutRow, type RolloutRow } from './rollout-advance.ts';
import { advanceRotations } from './rotations.ts';

interface CohortRow {
  readonly device_id: string;
  readonly hardware_class: string;
  readonly channel: string | null;
  readonly enrolment: string;
  readonly board: string | null;
  readonly installed_sequence: number | null;
}

export function touchedBy(changes: PartChanges, hints: ReadonlySet<string>, devices: Iterable<string> = []): Touched {
  return {
    devices: [...new Set([...changes.devices, ...hints, ...devices])],
    rollouts: [...changes.rollouts],
    hints: [...hints],
  };
}

export function startRollout(db: Sqlite, request: RolloutRequest, actor: Actor, nowUnixMs: number): StartOutcome {
  const release = findReleaseRow(db, request.releasePath);
  if (release === undefined || release.withdrawn === 1) return { outcome: 'release-unknown' };
  const candidates = request.deviceIds === undefined ? wholeClass(db, release) : named(db, request.deviceIds);
  const unknown = request.deviceIds?.filter((id) => !candidates.some((row) => row.device_id === id)) ?? [];
  if (unknown.length > 0) return { outcome: 'devices-unknown', deviceIds: unknown };
  const able = candidates.filter((row) => row.enrolment !== 'revoked' && row.board !== NO_SLOTS_BOARD);
  const fitting = able.filter((row) => exclusionOf(row, release) === undefined);
  const behind = fitting.filter((row) => (row.installed_sequence ?? -1) < release.sequence);
  if (behind.length === 0) return { outcome: 'no-devices' };

  const id = insertRollout(db, request, actor, nowUnixMs);
  insertParts(db, id, request, behind, nowUnixMs);
  for (const row of candidates) {
    const why = exclusionOf(row, release);
    if (why !== undefined)
      db.run(db.build.insertInto('exclusions').values({ rollout: id, device_id: row.device_id, why }));
  }
  const waves = request.waves.map(describeWave).join(' → ');
  const purpose = request.purpose === undefined || request.purpose === 'update' ? '' : ` (${request.purpose})`;
  const detail = `${release.version} (sequence ${release.sequence}) of ${release.release_path}${purpose} for ${behind.length} devices: ${waves}`;
  appendAudit(db, { actor, action: 'rollout.start', subject: rolloutName(id), detail }, nowUnixMs);
  const changes = new PartChanges(db, nowUnixMs);
  const hints = new Set<string>();
  changes.rollouts.add(rolloutName(id));
  advanceRollout(db, id, changes, hints, nowUnixMs);
  const everybody = candidates.map((row) => row.device_id);
  return { outcome: 'started', rolloutId: rolloutName(id), touched: touchedBy(changes, hints, everybody) };
}

function exclusionOf(row: CohortRow, release: ReleaseRow): 'other-class' | 'other-channel' | undefined {
  if (row.hardware_class !== release.hardware_class) return 'other-class';
  return row.channel !== null && row.channel !== release.channel ? 'other-channel' : undefined;
}

function wholeClass(db: Sqlite, release: ReleaseRow): CohortRow[] {
  const query = db.build
    .selectFrom('devices')
    .select(['device_id', 'hardware_class', 'channel', 'enrolment', 'board', 'installed_sequence'])
    .where('hardware_class', '=', release.hardware_class)
    .where('channel', '=', release.channel)
    .where('enrolment', '=', 'enrolled');
  return db.all(query);
}

function named(db: Sqlite, deviceIds: readonly string[]): CohortRow[] {
  const sql =
    'SELECT device_id, hardware_class, channel, enrolment, board, installed_sequence FROM devices WHERE device_id = ?';
  const find = db.prepare<CohortRow>(sql);
  return [...new Set(deviceIds)].map((id) => find.get(id)).filter((row) => row !== undefined);
}

function insertRollout(db: Sqlite, request: RolloutRequest, actor: Actor, nowUnixMs: number): number {
  const { lastInsertRowid } = db.run(
    db.build.insertInto('rollouts').values({
      release_path: request.releasePath,
      state: 'running',
      reason: 'started',
      purpose: request.purpose ?? 'update',
      max_failed_percent: request.maxFailedPercent,
      min_sample: request.minSample,
      action_timeout_ms: request.actionTimeoutMs,
      whole_class: request.deviceIds === undefined ? 1 : 0,
      created_unix_ms: nowUnixMs,
      created_by: actor,
    }),
  );
  request.waves.forEach((wave, position) => {
    const row = { rollout: lastInsertRowid, position, wave: JSON.stringify(wave) };
    db.run(db.build.insertInto('rollout_waves').values({ ...row, opened_unix_ms: null, passed_unix_ms: null }));
  });
  return lastInsertRowid;
}

function insertParts(
  db: Sqlite,
  id: number,
  request: RolloutRequest,
  cohort: readonly CohortRow[],
  nowUnixMs: number,
): void {
  const insert = db.prepare(
    `INSERT INTO parts (rollout, device_id, place_rank, wave, state, state_since_unix_ms) VALUES (?, ?, ?, ?, 'waiting', ?)`,
  );
  const ids = cohort.map((row) => row.device_id);
  for (const part of planWaves(rolloutName(id), ids, request.waves)) {
    insert.run(id, part.deviceId, part.rank, part.wave, nowUnixMs);
  }
}

export function commandRollout(
  db: Sqlite,
  rolloutId: string,
  verb: RolloutVerb,
  actor: Actor,
  nowUnixMs: number,
): VerbOutcome {
  const id = rolloutNumber(rolloutId);
  const row = id === undefined ? undefined : findRolloutRow(db, id);
  if (id === undefined || row === undefined) return { outcome: 'rollout-unknown' };
  const state = nextRolloutState(row.state, verb);
  if (state === undefined) return { outcome: 'not-in-this-state', state: row.state };
  const changes = new PartChanges(db, nowUnixMs);
  const hints = new Set(devicesAtWork(db, id));
  const reason = `${state === 'running' ? 'resumed' : state} by ${actor}`;
  db.run(db.build.updateTable('rollouts').set({ state, reason }).where('id', '=', id));
  if (verb === 'cancel') for (const part of openParts(db, id)) changes.apply(part, { kind: 'called-off' });
  if (verb === 'resume') forgive(db, row, nowUnixMs);
  appendAudit(
    db,
    { actor, action: `rollout.${verb}`, subject: rolloutId, detail: `was ${row.state}: ${row.reason}` },
    nowUnixMs,
  );
  changes.rollouts.add(rolloutId);
  advanceRollout(db, id, changes, hints, nowUnixMs);
  const everybody = db
    .prepare<{ device_id: string }>('SELECT device_id FROM parts WHERE rollout = ?')
    .all(id)
    .map((part) => part.device_id);
  if (verb === 'resume') for (const deviceId of waitingOpen(db, id)) hints.add(deviceId);
  return { outcome: 'done', touched: touchedBy(changes, hints, everybody) };
}

/** A person has looked: failures so far are shown and no longer counted, and clocks that stood still start again. */
function forgive(db: Sqlite, row: RolloutRow, nowUnixMs: number): void {
  db.prepare(
    `UPDATE parts SET forgiven = 1 WHERE rollout = ? AND attempted = 1
      AND state IN ('rolled-back', 'refused', 'install-failed', 'silent', 'deadline-passed')`,
  ).run(row.id);
  db.prepare(
    `UPDATE parts SET open_unix_ms = ? WHERE rollout = ? AND state = 'waiting' AND open_unix_ms IS NOT NULL`,
  ).run(nowUnixMs, row.id);
  db.prepare(
    `UPDATE parts SET deadline_unix_ms = ? WHERE rollout = ? AND state IN ('offered', 'installing', 'staged', 'trial')`,
  ).run(nowUnixMs + row.action_timeout_ms, row.id);
}

function waitingOpen(db: Sqlite, rollout: number): string[] {
  const sql = `SELECT device_id FROM parts WHERE rollout = ? AND state = 'waiting' AND open_unix_ms IS NOT NULL`;
  return db
    .prepare<{ device_id: string }>(sql)
    .all(rollout)
    .map((row) => row.device_id);
}

export function advanceRollouts(db: Sqlite, nowUnixMs: number): Touched {
  const changes = new PartChanges(db, nowUnixMs);
  const hints = new Set<string>();
  const living = db.prepare<{ id: number }>(`SELECT id FROM rollouts WHERE state <> 'cancelled' ORDER BY id`).all();
  for (const { id } of living) advanceRollout(db, id, changes, hints, nowUnixMs);
  advanceRotations(db, hints, nowUnixMs);
  return touchedBy(changes, hints);
}
