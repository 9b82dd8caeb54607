/**
 * Claims, nonces and certificates. A claim belongs to the first key that proves it, for good; a key belongs to one
 * device. Each function runs within the caller's transaction.
 */
import type { Actor, CertificateRecord, ClaimRecord, EnrolOutcome, NewCertificate, NewClaim } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import { beginCredentialLife } from './credentials.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';
import { candidatesOf, PartChanges } from './parts.ts';
import { countNewLifeAsRotation } from './rotation-parts.ts';
import { keepWaitingKey, takeApprovedKey } from './waiting-keys.ts';

const NONCES_PER_CLAIM = 16;

export interface ClaimsOrder {
  readonly hardwareClass: string;
  readonly claims: readonly NewClaim[];
  readonly expiresUnixMs: number;
  readonly actor: Actor;
  readonly nowUnixMs: number;
}

/** The ids that are taken already; empty when all claims were made, and none was made otherwise. */
export function createClaims(db: Sqlite, order: ClaimsOrder): string[] {
  const states = new Map(
    order.claims.map(({ claimId }) => [
      claimId,
      db.first(db.build.selectFrom('devices').select('enrolment').where('device_id', '=', claimId))?.enrolment,
    ]),
  );
  const taken = [...states].filter(([, state]) => state !== undefined && state !== 'revoked').map(([id]) => id);
  if (taken.length > 0) return taken;
  for (const claim of order.claims) insertClaim(db, order, claim);
  const ids = order.claims.map((claim) => claim.claimId);
  const subject = ids.length === 1 ? (ids[0] ?? '') : `${ids[0]} … ${ids.at(-1)} (${ids.length})`;
  const detail = `class ${order.hardwareClass}, good until ${new Date(order.expiresUnixMs).toISOString()}`;
  appendAudit(db, { actor: order.actor, action: 'claims.create', subject, detail }, order.nowUnixMs);
  return [];
}

function insertClaim(db: Sqlite, order: ClaimsOrder, { claimId, sealedSecret }: NewClaim): void {
  const claim = {
    hardware_class: order.hardwareClass,
    sealed_secret: sealedSecret,
    expires_unix_ms: order.expiresUnixMs,
    used_by_key: null,
    created_unix_ms: order.nowUnixMs,
  };
  const device = {
    hardware_class: order.hardwareClass,
    enrolment: 'claimed' as const,
    enrolment_since_unix_ms: order.nowUnixMs,
  };
  db.run(
    db.build
      .insertInto('claims')
      .values({ claim_id: claimId, ...claim })
      .onConflict((conflict) => conflict.column('claim_id').doUpdateSet(claim)),
  );
  db.run(
    db.build
      .insertInto('devices')
      .values({ device_id: claimId, ...device })
      .onConflict((conflict) => conflict.column('device_id').doUpdateSet(device)),
  );
}

export function findClaim(db: Sqlite, claimId: string): ClaimRecord | undefined {
  const row = db.first(db.build.selectFrom('claims').selectAll().where('claim_id', '=', claimId));
  return (
    row && {
      claimId: row.claim_id,
      hardwareClass: row.hardware_class,
      sealedSecret: new Uint8Array(row.sealed_secret),
      expiresUnixMs: row.expires_unix_ms,
      usedByKeySha256: row.used_by_key,
    }
  );
}

export function keepNonce(db: Sqlite, nonce: string, claimId: string, expiresUnixMs: number, nowUnixMs: number): void {
  db.run(db.build.deleteFrom('nonces').where('expires_unix_ms', '<=', nowUnixMs));
  const living = db.build.selectFrom('nonces').select('nonce').where('claim_id', '=', claimId);
  const oldest = db.all(living.orderBy('expires_unix_ms', 'desc').orderBy('nonce')).slice(NONCES_PER_CLAIM - 1);
  for (const row of oldest) db.run(db.build.deleteFrom('nonces').where('nonce', '=', row.nonce));
  db.run(db.build.insertInto('nonces').values({ nonce, claim_id: claimId, expires_unix_ms: expiresUnixMs }));
}

