/**
 * Certificates beside the one in use. Two are good at once until the newer is first used, so that an answer which gets
 * lost strands nobody; from then on every older one is refused. Runs within the caller's transaction.
 */
import type { RenewOutcome, Store } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';
import { insertCertificate } from './enrolment.ts';

type RenewRequest = Parameters<Store['renewCertificate']>[0];

interface OfKey {
  readonly device_id: string;
  readonly chain_pem: string;
  readonly usable: number;
}

const OF_KEY = `
  SELECT device_id, chain_pem,
    first_used_unix_ms IS NULL AND revoked_unix_ms IS NULL AND superseded_unix_ms IS NULL AND not_after_unix_ms > ? AS usable
  FROM certificates WHERE key_sha256 = ? ORDER BY issued_unix_ms DESC, rowid DESC`;

export function renewCertificate(db: Sqlite, request: RenewRequest): RenewOutcome {
  const { deviceId, certificate, graceMs, nowUnixMs } = request;
  const ofKey = db.prepare<OfKey>(OF_KEY).all(nowUnixMs, certificate.keySha256);
  const other = ofKey.find((row) => row.device_id !== deviceId);
  if (other !== undefined) {
    const detail = `it asked for a certificate for the key of ${other.device_id}: one of the two is a copy`;
    appendAudit(db, { actor: `device:${deviceId}`, action: 'enrol.alarm', subject: deviceId, detail }, nowUnixMs);
    addDeviceEvent(db, deviceId, nowUnixMs, 'alarm', detail);
    return { outcome: 'key-of-other-device', deviceId: other.device_id };
  }
  const unused = ofKey.find((row) => row.usable === 1);
  if (unused !== undefined) return { outcome: 'same-key', chainPem: unused.chain_pem };
  retire(db, deviceId, nowUnixMs, nowUnixMs + graceMs);
  insertCertificate(db, deviceId, certificate, nowUnixMs);
  const until = new Date(certificate.notAfterUnixMs).toISOString();
  addDeviceEvent(db, deviceId, nowUnixMs, 'renewed', `certificate ${certificate.serial}, good until ${until}`);
  return { outcome: 'renewed', chainPem: certificate.chainPem };
}

/** What was issued and never used is refused at once: its answer is lost. What is in use has its time. */
function retire(db: Sqlite, deviceId: string, nowUnixMs: number, untilUnixMs: number): void {
  db.prepare(`
    UPDATE certificates SET superseded_unix_ms = CASE WHEN first_used_unix_ms IS NULL THEN ? ELSE ? END
    WHERE device_id = ? AND superseded_unix_ms IS NULL`).run(nowUnixMs, untilUnixMs, deviceId);
}

export function markCertificateUsed(db: Sqlite, fingerprintSha256: string, nowUnixMs: number): void {
  const row = db
    .prepare<{ device_id: string; serial: string; key_sha256: string }>(`
      UPDATE certificates SET first_used_unix_ms = ? WHERE fingerprint_sha256 = ? AND first_used_unix_ms IS NULL
      RETURNING device_id, serial, key_sha256`)
    .get(nowUnixMs, fingerprintSha256);
  if (row === undefined) return;
  const { changes } = db
    .prepare(`
      UPDATE certificates SET superseded_unix_ms = @nowUnixMs
      WHERE device_id = @deviceId AND fingerprint_sha256 <> @fingerprintSha256
        AND (superseded_unix_ms IS NULL OR superseded_unix_ms > @nowUnixMs)`)
    .run({ nowUnixMs, deviceId: row.device_id, fingerprintSha256 });
  // The claim follows the key: the former one has no way back with it.
  db.prepare('UPDATE claims SET used_by_key = ? WHERE claim_id = ? AND used_by_key IS NOT NULL').run(
    row.key_sha256,
    row.device_id,
  );
  if (changes === 0) return;
  const detail = `certificate ${row.serial} is in use; the former one is refused from now on`;
  appendAudit(
    db,
    { actor: `device:${row.device_id}`, action: 'certificate.renew', subject: row.device_id, detail },
    nowUnixMs,
  );
}
