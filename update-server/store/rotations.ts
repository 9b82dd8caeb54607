/**
 * Rotating credentials in waves: starting, commanding, moving on. The plan, the gate and the states are those of rollouts
 * (core/cohort.ts, core/gate.ts, core/rollout.ts): a wave passes when its devices have proven a later epoch, too many
 * failures halt it, and only a person resumes. Runs within the caller's transaction.
 */
import type { RolloutState, RolloutVerb, RotationRequest, Wave } from '../../protocol/operator-api.ts';
import { describeWave, planWaves } from '../core/cohort.ts';
import type { Actor, StartRotationOutcome, VerbOutcome } from '../core/ports.ts';
import { decideStep, nextRolloutState, type RolloutFacts, type RolloutStep } from '../core/rollout.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { tallyRotation } from './rotation-tally.ts';

export interface RotationRow {
  readonly id: number;
  readonly state: RolloutState;
  readonly reason: string;
  readonly why: string;
  readonly max_failed_percent: number;
  readonly min_sample: number;
  readonly timeout_ms: number;
  readonly created_unix_ms: number;
  readonly created_by: string;
}

export interface RotationWaveRow {
  readonly position: number;
  readonly wave: string;
  readonly opened_unix_ms: number | null;
  readonly passed_unix_ms: number | null;
}

/** `k12` ↔ 12. */
export const rotationName = (id: number): string => `k${id}`;
export const rotationNumber = (name: string): number => (/^k[1-9]\d{0,14}$/.test(name) ? Number(name.slice(1)) : 0);
export const findRotationRow = (db: Sqlite, id: number): RotationRow | undefined =>
  db.prepare<RotationRow>('SELECT * FROM rotations WHERE id = ?').get(id);
export const rotationWaves = (db: Sqlite, id: number): RotationWaveRow[] =>
  db.prepare<RotationWaveRow>('SELECT * FROM rotation_waves WHERE rotation = ? ORDER BY position').all(id);

export function startRotation(
  db: Sqlite,
  request: RotationRequest,
  actor: Actor,
  nowUnixMs: number,
): StartRotationOutcome {
  const unknown = (request.deviceIds ?? []).filter(
    (id) => db.prepare('SELECT 1 FROM devices WHERE device_id = ?').get(id) === undefined,
  );
  if (unknown.length > 0) return { outcome: 'devices-unknown', deviceIds: unknown };
  const able = ableDevices(db, request);
  if (able.length === 0) return { outcome: 'no-devices' };
  const id = insertRotation(db, request, able, actor, nowUnixMs);
  const name = rotationName(id);
  const detail = `${able.length} devices, ${request.waves.map(describeWave).join(' → ')}: ${request.why}`;
  appendAudit(db, { actor, action: 'rotation.start', subject: name, detail }, nowUnixMs);
  const hints = new Set<string>();
  advanceRotation(db, id, hints, nowUnixMs);
  return { outcome: 'started', rotationId: name, touched: touched(hints) };
}

const touched = (hints: ReadonlySet<string>) => ({ devices: [...hints], rollouts: [], hints: [...hints] });

/** Enrolled, and with an agent that speaks of its first boot. */
function ableDevices(db: Sqlite, { deviceIds, hardwareClass }: RotationRequest): string[] {
  const sql = `
    SELECT device_id FROM devices WHERE enrolment = 'enrolled' AND first_boot_state IS NOT NULL
      AND (@hardwareClass IS NULL OR hardware_class = @hardwareClass)`;
  const named = deviceIds === undefined ? undefined : new Set(deviceIds);
  return db
    .prepare<{ device_id: string }>(sql)
    .all({ hardwareClass: hardwareClass ?? null })
    .map((row) => row.device_id)
    .filter((id) => named === undefined || named.has(id));
}

