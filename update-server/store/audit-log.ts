/**
 * What people and the server did, in a chain: each entry's hash covers the hash before it and the entry itself, so that
 * an altered, removed or inserted entry breaks every later one. Triggers refuse UPDATE and DELETE; the chain shows whoever
 * goes around them.
 *
 *   hash = SHA-256(hash of the entry before, hex ‖ canonical JSON of the entry without its hash); the first follows 64 zeros
 */
import type { AuditEntry } from '../../protocol/operator-api.ts';
import { concat, utf8 } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { canonicalJson } from '../../trust/json.ts';
import type { NewAuditEntry } from '../core/ports.ts';
import type { Sqlite } from './database.ts';

const BEFORE_THE_FIRST = '0'.repeat(64);

interface AuditRow {
  readonly position: number;
  readonly at_unix_ms: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly detail: string;
  readonly hash: string;
}

export function auditHash(previousHash: string, entry: Omit<AuditEntry, 'hash'>): string {
  const { index, atUnixMs, actor, action, subject, detail } = entry;
  const body = canonicalJson({ index, atUnixMs, actor, action, subject, detail });
  return sha256Hex(concat(utf8(previousHash), body));
}

/** Text from outside, made fit for one line and for canonical JSON: no control characters, no half surrogates, capped. */
export function oneLine(text: string, capCharacters: number): string {
  const line = text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();
  return line.length > capCharacters ? `${line.slice(0, capCharacters - 1).toWellFormed()}…` : line;
}

/** Appends within the caller's transaction. */
export function appendAudit(db: Sqlite, entry: NewAuditEntry, nowUnixMs: number): AuditEntry {
  const last = db.first(db.build.selectFrom('audit').select(['position', 'hash']).orderBy('position', 'desc').limit(1));
  const body = {
    index: (last?.position ?? -1) + 1,
    atUnixMs: nowUnixMs,
    actor: oneLine(entry.actor, 80),
    action: oneLine(entry.action, 64),
    subject: oneLine(entry.subject, 256),
    detail: oneLine(entry.detail, 2048),
  };
  const complete = { ...body, hash: auditHash(last?.hash ?? BEFORE_THE_FIRST, body) };
  const { index, atUnixMs, ...text } = complete;
  db.run(db.build.insertInto('audit').values({ position: index, at_unix_ms: atUnixMs, ...text }));
  return complete;
}

function entryOf(row: AuditRow): AuditEntry {
  const { position, at_unix_ms, ...text } = row;
  return { index: position, atUnixMs: at_unix_ms, ...text };
}

export function listAudit(db: Sqlite, limit: number, beforeIndex: number | undefined): AuditEntry[] {
  let query = db.build.selectFrom('audit').selectAll().orderBy('position', 'desc').limit(limit);
  if (beforeIndex !== undefined) query = query.where('position', '<', beforeIndex);
  return db.all(query).map(entryOf);
}

/** Walks the whole chain, one entry in memory at a time. */
export function verifyAudit(
  db: Sqlite,
): { readonly ok: true; readonly entries: number } | { readonly ok: false; readonly brokenAtIndex: number } {
  let hash = BEFORE_THE_FIRST;
  let expected = 0;
  const rows = db.prepare<AuditRow>('SELECT * FROM audit ORDER BY position').iterate();
  for (const row of rows) {
    const entry = entryOf(row);
    if (entry.index !== expected || entry.hash !== auditHash(hash, entry))
      return { ok: false, brokenAtIndex: expected };
    hash = entry.hash;
    expected += 1;
  }
  return { ok: true, entries: expected };
}