export function takeNonce(db: Sqlite, nonce: string, claimId: string, nowUnixMs: number): boolean {
  const row = db.first(db.build.selectFrom('nonces').selectAll().where('nonce', '=', nonce));
  if (row === undefined) return false;
  db.run(db.build.deleteFrom('nonces').where('nonce', '=', nonce));
  return row.claim_id === claimId && row.expires_unix_ms > nowUnixMs;
}

export function enrolDevice(db: Sqlite, claimId: string, certificate: NewCertificate, nowUnixMs: number): EnrolOutcome {
  const claim = findClaim(db, claimId);
  if (claim === undefined) return { outcome: 'claim-unknown' };
  const device = db.first(db.build.selectFrom('devices').select('enrolment').where('device_id', '=', claimId));
  if (device?.enrolment === 'revoked') return { outcome: 'revoked' };
  const alarm = (detail: string): void => {
    appendAudit(db, { actor: `device:${claimId}`, action: 'enrol.alarm', subject: claimId, detail }, nowUnixMs);
    addDeviceEvent(db, claimId, nowUnixMs, 'alarm', detail);
  };
  const ofKey = db.first(
    db.build
      .selectFrom('certificates')
      .select(['device_id', 'chain_pem', 'revoked_unix_ms', 'not_after_unix_ms', 'superseded_unix_ms'])
      .where('key_sha256', '=', certificate.keySha256)
      .orderBy('issued_unix_ms', 'desc'),
  );
  if (ofKey !== undefined && ofKey.device_id !== claimId) {
    alarm(`it came with the key of ${ofKey.device_id}: one of the two is a copy`);
    return { outcome: 'key-of-other-device', deviceId: ofKey.device_id };
  }
  if (claim.usedByKeySha256 !== null && claim.usedByKeySha256 !== certificate.keySha256) {
    if (!takeApprovedKey(db, claimId, certificate.keySha256, nowUnixMs)) {
      const key = certificate.keySha256;
      const words = `another key (${key.slice(0, 12)}) proved the claim of this device and waits for approval: a moved or copied card, or a stolen secret`;
      if (keepWaitingKey(db, claimId, key, nowUnixMs)) alarm(words);
      return { outcome: 'other-key' };
    }
    revokeCertificates(db, claimId, nowUnixMs);
    bind(db, claim, certificate, nowUnixMs);
    return { outcome: 'enrolled', deviceId: claimId, chainPem: certificate.chainPem, replaced: true };
  }
  // Only a key that was revoked together with its device, and comes again with the new claim, gets here with a dead one.
  if (ofKey !== undefined && ofKey.revoked_unix_ms !== null) return { outcome: 'revoked' };
  if (ofKey !== undefined && Math.min(ofKey.not_after_unix_ms, ofKey.superseded_unix_ms ?? Infinity) <= nowUnixMs) {
    // It was away for longer than its certificate was good, or the answer with a new one got lost: claim and key are the
    // same as before, and it knows both.
    insertCertificate(db, claimId, certificate, nowUnixMs);
    addDeviceEvent(
      db,
      claimId,
      nowUnixMs,
      'enrolled',
      `certificate ${certificate.serial}, after the former one expired`,
    );
    return { outcome: 'enrolled', deviceId: claimId, chainPem: certificate.chainPem, replaced: false };
  }
  if (ofKey !== undefined) return { outcome: 'same-key', deviceId: claimId, chainPem: ofKey.chain_pem };
  if (claim.expiresUnixMs <= nowUnixMs) return { outcome: 'claim-expired' };
  bind(db, claim, certificate, nowUnixMs);
  return { outcome: 'enrolled', deviceId: claimId, chainPem: certificate.chainPem, replaced: false };
}

