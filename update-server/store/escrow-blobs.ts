/**
 * Sealed blobs as devices bring them: kept as they are, one an epoch, never replaced. The server has no key to any of
 * them. Runs within the caller's transaction.
 */
import type { DeviceCredentials, EscrowOutstandingAnswer } from '../../protocol/operator-api.ts';
import type { EscrowOutcome, GivenEscrow } from '../core/ports.ts';
import type { Sqlite } from './database.ts';
import { type DeviceRow, findDeviceRow } from './device-rows.ts';

/** A device keeps this many of its blobs here, over all its lives; older ones make room. */
const BLOBS_PER_DEVICE = 32;

export interface BlobRow {
  readonly device_id: string;
  readonly life: number;
  readonly epoch: number;
  readonly sha256: string;
  readonly owners: string;
  readonly blob: Uint8Array;
  readonly stored_unix_ms: number;
}

export const ownersOf = (row: Pick<BlobRow, 'owners'>): string[] => JSON.parse(row.owners) as string[];

const FIND = 'SELECT * FROM escrow_blobs WHERE device_id = ? AND life = ? AND epoch = ?';
const NEWEST = 'SELECT * FROM escrow_blobs WHERE device_id = ? ORDER BY life DESC, epoch DESC LIMIT 1';

export const findBlob = (db: Sqlite, deviceId: string, life: number, epoch: number): BlobRow | undefined =>
  db.prepare<BlobRow>(FIND).get(deviceId, life, epoch);

export const newestBlob = (db: Sqlite, deviceId: string): BlobRow | undefined =>
  db.prepare<BlobRow>(NEWEST).get(deviceId);

export const escrowDigest = (db: Sqlite, row: DeviceRow, epoch: number): string | null =>
  findBlob(db, row.device_id, row.credential_life, epoch)?.sha256 ?? null;

export function newestEscrow(db: Sqlite, deviceId: string): DeviceCredentials['escrow'] {
  const row = newestBlob(db, deviceId);
  if (row === undefined) return null;
  return { epoch: row.epoch, sha256: row.sha256, owners: ownersOf(row), storedUnixMs: row.stored_unix_ms };
}

/** The caller flags the device for `other-bytes`. */
export function keepBlob(db: Sqlite, given: GivenEscrow, nowUnixMs: number): EscrowOutcome {
  const row = findDeviceRow(db, given.deviceId);
  if (row === undefined) throw new Error(`${given.deviceId} is not there`);
  const kept = findBlob(db, given.deviceId, row.credential_life, given.epoch);
  if (kept !== undefined) return kept.sha256 === given.sha256 ? 'same' : 'other-bytes';
  const newest = newestBlob(db, given.deviceId);
  if (newest !== undefined && newest.life === row.credential_life && newest.epoch > given.epoch)
    return 'epoch-went-back';
  db.prepare(`
    INSERT INTO escrow_blobs (device_id, life, epoch, sha256, owners, blob, stored_unix_ms) VALUES (?, ?, ?, ?, ?, ?, ?)`).run(
    given.deviceId,
    row.credential_life,
    given.epoch,
    given.sha256,
    JSON.stringify(given.owners),
    given.blob,
    nowUnixMs,
  );
  db.prepare(`
    DELETE FROM escrow_blobs WHERE device_id = @deviceId AND rowid NOT IN (
      SELECT rowid FROM escrow_blobs WHERE device_id = @deviceId ORDER BY life DESC, epoch DESC LIMIT ${BLOBS_PER_DEVICE})`).run(
    {
      deviceId: given.deviceId,
    },
  );
  return 'kept';
}

const OUTSTANDING = `
  SELECT device_id, epoch, sha256, stored_unix_ms FROM escrow_blobs AS blobs JOIN devices USING (device_id)
  WHERE devices.enrolment <> 'revoked' AND EXISTS (SELECT 1 FROM json_each(owners) WHERE value = ?)
    AND NOT EXISTS (SELECT 1 FROM escrow_blobs AS newer WHERE newer.device_id = blobs.device_id
      AND (newer.life, newer.epoch) > (blobs.life, blobs.epoch))
  ORDER BY device_id`;

export function escrowOutstanding(db: Sqlite, owner: string): EscrowOutstandingAnswer['devices'] {
  return db
    .prepare<Pick<BlobRow, 'device_id' | 'epoch' | 'sha256' | 'stored_unix_ms'>>(OUTSTANDING)
    .all(owner)
    .map((row) => ({
      deviceId: row.device_id,
      epoch: row.epoch,
      sha256: row.sha256,
      storedUnixMs: row.stored_unix_ms,
    }));
}
