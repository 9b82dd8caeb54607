/**
 * How a device stands, for a person's look, and what a person decides: that the board which it states, or the key that
 * came with its claim, is right. Runs within the caller's transaction.
 */
import { isRotated } from '../../protocol/credentials.ts';
import type { CredentialsAnswer, DeviceCredentials } from '../../protocol/operator-api.ts';
import type { Flag } from '../../protocol/reasons.ts';
import { type CredentialPolicy, type Service, serviceFor, standingOf } from '../core/credential-standing.ts';
import { PERSON_DECIDES } from '../core/credentials.ts';
import type { Actor, Store } from '../core/ports.ts';
import { appendAudit } from './audit-log.ts';
import { flagsText, inventoryOf } from './credentials.ts';
import type { Sqlite } from './database.ts';
import { addDeviceEvent } from './device-events.ts';
import { type DeviceRow, deviceOf, enrolledRowsAfter, findDeviceRow } from './device-rows.ts';
import { newestEscrow } from './escrow-blobs.ts';
import { isRotationOwed } from './rotation-parts.ts';
import { approveKey, waitingKeysOf } from './waiting-keys.ts';

/** For a person's look at one device. */
export function credentialsView(db: Sqlite, row: DeviceRow): DeviceCredentials | null {
  const device = deviceOf(row);
  if (device.enrolment !== 'enrolled') return null;
  const record = device.credentials;
  return {
    standing: standingOf(record, device.firstBoot),
    state: record?.state ?? null,
    epoch: record?.epoch ?? 0,
    statedUnixMs: record?.statedUnixMs ?? null,
    hardwareId: row.stated_hardware,
    flags: (record?.flags ?? []).map(({ code, detail }): { code: Flag; detail: string } => ({ code, detail })),
    inventory: inventoryOf(db, row.device_id),
    escrow: newestEscrow(db, row.device_id),
    waitingKeys: waitingKeysOf(db, row.device_id),
  };
}

/** A page of the fleet, for who looks at all of it. */
export function listCredentials(
  db: Sqlite,
  { after, limit }: { readonly after: string | null; readonly limit: number },
): CredentialsAnswer {
  const rows = enrolledRowsAfter(db, after ?? '', limit + 1);
  const page = rows.slice(0, limit);
  const devices = page.flatMap((row) => {
    const credentials = credentialsView(db, row);
    return credentials === null ? [] : [{ deviceId: row.device_id, credentials }];
  });
  return { devices, next: rows.length > limit ? (page.at(-1)?.device_id ?? null) : null };
}

export function serviceOf(db: Sqlite, deviceId: string, policy: CredentialPolicy): Service {
  const row = findDeviceRow(db, deviceId);
  if (row === undefined) return 'all';
  const { credentials, firstBoot } = deviceOf(row);
  return serviceFor(standingOf(credentials, firstBoot), policy.gate, isRotationOwed(db, deviceId, firstBoot));
}

type ApproveOutcome = Awaited<ReturnType<Store['approveDevice']>>;

export function approveDevice(
  db: Sqlite,
  approval: Parameters<Store['approveDevice']>[0],
  actor: Actor,
  nowUnixMs: number,
): ApproveOutcome {
  const row = findDeviceRow(db, approval.deviceId);
  if (row === undefined) return 'device-unknown';
  return approval.what === 'key'
    ? approveKey(db, approval, actor, nowUnixMs)
    : approveHardware(db, row, approval, actor, nowUnixMs);
}

/** The board that the device states becomes the one that it is measured by; its word is judged again without what only a person takes away. */
function approveHardware(
  db: Sqlite,
  row: DeviceRow,
  approval: { readonly value: string | null; readonly why: string },
  actor: Actor,
  nowUnixMs: number,
): ApproveOutcome {
  const { value: hardwareId, why } = approval;
  const deviceId = row.device_id;
  const record = deviceOf(row).credentials;
  if (record?.flags.some(({ code }) => PERSON_DECIDES.includes(code)) !== true) return 'nothing-to-approve';
  if (row.stated_hardware !== hardwareId) return 'says-otherwise';
  const flags = record.flags.filter(({ code }) => !PERSON_DECIDES.includes(code));
  const { state, epoch } = record;
  const credentials = inventoryOf(db, deviceId);
  const proven = isRotated({ state, epoch, credentials }) ? 'proven' : 'factory';
  db.prepare('UPDATE credential_records SET verdict = ?, flags = ? WHERE device_id = ?').run(
    flags.length > 0 ? 'flagged' : proven,
    flagsText(flags),
    deviceId,
  );
  db.prepare('UPDATE devices SET hardware_id = ?, approved_hardware = ? WHERE device_id = ?').run(
    hardwareId,
    hardwareId,
    deviceId,
  );
  const detail = `board ${hardwareId?.slice(0, 12) ?? 'unknown'} after ${row.hardware_id?.slice(0, 12) ?? 'none'}: ${why}`;
  appendAudit(db, { actor, action: 'device.approve', subject: deviceId, detail }, nowUnixMs);
  addDeviceEvent(db, deviceId, nowUnixMs, 'approved', detail);
  return 'approved';
}