function bind(db: Sqlite, claim: ClaimRecord, certificate: NewCertificate, nowUnixMs: number): void {
  const deviceId = claim.claimId;
  db.run(
    db.build.updateTable('claims').set({ used_by_key: certificate.keySha256 }).where('claim_id', '=', claim.claimId),
  );
  db.run(
    db.build
      .updateTable('devices')
      .set((is) => ({
        enrolment: 'enrolled',
        enrolment_since_unix_ms: nowUnixMs,
        // A new key is a new life: its reports count from one again.
        acknowledged_report: 0,
        report_epoch: is('report_epoch', '+', 1),
      }))
      .where('device_id', '=', deviceId),
  );
  insertCertificate(db, deviceId, certificate, nowUnixMs);
  beginCredentialLife(db, deviceId);
  countNewLifeAsRotation(db, deviceId, nowUnixMs);
  const detail = `certificate ${certificate.serial}, class ${claim.hardwareClass}`;
  appendAudit(db, { actor: `device:${deviceId}`, action: 'enrol', subject: deviceId, detail }, nowUnixMs);
  addDeviceEvent(db, deviceId, nowUnixMs, 'enrolled', detail);
}

export function insertCertificate(db: Sqlite, deviceId: string, certificate: NewCertificate, nowUnixMs: number): void {
  db.run(
    db.build.insertInto('certificates').values({
      fingerprint_sha256: certificate.fingerprintSha256,
      serial: certificate.serial,
      device_id: deviceId,
      key_sha256: certificate.keySha256,
      chain_pem: certificate.chainPem,
      not_after_unix_ms: certificate.notAfterUnixMs,
      issued_unix_ms: nowUnixMs,
      revoked_unix_ms: null,
    }),
  );
}

const CERTIFICATE_BY_FINGERPRINT = `
  SELECT device_id AS deviceId, serial, fingerprint_sha256 AS fingerprintSha256,
         not_after_unix_ms AS notAfterUnixMs, revoked_unix_ms IS NOT NULL AS revoked,
         first_used_unix_ms IS NULL AS unused, superseded_unix_ms AS supersededUnixMs
  FROM certificates WHERE fingerprint_sha256 = ?`;

export function findCertificate(db: Sqlite, fingerprintSha256: string): CertificateRecord | undefined {
  const row = db
    .prepare<Omit<CertificateRecord, 'revoked' | 'unused'> & { revoked: number; unused: number }>(
      CERTIFICATE_BY_FINGERPRINT,
    )
    .get(fingerprintSha256);
  return row && { ...row, revoked: row.revoked === 1, unused: row.unused === 1 };
}

function revokeCertificates(db: Sqlite, deviceId: string, nowUnixMs: number): void {
  db.run(
    db.build
      .updateTable('certificates')
      .set({ revoked_unix_ms: nowUnixMs })
      .where('device_id', '=', deviceId)
      .where('revoked_unix_ms', 'is', null),
  );
}

export function revokeDevice(db: Sqlite, deviceId: string, actor: Actor, why: string, nowUnixMs: number): boolean {
  const update = db.build
    .updateTable('devices')
    .set({ enrolment: 'revoked', enrolment_since_unix_ms: nowUnixMs, presence: null })
    .where('device_id', '=', deviceId)
    .where('enrolment', '!=', 'revoked');
  const known = db.first(db.build.selectFrom('devices').select('device_id').where('device_id', '=', deviceId));
  if (known === undefined) return false;
  if (db.run(update).changes === 0) return true;
  revokeCertificates(db, deviceId, nowUnixMs);
  db.prepare('DELETE FROM re_enrolments WHERE device_id = ?').run(deviceId);
  db.run(db.build.deleteFrom('nonces').where('claim_id', '=', deviceId));
  // It cannot come any more: neither a failure of the release, nor a place held for it.
  const changes = new PartChanges(db, nowUnixMs);
  for (const { part } of candidatesOf(db, deviceId)) changes.apply(part, { kind: 'called-off' });
  appendAudit(db, { actor, action: 'device.revoke', subject: deviceId, detail: why }, nowUnixMs);
  addDeviceEvent(db, deviceId, nowUnixMs, 'revoked', why);
  return true;
}
