/**
 * Giving a sealed blob out: asked for with a reason, approved by another person, fetched by who asked, each step in the
 * audit. What was given out is as good as opened: the device is told to rotate. Runs within the caller's transaction.
 */
import type { EscrowReleaseView } from '../../protocol/operator-api.ts';
import { base64url } from '../../trust/bytes.ts';
import type { Actor, EscrowOutcome, FetchOutcome, GivenEscrow, ReleaseOutcome } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import { addFlag } from './credentials.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';
import { findDeviceRow } from './device-rows.ts';
import { findBlob, keepBlob, newestBlob, ownersOf } from './escrow-blobs.ts';
import { startRotation } from './rotations.ts';

/** An approval is for now, not for later. */
const APPROVAL_LIFE_MS = 24 * 3600 * 1000;
const REQUESTS_SHOWN = 200;
/** A device that is away is asked when it comes back. */
const ROTATION_TIMEOUT_MS = 3600 * 1000;

interface RequestRow {
  readonly id: number;
  readonly device_id: string;
  readonly life: number;
  readonly epoch: number;
  readonly reason: string;
  readonly requested_by: string;
  readonly requested_unix_ms: number;
  readonly approved_by: string | null;
  readonly approved_unix_ms: number | null;
  readonly fetched_unix_ms: number | null;
}

/** Keeps a blob; other bytes for an epoch are refused, and speak against the device. */
export function keepEscrow(db: Sqlite, given: GivenEscrow, nowUnixMs: number): EscrowOutcome {
  const outcome = keepBlob(db, given, nowUnixMs);
  if (outcome === 'kept')
    addDeviceEvent(db, given.deviceId, nowUnixMs, 'escrow', `sealed blob of epoch ${given.epoch}`);
  if (outcome === 'other-bytes') {
    const detail = `it brought ${given.sha256.slice(0, 12)} for epoch ${given.epoch}, for which another is kept`;
    addFlag(db, given.deviceId, { code: 'escrow-differs', detail }, nowUnixMs);
  }
  return outcome;
}

export function requestEscrow(
  db: Sqlite,
  deviceId: string,
  reason: string,
  actor: Actor,
  nowUnixMs: number,
): ReleaseOutcome {
  if (findDeviceRow(db, deviceId) === undefined) return { outcome: 'device-unknown' };
  const blob = newestBlob(db, deviceId);
  if (blob === undefined) return { outcome: 'no-blob' };
  const { lastInsertRowid } = db
    .prepare(`
      INSERT INTO escrow_requests (device_id, life, epoch, reason, requested_by, requested_unix_ms)
      VALUES (?, ?, ?, ?, ?, ?)`)
    .run(deviceId, blob.life, blob.epoch, reason, actor, nowUnixMs);
  const requestId = requestName(Number(lastInsertRowid));
  const detail = `${requestId}, epoch ${blob.epoch}: ${reason}`;
  appendAudit(db, { actor, action: 'escrow.request', subject: deviceId, detail }, nowUnixMs);
  return done(db, requestId);
}

export function approveEscrow(db: Sqlite, requestId: string, actor: Actor, nowUnixMs: number): ReleaseOutcome {
  const row = findRequest(db, requestId);
  if (row === undefined) return { outcome: 'request-unknown' };
  if (row.approved_by !== null) return { outcome: 'approved-before' };
  const alone = countApprovers(db, nowUnixMs) < 2;
  if (row.requested_by === actor && !alone) return { outcome: 'same-person' };
  db.prepare('UPDATE escrow_requests SET approved_by = ?, approved_unix_ms = ? WHERE id = ?').run(
    actor,
    nowUnixMs,
    row.id,
  );
  const words = row.requested_by === actor ? ', by who asked: nobody else may approve here' : '';
  const detail = `${requestId}, epoch ${row.epoch}, asked for by ${row.requested_by}${words}`;
  appendAudit(db, { actor, action: 'escrow.approve', subject: row.device_id, detail }, nowUnixMs);
  return done(db, requestId);
}

