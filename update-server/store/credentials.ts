/**
 * What devices state of their credentials: judged, kept, and shown. Runs within the caller's transaction, so that two
 * statements that speak against each other cannot both pass. Never a secret: statements have none.
 */
import type { CredentialEntry } from '../../protocol/credentials.ts';
import {
  isOwn,
  judgeStatement,
  type KnownCredentials,
  type RaisedFlag,
  SEEN_TWICE,
  type StatementFacts,
} from '../core/credentials.ts';
import type { DeviceRecord, GivenStatement, StatementOutcome } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import type { Sqlite } from './database.ts';
import { forgetBoots } from './device-boots.ts';
import { addDeviceEvent } from './device-events.ts';
import { type DeviceRow, deviceOf, findDeviceRow } from './device-rows.ts';
import { escrowDigest } from './escrow-blobs.ts';
import { settleRotation } from './rotation-parts.ts';
import { advanceRotation } from './rotations.ts';

/** A device keeps this many of its statements; older ones make room. */
const STATEMENTS_PER_DEVICE = 16;
const FLAG_DETAIL_CAP_CHARACTERS = 512;

interface EntryRow {
  readonly name: string;
  readonly kind: CredentialEntry['kind'];
  readonly state: CredentialEntry['state'];
  readonly epoch: number;
  readonly fingerprint: string | null;
  readonly made_unix_ms: number | null;
}

const INVENTORY = 'SELECT * FROM credentials WHERE device_id = ? ORDER BY name';

export function inventoryOf(db: Sqlite, deviceId: string): CredentialEntry[] {
  return db
    .prepare<EntryRow>(INVENTORY)
    .all(deviceId)
    .map(({ name, kind, state, epoch, fingerprint, made_unix_ms }) => ({
      ...{ name, kind, state, epoch, fingerprint },
      madeUnixMs: made_unix_ms,
    }));
}

export function recordStatement(db: Sqlite, given: GivenStatement, nowUnixMs: number): StatementOutcome {
  const row = findDeviceRow(db, given.deviceId);
  if (row === undefined || row.enrolment !== 'enrolled') throw new Error(`${given.deviceId} is not enrolled`);
  const judged = judgeStatement(factsOf(db, row, given));
  if (judged.verdict === 'refused') {
    addDeviceEvent(db, given.deviceId, nowUnixMs, 'alarm', `its statement of credentials was refused: ${judged.code}`);
    return { outcome: 'refused', code: judged.code, touched: [given.deviceId] };
  }
  const { statement } = given;
  const touched = new Set([given.deviceId]);
  const before = deviceOf(row).credentials;
  // An old epoch must not become the one that the next statement is measured by.
  const goesBack = before !== null && statement.epoch < before.epoch;
  if (!goesBack) writeInventory(db, given.deviceId, statement.credentials);
  writeRecord(db, given, judged, goesBack ? before : statement, nowUnixMs);
  keepStatement(db, given, judged, nowUnixMs);
  db.prepare('UPDATE devices SET stated_hardware = ? WHERE device_id = ?').run(statement.hardwareId, given.deviceId);
  if (!judged.flags.some(({ code }) => code === 'hardware-moved')) keepHardware(db, row, statement.hardwareId);
  tellOfChange(db, given.deviceId, before, judged, statement.epoch, nowUnixMs);
  for (const other of flagTwins(db, given, nowUnixMs)) touched.add(other);
  const hints = new Set<string>();
  const settled = settleRotation(db, given.deviceId, { ...statement, ...judged }, nowUnixMs);
  for (const rotation of settled) advanceRotation(db, rotation, hints, nowUnixMs);
  return { outcome: 'judged', verdict: judged.verdict, flags: judged.flags, touched: [...touched], hints: [...hints] };
}

type Judged = Exclude<ReturnType<typeof judgeStatement>, { verdict: 'refused' }>;

const SHARED = `
  SELECT credentials.device_id AS deviceId FROM credentials JOIN devices USING (device_id)
  WHERE fingerprint = ? AND credentials.device_id <> ? AND devices.enrolment <> 'revoked'
    AND credentials.state <> 'owner' AND kind NOT IN ('authorized-keys', 'device-certificate') LIMIT 4`;
