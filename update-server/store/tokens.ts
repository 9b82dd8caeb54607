/** Operators' tokens. Only their SHA-256 is kept; each function runs within the caller's transaction. */
import type { TokenView } from '../../protocol/operator-api.ts';
import type { Actor, NewToken, TokenRecord } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';

export function countTokens(db: Sqlite): number {
  const row = db.first(db.build.selectFrom('tokens').select((expression) => expression.fn.countAll<number>().as('n')));
  return row?.n ?? 0;
}

function insertToken(db: Sqlite, token: NewToken, nowUnixMs: number): void {
  db.run(
    db.build.insertInto('tokens').values({
      token_id: token.tokenId,
      name: token.name,
      role: token.role,
      token_sha256: token.tokenSha256,
      kind: token.kind,
      created_unix_ms: nowUnixMs,
      expires_unix_ms: token.expiresUnixMs,
    }),
  );
}

/** A name is who did it, in the audit: two living tokens never share one. */
function isNameTaken(db: Sqlite, name: string, nowUnixMs: number): boolean {
  const living = db.build
    .selectFrom('tokens')
    .select('token_id')
    .where('name', '=', name)
    .where('revoked', '=', 0)
    .where('kind', '=', 'lasting')
    .where((is) => is.or([is('expires_unix_ms', 'is', null), is('expires_unix_ms', '>', nowUnixMs)]));
  return db.first(living) !== undefined;
}

export function createToken(db: Sqlite, token: NewToken, actor: Actor, nowUnixMs: number): 'created' | 'name-taken' {
  if (token.kind === 'lasting' && isNameTaken(db, token.name, nowUnixMs)) return 'name-taken';
  insertToken(db, token, nowUnixMs);
  const detail = `${token.kind} token for ${token.name}, role ${token.role}`;
  appendAudit(db, { actor, action: 'token.create', subject: token.tokenId, detail }, nowUnixMs);
  return 'created';
}

export function findToken(db: Sqlite, tokenSha256: string): TokenRecord | undefined {
  const row = db.first(db.build.selectFrom('tokens').selectAll().where('token_sha256', '=', tokenSha256));
  return (
    row && {
      tokenId: row.token_id,
      name: row.name,
      role: row.role,
      tokenSha256: row.token_sha256,
      kind: row.kind,
      createdUnixMs: row.created_unix_ms,
      expiresUnixMs: row.expires_unix_ms,
      lastUsedUnixMs: row.last_used_unix_ms,
      revoked: row.revoked === 1,
    }
  );
}

export function exchangeToken(
  db: Sqlite,
  oneTimeTokenId: string,
  token: NewToken,
  nowUnixMs: number,
): 'exchanged' | 'used' | 'name-taken' {
  const unused = db.build
    .selectFrom('tokens')
    .select('token_id')
    .where('token_id', '=', oneTimeTokenId)
    .where('kind', '=', 'one-time')
    .where('revoked', '=', 0);
  if (db.first(unused) === undefined) return 'used';
  if (isNameTaken(db, token.name, nowUnixMs)) return 'name-taken';
  db.run(
    db.build
      .updateTable('tokens')
      .set({ revoked: 1, last_used_unix_ms: nowUnixMs })
      .where('token_id', '=', oneTimeTokenId),
  );
  insertToken(db, token, nowUnixMs);
  const detail = `one-time token ${oneTimeTokenId} exchanged by ${token.name}, role ${token.role}`;
  appendAudit(db, { actor: token.name, action: 'token.login', subject: token.tokenId, detail }, nowUnixMs);
  return 'exchanged';
}

export function touchToken(db: Sqlite, tokenId: string, nowUnixMs: number): void {
  db.run(db.build.updateTable('tokens').set({ last_used_unix_ms: nowUnixMs }).where('token_id', '=', tokenId));
}

/** Living tokens, oldest first. */
export function listTokens(db: Sqlite): TokenView[] {
  const query = db.build.selectFrom('tokens').selectAll().where('revoked', '=', 0).orderBy('created_unix_ms');
  return db.all(query).map((row) => ({
    tokenId: row.token_id,
    name: row.name,
    role: row.role,
    createdUnixMs: row.created_unix_ms,
    expiresUnixMs: row.expires_unix_ms,
    lastUsedUnixMs: row.last_used_unix_ms,
  }));
}

export function revokeToken(db: Sqlite, tokenId: string, actor: Actor, nowUnixMs: number): boolean {
  const update = db.build.updateTable('tokens').set({ revoked: 1 }).where('token_id', '=', tokenId);
  if (db.run(update.where('revoked', '=', 0)).changes === 0) return false;
  appendAudit(db, { actor, action: 'token.revoke', subject: tokenId, detail: '' }, nowUnixMs);
  return true;
}
