/**
 * From which boots a device's reports come. It sends its oldest first, so its boots come one after another: one that comes
 * again after a later one is of a second board with the same key. A copy that is read before it starts cannot know what
 * the other boots call themselves. Runs within the caller's transaction.
 */
import type { Sqlite } from './database.ts';

/** Of each device; who was silent for longer than so many boots of the other is not found by this. */
const BOOTS_PER_DEVICE = 16;

const KEEP = 'INSERT INTO device_boots (device_id, boot_id) VALUES (?, ?)';
const PRUNE = `
  DELETE FROM device_boots WHERE device_id = @deviceId AND id <= (
    SELECT id FROM device_boots WHERE device_id = @deviceId ORDER BY id DESC LIMIT 1 OFFSET ${BOOTS_PER_DEVICE})`;

/** A report from another boot than the one before it. True: from a boot that a later one had followed. */
export function bootComesAgain(db: Sqlite, deviceId: string, bootId: string): boolean {
  const removed = db.prepare('DELETE FROM device_boots WHERE device_id = ? AND boot_id = ?').run(deviceId, bootId);
  db.prepare(KEEP).run(deviceId, bootId);
  db.prepare(PRUNE).run({ deviceId });
  return removed.changes > 0;
}

export function forgetBoots(db: Sqlite, deviceId: string): void {
  db.prepare('DELETE FROM device_boots WHERE device_id = ?').run(deviceId);
  db.prepare('UPDATE devices SET report_boot = NULL WHERE device_id = ?').run(deviceId);
}