const SAME_HARDWARE = `
  SELECT device_id AS deviceId FROM devices
  WHERE hardware_id = ? AND device_id <> ? AND enrolment = 'enrolled' ORDER BY device_id LIMIT 4`;

function twinsOf(
  db: Sqlite,
  { deviceId, statement }: GivenStatement,
): Pick<StatementFacts, 'sharedWith' | 'sameHardware'> {
  const shared = db.prepare<{ deviceId: string }>(SHARED);
  const sharedWith = statement.credentials
    .filter(isOwn)
    .flatMap(({ name, fingerprint }) =>
      fingerprint === null
        ? []
        : shared.all(fingerprint, deviceId).map((other) => ({ name, deviceId: other.deviceId })),
    );
  const same =
    statement.hardwareId === null
      ? []
      : db.prepare<{ deviceId: string }>(SAME_HARDWARE).all(statement.hardwareId, deviceId);
  return { sharedWith, sameHardware: same.map((other) => other.deviceId) };
}

function factsOf(db: Sqlite, row: DeviceRow, given: GivenStatement): StatementFacts {
  const record = deviceOf(row).credentials;
  const known: KnownCredentials | null =
    record === null && row.hardware_id === null
      ? null
      : {
          epoch: record?.epoch ?? 0,
          state: record?.state ?? 'factory',
          hardwareId: row.hardware_id,
          credentials: inventoryOf(db, row.device_id),
        };
  const { deviceId, statement, nonceFresh, signatureValid } = given;
  return {
    ...{ deviceId, statement, nonceFresh, signatureValid, known },
    approvedHardware: row.approved_hardware,
    waitsForApproval: record?.flags.some(({ code }) => code === 'hardware-moved') === true,
    seenTwice: record?.flags.filter(({ code }) => SEEN_TWICE.includes(code)) ?? [],
    keptEscrow: escrowDigest(db, row, statement.epoch),
    ...twinsOf(db, given),
  };
}

function writeInventory(db: Sqlite, deviceId: string, entries: readonly CredentialEntry[]): void {
  db.prepare('DELETE FROM credentials WHERE device_id = ?').run(deviceId);
  const insert = db.prepare(`
    INSERT OR REPLACE INTO credentials (device_id, name, kind, state, epoch, fingerprint, made_unix_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?)`);
  for (const { name, kind, state, epoch, fingerprint, madeUnixMs } of entries) {
    insert.run(deviceId, name, kind, state, epoch, fingerprint, madeUnixMs);
  }
}

const WRITE_RECORD = `
  INSERT INTO credential_records (device_id, verdict, state, epoch, flags, stated_unix_ms) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (device_id) DO UPDATE SET verdict = excluded.verdict, state = excluded.state, epoch = excluded.epoch,
    flags = excluded.flags, stated_unix_ms = excluded.stated_unix_ms`;

function writeRecord(
  db: Sqlite,
  { deviceId }: GivenStatement,
  { verdict, flags }: Judged,
  { state, epoch }: Pick<KnownCredentials, 'state' | 'epoch'>,
  nowUnixMs: number,
): void {
  db.prepare(WRITE_RECORD).run(deviceId, verdict, state, epoch, flagsText(flags), nowUnixMs);
}

export const flagsText = (flags: readonly RaisedFlag[]): string =>
  JSON.stringify(flags.map(({ code, detail }) => ({ code, detail: detail.slice(0, FLAG_DETAIL_CAP_CHARACTERS) })));

function keepStatement(db: Sqlite, given: GivenStatement, { verdict, flags }: Judged, nowUnixMs: number): void {
  db.prepare(`
    INSERT INTO statements (device_id, at_unix_ms, verdict, flags, statement, signature, key_sha256)
    VALUES (?, ?, ?, ?, ?, ?, ?)`).run(
    given.deviceId,
    nowUnixMs,
    verdict,
    flagsText(flags),
    given.bytes,
    given.signature,
    given.keySha256,
  );
  db.prepare(`
    DELETE FROM statements WHERE device_id = @deviceId AND id <= (
      SELECT id FROM statements WHERE device_id = @deviceId ORDER BY id DESC LIMIT 1 OFFSET ${STATEMENTS_PER_DEVICE})`).run(
    {
      deviceId: given.deviceId,
    },
  );
}