/** People, as far as a server can tell them apart: names of living tokens that may approve. */
function countApprovers(db: Sqlite, nowUnixMs: number): number {
  const sql = `
    SELECT count(DISTINCT name) AS n FROM tokens WHERE revoked = 0 AND kind = 'lasting' AND role IN ('approver', 'admin')
      AND (expires_unix_ms IS NULL OR expires_unix_ms > ?)`;
  return db.prepare<{ n: number }>(sql).get(nowUnixMs)?.n ?? 0;
}

export function fetchEscrow(db: Sqlite, requestId: string, actor: Actor, nowUnixMs: number): FetchOutcome {
  const row = findRequest(db, requestId);
  const blob = row && findBlob(db, row.device_id, row.life, row.epoch);
  if (row === undefined || blob === undefined) return { outcome: 'request-unknown' };
  if (row.requested_by !== actor) return { outcome: 'not-who-asked' };
  if (row.approved_unix_ms === null) return { outcome: 'not-approved' };
  if (row.approved_unix_ms + APPROVAL_LIFE_MS <= nowUnixMs) return { outcome: 'approval-expired' };
  const detail = `${requestId}, epoch ${row.epoch}, approved by ${row.approved_by ?? ''}: ${row.reason}`;
  appendAudit(db, { actor, action: 'escrow.fetch', subject: row.device_id, detail }, nowUnixMs);
  addDeviceEvent(db, row.device_id, nowUnixMs, 'escrow', `sealed blob of epoch ${row.epoch} was given to ${actor}`);
  const first = row.fetched_unix_ms === null;
  db.prepare('UPDATE escrow_requests SET fetched_unix_ms = ? WHERE id = ?').run(
    row.fetched_unix_ms ?? nowUnixMs,
    row.id,
  );
  const touched = first ? rotateAfterwards(db, row, nowUnixMs) : [];
  return {
    outcome: 'given',
    answer: {
      deviceId: row.device_id,
      epoch: row.epoch,
      sha256: blob.sha256,
      owners: ownersOf(blob),
      blob: base64url(new Uint8Array(blob.blob)),
    },
    touched: { devices: [row.device_id], rollouts: [], hints: touched },
  };
}

/** A device whose agent cannot rotate, or that was revoked meanwhile, is left as it is. */
function rotateAfterwards(db: Sqlite, row: RequestRow, nowUnixMs: number): readonly string[] {
  const started = startRotation(
    db,
    {
      deviceIds: [row.device_id],
      waves: [{ devices: 1 }],
      maxFailedPercent: 0,
      minSample: 1,
      timeoutMs: ROTATION_TIMEOUT_MS,
      why: `its escrow was given out (${requestName(row.id)})`,
    },
    'server',
    nowUnixMs,
  );
  return started.outcome === 'started' ? started.touched.hints : [];
}

export function listEscrowRequests(db: Sqlite): EscrowReleaseView[] {
  const sql = `SELECT * FROM escrow_requests ORDER BY id DESC LIMIT ${REQUESTS_SHOWN}`;
  return db.prepare<RequestRow>(sql).all().map(viewOf);
}

const requestName = (id: number): string => `e${id}`;

function findRequest(db: Sqlite, requestId: string): RequestRow | undefined {
  const id = /^e[1-9]\d{0,14}$/.test(requestId) ? Number(requestId.slice(1)) : 0;
  return db.prepare<RequestRow>('SELECT * FROM escrow_requests WHERE id = ?').get(id);
}

function done(db: Sqlite, requestId: string): ReleaseOutcome {
  const row = findRequest(db, requestId);
  if (row === undefined) throw new Error(`the request ${requestId} is not where it was put`);
  return { outcome: 'done', request: viewOf(row) };
}

const viewOf = (row: RequestRow): EscrowReleaseView => ({
  requestId: requestName(row.id),
  deviceId: row.device_id,
  epoch: row.epoch,
  reason: row.reason,
  requestedBy: row.requested_by,
  requestedUnixMs: row.requested_unix_ms,
  approvedBy: row.approved_by,
  goodUntilUnixMs: row.approved_unix_ms === null ? null : row.approved_unix_ms + APPROVAL_LIFE_MS,
  fetchedUnixMs: row.fetched_unix_ms,
});
