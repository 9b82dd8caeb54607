/**
 * Moves a rollout on: deadlines first, then whatever core/rollout.ts decides, step by step until it rests. Runs within the
 * caller's transaction, so that a failure and the halt it causes become true in the same instant, also when the process dies.
 */
import type { RolloutPurpose, RolloutState, Wave } from '../../protocol/operator-api.ts';
import { describeWave } from '../core/cohort.ts';
import {
  decideStep,
  nextRolloutState,
  type RolloutEvent,
  type RolloutFacts,
  type RolloutStep,
} from '../core/rollout.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { overdueParts, type PartChanges, rolloutName } from './parts.ts';
import { tallyWaves } from './wave-tally.ts';

export interface RolloutRow {
  readonly id: number;
  readonly release_path: string;
  readonly state: RolloutState;
  readonly purpose: RolloutPurpose;
  readonly reason: string;
  readonly max_failed_percent: number;
  readonly min_sample: number;
  readonly action_timeout_ms: number;
  readonly whole_class: number;
  readonly created_unix_ms: number;
  readonly created_by: string;
}

export interface WaveRow {
  readonly position: number;
  readonly wave: string;
  readonly opened_unix_ms: number | null;
  readonly passed_unix_ms: number | null;
}

export const findRolloutRow = (db: Sqlite, id: number): RolloutRow | undefined =>
  db.prepare<RolloutRow>('SELECT * FROM rollouts WHERE id = ?').get(id);

export const waveRows = (db: Sqlite, rollout: number): WaveRow[] =>
  db.prepare<WaveRow>('SELECT * FROM rollout_waves WHERE rollout = ? ORDER BY position').all(rollout);

/** More steps than any rollout takes at once: each wave opens and passes, and some places change hands. */
const STEPS_AT_ONCE = 10_000;

/** Hints: devices that should poll now. */
export function advanceRollout(
  db: Sqlite,
  id: number,
  changes: PartChanges,
  hints: Set<string>,
  nowUnixMs: number,
): void {
  for (const { lastSeenUnixMs, ...part } of overdueParts(db, id, nowUnixMs)) {
    changes.apply(part, { kind: 'deadline', lastSeenUnixMs });
  }
  for (let steps = 0; steps < STEPS_AT_ONCE; steps += 1) {
    const row = findRolloutRow(db, id);
    if (row === undefined) return;
    const step = decideStep(factsOf(db, row, nowUnixMs), nowUnixMs);
    if (step.step === 'rest') {
      if (step.reason !== '' && step.reason !== row.reason) setReason(db, row, step.reason, changes);
      return;
    }
    applyStep(db, row, step, hints, nowUnixMs);
    changes.rollouts.add(rolloutName(id));
  }
  throw new Error(`rollout ${rolloutName(id)} does not come to rest`);
}

function factsOf(db: Sqlite, row: RolloutRow, nowUnixMs: number): RolloutFacts {
  const waves = waveRows(db, row.id);
  const tallies = tallyWaves(db, row.id, waves.length, row.action_timeout_ms, nowUnixMs);
  return {
    state: row.state,
    policy: { maxFailedPercent: row.max_failed_percent, minSample: row.min_sample },
    waves: tallies.map((tally, index) => ({
      tally,
      wave: JSON.parse(waves[index]?.wave ?? '{}') as Wave,
      openedUnixMs: waves[index]?.opened_unix_ms ?? null,
      passedUnixMs: waves[index]?.passed_unix_ms ?? null,
    })),
  };
}

function setReason(db: Sqlite, row: RolloutRow, reason: string, changes: PartChanges): void {
  db.run(db.build.updateTable('rollouts').set({ reason }).where('id', '=', row.id));
  changes.rollouts.add(rolloutName(row.id));
}