/** The first word of a device that was admitted anew, or was approved, is what it is measured by from now on. */
function keepHardware(db: Sqlite, row: DeviceRow, hardwareId: string | null): void {
  if (hardwareId === null && row.approved_hardware !== 'next') return;
  const approved = row.approved_hardware === 'next' ? hardwareId : row.approved_hardware;
  db.prepare('UPDATE devices SET hardware_id = ?, approved_hardware = ? WHERE device_id = ?').run(
    hardwareId,
    approved,
    row.device_id,
  );
}

/** Into the history when the verdict changed; into the audit when something speaks against it. */
function tellOfChange(
  db: Sqlite,
  deviceId: string,
  before: DeviceRecord['credentials'],
  judged: Judged,
  epoch: number,
  nowUnixMs: number,
): void {
  if (judged.flags.length === 0) {
    if (before?.verdict === judged.verdict && before.epoch === epoch) return;
    addDeviceEvent(db, deviceId, nowUnixMs, 'credentials', `states epoch ${epoch}: ${judged.verdict}`);
    return;
  }
  // The same again is no news, and must not fill the audit.
  if (flagsText(before?.flags ?? []) !== flagsText(judged.flags)) raiseAlarm(db, deviceId, judged.flags, nowUnixMs);
}

function raiseAlarm(db: Sqlite, deviceId: string, flags: readonly RaisedFlag[], nowUnixMs: number): void {
  const detail = flags.map((flag) => `${flag.code}: ${flag.detail}`).join('; ');
  addDeviceEvent(db, deviceId, nowUnixMs, 'alarm', detail);
  appendAudit(db, { actor: `device:${deviceId}`, action: 'credentials.alarm', subject: deviceId, detail }, nowUnixMs);
}

/** What speaks against one of two speaks against both. Returns the others that were flagged now. */
function flagTwins(db: Sqlite, given: GivenStatement, nowUnixMs: number): string[] {
  const { sharedWith, sameHardware } = twinsOf(db, given);
  const flagged: string[] = [];
  const names = new Map<string, string[]>();
  for (const { name, deviceId } of sharedWith) names.set(deviceId, [...(names.get(deviceId) ?? []), name]);
  for (const [other, shared] of names) {
    const detail = `${shared.join(', ')} is also ${given.deviceId}'s`;
    if (addFlag(db, other, { code: 'fingerprint-shared', detail }, nowUnixMs)) flagged.push(other);
  }
  for (const other of sameHardware) {
    const flag = { code: 'hardware-on-two-devices', detail: `${given.deviceId} is the same board` } as const;
    if (addFlag(db, other, flag, nowUnixMs)) flagged.push(other);
  }
  return flagged;
}

/** False: it was flagged with this before, or has stated nothing yet. */
export function addFlag(db: Sqlite, deviceId: string, flag: RaisedFlag, nowUnixMs: number): boolean {
  const row = findDeviceRow(db, deviceId);
  const record = row && deviceOf(row).credentials;
  if (record === undefined || record === null || record.flags.some(({ code }) => code === flag.code)) return false;
  db.prepare(`UPDATE credential_records SET verdict = 'flagged', flags = ? WHERE device_id = ?`).run(
    flagsText([...record.flags, flag]),
    deviceId,
  );
  raiseAlarm(db, deviceId, [flag], nowUnixMs);
  return true;
}

/** A device that was admitted with a new key begins anew: its epochs, its inventory, and the board that it is on. */
export function beginCredentialLife(db: Sqlite, deviceId: string): void {
  db.prepare('DELETE FROM credential_records WHERE device_id = ?').run(deviceId);
  db.prepare('DELETE FROM credentials WHERE device_id = ?').run(deviceId);
  forgetBoots(db, deviceId);
  db.prepare(`
    UPDATE devices SET credential_life = credential_life + 1, first_boot_state = NULL, first_boot_epoch = NULL,
      approved_hardware = CASE WHEN hardware_id IS NULL THEN NULL ELSE 'next' END
    WHERE device_id = ?`).run(deviceId);
}