function insertRotation(
  db: Sqlite,
  request: RotationRequest,
  deviceIds: readonly string[],
  actor: Actor,
  nowUnixMs: number,
): number {
  const { lastInsertRowid } = db
    .prepare(`
      INSERT INTO rotations (state, reason, why, max_failed_percent, min_sample, timeout_ms, created_unix_ms, created_by)
      VALUES ('running', 'started', ?, ?, ?, ?, ?, ?)`)
    .run(request.why, request.maxFailedPercent, request.minSample, request.timeoutMs, nowUnixMs, actor);
  const id = Number(lastInsertRowid);
  request.waves.forEach((wave, position) => {
    db.prepare('INSERT INTO rotation_waves (rotation, position, wave) VALUES (?, ?, ?)').run(
      id,
      position,
      JSON.stringify(wave),
    );
  });
  const insert = db.prepare(`
    INSERT INTO rotation_parts (rotation, device_id, place_rank, wave, state, state_since_unix_ms)
    VALUES (?, ?, ?, ?, 'waiting', ?)`);
  for (const part of planWaves(rotationName(id), deviceIds, request.waves)) {
    insert.run(id, part.deviceId, part.rank, part.wave, nowUnixMs);
  }
  return id;
}

export function commandRotation(
  db: Sqlite,
  rotationId: string,
  verb: RolloutVerb,
  actor: Actor,
  nowUnixMs: number,
): VerbOutcome {
  const row = findRotationRow(db, rotationNumber(rotationId));
  if (row === undefined) return { outcome: 'rollout-unknown' };
  const state = nextRolloutState(row.state, verb);
  if (state === undefined) return { outcome: 'not-in-this-state', state: row.state };
  setState(db, row.id, state, `${state === 'running' ? 'resumed' : state} by ${actor}`);
  if (verb === 'cancel') {
    db.prepare(`
      UPDATE rotation_parts SET state = 'called-off', state_since_unix_ms = ?, deadline_unix_ms = NULL
      WHERE rotation = ? AND state IN ('waiting', 'asked')`).run(nowUnixMs, row.id);
  }
  if (verb === 'resume') forgive(db, row, nowUnixMs);
  const detail = `was ${row.state}: ${row.reason}`;
  appendAudit(db, { actor, action: `rotation.${verb}`, subject: rotationId, detail }, nowUnixMs);
  const hints = new Set<string>();
  advanceRotation(db, row.id, hints, nowUnixMs);
  return { outcome: 'done', touched: touched(hints) };
}

/** A person has looked: failures so far are shown and no longer counted, and clocks that stood still start again. */
function forgive(db: Sqlite, { id, timeout_ms }: RotationRow, nowUnixMs: number): void {
  db.prepare(`UPDATE rotation_parts SET forgiven = 1 WHERE rotation = ? AND state = 'failed'`).run(id);
  db.prepare(`
    UPDATE rotation_parts SET open_unix_ms = ? WHERE rotation = ? AND state = 'waiting' AND open_unix_ms IS NOT NULL`).run(
    nowUnixMs,
    id,
  );
  db.prepare(`UPDATE rotation_parts SET deadline_unix_ms = ? WHERE rotation = ? AND state = 'asked'`).run(
    nowUnixMs + timeout_ms,
    id,
  );
}

export function advanceRotations(db: Sqlite, hints: Set<string>, nowUnixMs: number): void {
  const living = db.prepare<{ id: number }>(`SELECT id FROM rotations WHERE state <> 'cancelled' ORDER BY id`).all();
  for (const { id } of living) advanceRotation(db, id, hints, nowUnixMs);
}

/** More steps than any rotation takes at once. */
const STEPS_AT_ONCE = 10_000;
const OVERDUE = `
  UPDATE rotation_parts SET state = 'failed', state_since_unix_ms = @nowUnixMs, deadline_unix_ms = NULL,
    detail = 'it was asked, and stated no later epoch in time'
  WHERE rotation = @id AND state = 'asked' AND deadline_unix_ms <= @nowUnixMs`;

/** Deadlines first, then whatever core/rollout.ts decides, until it rests. Hints: devices that should poll now. */
export function advanceRotation(db: Sqlite, id: number, hints: Set<string>, nowUnixMs: number): void {
  db.prepare(OVERDUE).run({ id, nowUnixMs });
  for (let steps = 0; steps < STEPS_AT_ONCE; steps += 1) {
    const row = findRotationRow(db, id);
    if (row === undefined) return;
    const step = decideStep(factsOf(db, row, nowUnixMs), nowUnixMs);
    if (step.step === 'rest') {
      if (step.reason !== '' && step.reason !== row.reason) setState(db, id, row.state, step.reason);
      return;
    }
    applyStep(db, row, step, hints, nowUnixMs);
  }
  throw new Error(`rotation ${rotationName(id)} does not come to rest`);
}