function applyStep(
  db: Sqlite,
  row: RolloutRow,
  step: Exclude<RolloutStep, { step: 'rest' }>,
  hints: Set<string>,
  nowUnixMs: number,
): void {
  switch (step.step) {
    case 'open': {
      markWave(db, row.id, step.wave, 'opened_unix_ms', nowUnixMs);
      for (const deviceId of openWave(db, row.id, step.wave, nowUnixMs)) hints.add(deviceId);
      const wave = JSON.parse(waveRows(db, row.id)[step.wave]?.wave ?? '{}') as Wave;
      const detail = `wave ${step.wave + 1} (${describeWave(wave)}) opened after: ${row.reason}`;
      audit(db, row, 'rollout.wave', detail, nowUnixMs);
      setState(db, row, row.state, step.reason);
      return;
    }
    case 'pass':
      markWave(db, row.id, step.wave, 'passed_unix_ms', nowUnixMs);
      setState(db, row, row.state, step.reason);
      return;
    case 'replace':
      for (const deviceId of replacePlaces(db, row, step.wave, step.places, nowUnixMs)) hints.add(deviceId);
      audit(db, row, 'rollout.replace', step.reason, nowUnixMs);
      return;
    case 'halt':
      moveState(db, row, 'halt', step.reason);
      for (const deviceId of devicesAtWork(db, row.id)) hints.add(deviceId);
      audit(db, row, 'rollout.halt', step.reason, nowUnixMs);
      return;
    case 'finish':
      moveState(db, row, 'finish', step.reason);
      audit(db, row, 'rollout.complete', step.reason, nowUnixMs);
  }
}

function audit(db: Sqlite, row: RolloutRow, action: string, detail: string, nowUnixMs: number): void {
  appendAudit(db, { actor: 'server', action, subject: rolloutName(row.id), detail }, nowUnixMs);
}

function setState(db: Sqlite, row: RolloutRow, state: RolloutState, reason: string): void {
  db.run(db.build.updateTable('rollouts').set({ state, reason }).where('id', '=', row.id));
}

/** Throws when the table does not allow it: core decided on a state that the rollout is not in. */
function moveState(db: Sqlite, row: RolloutRow, event: RolloutEvent, reason: string): void {
  const state = nextRolloutState(row.state, event);
  if (state === undefined) throw new Error(`a ${row.state} rollout cannot ${event}`);
  setState(db, row, state, reason);
}

function markWave(
  db: Sqlite,
  rollout: number,
  position: number,
  column: 'opened_unix_ms' | 'passed_unix_ms',
  nowUnixMs: number,
): void {
  const update = db.build.updateTable('rollout_waves').set({ [column]: nowUnixMs });
  db.run(update.where('rollout', '=', rollout).where('position', '=', position));
}

function openWave(db: Sqlite, rollout: number, wave: number, nowUnixMs: number): string[] {
  const sql = `
    UPDATE parts SET open_unix_ms = ? WHERE rollout = ? AND wave = ? AND state = 'waiting' AND open_unix_ms IS NULL
    RETURNING device_id`;
  return db
    .prepare<{ device_id: string }>(sql)
    .all(nowUnixMs, rollout, wave)
    .map((row) => row.device_id);
}

/** The next devices of later waves move into this one; as many free places are marked as taken. */
function replacePlaces(db: Sqlite, row: RolloutRow, wave: number, places: number, nowUnixMs: number): string[] {
  const take = `
    UPDATE parts SET place_taken = 1 WHERE id IN (
      SELECT id FROM parts WHERE rollout = ? AND wave = ? AND place_taken = 0
        AND (state = 'superseded' OR state = 'called-off' OR (state = 'waiting' AND open_unix_ms <= ?))
      ORDER BY place_rank LIMIT ?)`;
  db.prepare(take).run(row.id, wave, nowUnixMs - row.action_timeout_ms, places);
  const move = `
    UPDATE parts SET wave = @wave, open_unix_ms = @nowUnixMs WHERE id IN (
      SELECT id FROM parts WHERE rollout = @rollout AND wave > @wave AND state = 'waiting' ORDER BY place_rank LIMIT @places)
    RETURNING device_id`;
  return db
    .prepare<{ device_id: string }>(move)
    .all({ rollout: row.id, wave, nowUnixMs, places })
    .map((moved) => moved.device_id);
}

/** Devices with an action under way. */
export function devicesAtWork(db: Sqlite, rollout: number): string[] {
  const sql = `SELECT device_id FROM parts WHERE rollout = ? AND state IN ('offered', 'installing', 'staged', 'trial')`;
  return db
    .prepare<{ device_id: string }>(sql)
    .all(rollout)
    .map((row) => row.device_id);
}
