/** Devices' parts in rollouts: reading them for decisions, applying events to them. Runs within the caller's transaction. */
import type { RolloutPurpose, RolloutState } from '../../protocol/operator-api.ts';
import { applyToPart, isOpen, type PartEvent } from '../core/action.ts';
import type { Candidate } from '../core/offer.ts';
import type { Part, PartState } from '../core/ports.ts';
import type { Sqlite } from './database.ts';

interface PartRow {
  readonly id: number;
  readonly rollout: number;
  readonly device_id: string;
  readonly place_rank: number;
  readonly wave: number;
  readonly state: PartState;
  readonly state_since_unix_ms: number;
  readonly open_unix_ms: number | null;
  readonly offered_unix_ms: number | null;
  readonly deadline_unix_ms: number | null;
  readonly attempted: number;
  readonly forgiven: number;
  readonly detail: string;
}

interface CandidateRow extends PartRow {
  readonly rollout_state: RolloutState;
  readonly purpose: RolloutPurpose;
  readonly action_timeout_ms: number;
  readonly release_path: string;
  readonly hardware_class: string;
  readonly channel: string;
  readonly sequence: number;
  readonly version: string;
  readonly withdrawn: number;
}

/** `r12` ↔ 12. Rollouts and actions have short names that a person can type. */
export const rolloutName = (id: number): string => `r${id}`;
const actionName = (id: number): string => `a${id}`;

export function rolloutNumber(rolloutId: string): number | undefined {
  return /^r[1-9]\d{0,14}$/.test(rolloutId) ? Number(rolloutId.slice(1)) : undefined;
}

export function partOf(row: PartRow): Part {
  return {
    actionId: actionName(row.id),
    rolloutId: rolloutName(row.rollout),
    deviceId: row.device_id,
    rank: row.place_rank,
    wave: row.wave,
    state: row.state,
    stateSinceUnixMs: row.state_since_unix_ms,
    openUnixMs: row.open_unix_ms,
    offeredUnixMs: row.offered_unix_ms,
    deadlineUnixMs: row.deadline_unix_ms,
    attempted: row.attempted === 1,
    forgiven: row.forgiven === 1,
    detail: row.detail,
  };
}

const CANDIDATES = `
  SELECT parts.*, rollouts.state AS rollout_state, rollouts.purpose, rollouts.action_timeout_ms, releases.release_path,
    releases.hardware_class, releases.channel, releases.sequence, releases.version, releases.withdrawn
  FROM parts JOIN rollouts ON rollouts.id = parts.rollout
    JOIN releases ON releases.release_path = rollouts.release_path`;

/** Every part of a device, newest rollout first. */
export function candidatesOf(db: Sqlite, deviceId: string): Candidate[] {
  const sql = `${CANDIDATES} WHERE parts.device_id = ? ORDER BY parts.rollout DESC`;
  return db.prepare<CandidateRow>(sql).all(deviceId).map(candidateOf);
}

/** Every part there is, by device: for the whole fleet's explanations in one reading. */
export function candidatesByDevice(db: Sqlite): Map<string, Candidate[]> {
  const byDevice = new Map<string, Candidate[]>();
  for (const row of db.prepare<CandidateRow>(`${CANDIDATES} ORDER BY parts.rollout DESC`).iterate()) {
    const list = byDevice.get(row.device_id);
    if (list === undefined) byDevice.set(row.device_id, [candidateOf(row)]);
    else list.push(candidateOf(row));
  }
  return byDevice;
}

function candidateOf(row: CandidateRow): Candidate {
  return {
    part: partOf(row),
    rolloutState: row.rollout_state,
    actionTimeoutMs: row.action_timeout_ms,
    purpose: row.purpose,
    releasePath: row.release_path,
    hardwareClass: row.hardware_class,
    channel: row.channel,
    sequence: row.sequence,
    version: row.version,
    withdrawn: row.withdrawn === 1,
  };
}

const UPDATE = `
  UPDATE parts SET state = ?, state_since_unix_ms = ?, offered_unix_ms = ?, deadline_unix_ms = ?, attempted = ?, detail = ?
  WHERE id = ?`;
const DETAIL_CAP_CHARACTERS = 700;

/** What happened to parts in one transaction. */
export class PartChanges {
  readonly #db: Sqlite;
  readonly #nowUnixMs: number;
  /** Rollouts whose numbers changed. */
  readonly rollouts = new Set<string>();
  /** Devices whose part changed. */
  readonly devices = new Set<string>();

  constructor(db: Sqlite, nowUnixMs: number) {
    this.#db = db;
    this.#nowUnixMs = nowUnixMs;
  }

  /** Applies the event, writes the part if that changed it, and returns what it is now. */
  apply(part: Part, event: PartEvent): Part {
    const next = applyToPart(part, event, this.#nowUnixMs);
    if (next === part) return part;
    this.#db
      .prepare(UPDATE)
      .run(
        next.state,
        next.stateSinceUnixMs,
        next.offeredUnixMs,
        next.deadlineUnixMs,
        next.attempted ? 1 : 0,
        next.detail.slice(0, DETAIL_CAP_CHARACTERS),
        Number(next.actionId.slice(1)),
      );
    this.rollouts.add(next.rolloutId);
    this.devices.add(next.deviceId);
    return next;
  }
}

/** Parts of a rollout whose time is up. */
export function overdueParts(
  db: Sqlite,
  rollout: number,
  nowUnixMs: number,
): (Part & { lastSeenUnixMs: number | null })[] {
  const sql = `
    SELECT parts.*, devices.last_seen_unix_ms FROM parts JOIN devices USING (device_id)
    WHERE parts.rollout = ? AND parts.deadline_unix_ms <= ? AND parts.state IN ('offered', 'installing', 'staged', 'trial')`;
  return db
    .prepare<PartRow & { last_seen_unix_ms: number | null }>(sql)
    .all(rollout, nowUnixMs)
    .map((row) => ({ ...partOf(row), lastSeenUnixMs: row.last_seen_unix_ms }));
}

export function openParts(db: Sqlite, rollout: number): Part[] {
  const sql = `SELECT * FROM parts WHERE rollout = ? AND state IN ('waiting', 'offered', 'installing', 'staged', 'trial')`;
  return db.prepare<PartRow>(sql).all(rollout).map(partOf);
}

export const isSettled = (state: PartState): boolean => !isOpen(state) && state !== 'waiting';