function factsOf(db: Sqlite, row: RotationRow, nowUnixMs: number): RolloutFacts {
  const waves = rotationWaves(db, row.id);
  return {
    state: row.state,
    policy: { maxFailedPercent: row.max_failed_percent, minSample: row.min_sample },
    waves: tallyRotation(db, row.id, waves.length, row.timeout_ms, nowUnixMs).map((tally, index) => ({
      tally,
      wave: JSON.parse(waves[index]?.wave ?? '{}') as Wave,
      openedUnixMs: waves[index]?.opened_unix_ms ?? null,
      passedUnixMs: waves[index]?.passed_unix_ms ?? null,
    })),
  };
}

function setState(db: Sqlite, id: number, state: RolloutState, reason: string): void {
  db.prepare('UPDATE rotations SET state = ?, reason = ? WHERE id = ?').run(state, reason, id);
}

function applyStep(
  db: Sqlite,
  row: RotationRow,
  step: Exclude<RolloutStep, { step: 'rest' }>,
  hints: Set<string>,
  nowUnixMs: number,
): void {
  const say = (action: string): void => {
    const entry = { actor: 'server', action, subject: rotationName(row.id), detail: step.reason };
    appendAudit(db, entry, nowUnixMs);
  };
  if (step.step === 'open') {
    for (const deviceId of openWave(db, row.id, step.wave, nowUnixMs)) hints.add(deviceId);
    setState(db, row.id, row.state, step.reason);
    say('rotation.wave');
  } else if (step.step === 'pass') {
    db.prepare('UPDATE rotation_waves SET passed_unix_ms = ? WHERE rotation = ? AND position = ?').run(
      nowUnixMs,
      row.id,
      step.wave,
    );
    setState(db, row.id, row.state, step.reason);
  } else if (step.step === 'replace') {
    for (const deviceId of replacePlaces(db, row, step.wave, step.places, nowUnixMs)) hints.add(deviceId);
    say('rotation.replace');
  } else {
    const state = nextRolloutState(row.state, step.step);
    if (state === undefined) throw new Error(`a ${row.state} rotation cannot ${step.step}`);
    setState(db, row.id, state, step.reason);
    say(step.step === 'halt' ? 'rotation.halt' : 'rotation.complete');
  }
}

const idsOf = (rows: readonly { readonly device_id: string }[]): string[] => rows.map((row) => row.device_id);

function openWave(db: Sqlite, id: number, wave: number, nowUnixMs: number): string[] {
  db.prepare('UPDATE rotation_waves SET opened_unix_ms = ? WHERE rotation = ? AND position = ?').run(
    nowUnixMs,
    id,
    wave,
  );
  const sql = `
    UPDATE rotation_parts SET open_unix_ms = ? WHERE rotation = ? AND wave = ? AND state = 'waiting'
      AND open_unix_ms IS NULL RETURNING device_id`;
  return idsOf(db.prepare<{ device_id: string }>(sql).all(nowUnixMs, id, wave));
}

/** The next devices of later waves move into this one; as many free places are marked as taken. */
function replacePlaces(db: Sqlite, row: RotationRow, wave: number, places: number, nowUnixMs: number): string[] {
  db.prepare(`
    UPDATE rotation_parts SET place_taken = 1 WHERE rotation = @id AND device_id IN (
      SELECT device_id FROM rotation_parts WHERE rotation = @id AND wave = @wave AND place_taken = 0
        AND (state = 'called-off' OR (state = 'waiting' AND open_unix_ms <= @since))
      ORDER BY place_rank LIMIT @places)`).run({ id: row.id, wave, since: nowUnixMs - row.timeout_ms, places });
  const move = `
    UPDATE rotation_parts SET wave = @wave, open_unix_ms = @nowUnixMs WHERE rotation = @id AND device_id IN (
      SELECT device_id FROM rotation_parts WHERE rotation = @id AND wave > @wave AND state = 'waiting'
      ORDER BY place_rank LIMIT @places) RETURNING device_id`;
  return idsOf(db.prepare<{ device_id: string }>(move).all({ id: row.id, wave, nowUnixMs, places }));
}
