/**
 * The report path: prepared statements only. Every report is kept once, in the device's own order.
 *
 * - A repeated report (its answer got lost) is known by its number and digest, and changes nothing.
 * - A device sends its oldest first: a number that is skipped is lost for good on the device. The gap is noted in
 *   the history and acknowledged, or the device could never go on.
 * - An old number with another content is a counter that began anew (a wiped data partition): a new epoch. One that does
 *   not begin anew with 1 went back in time, or is of a second board with the same key; so is a boot that comes again after
 *   a later one. Both are flagged.
 */
import type { Report } from '../../protocol/device-api.ts';
import { utf8 } from '../../trust/bytes.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import type { RaisedFlag } from '../core/credentials.ts';
import type { DeviceRecord, ReportOutcome } from '../core/ports.ts';
import { describeReport, deviceAfterReport, partsAfterReport } from '../core/update-state.ts';
import { addFlag } from './credentials.ts';
import type { Sqlite } from './database.ts';
import { bootComesAgain } from './device-boots.ts';
import { addDeviceEvent } from './device-events.ts';
import { deviceOf, findDeviceRow, writeReported } from './device-rows.ts';
import { candidatesOf, isSettled, PartChanges, rolloutNumber } from './parts.ts';
import { advanceRollout } from './rollout-advance.ts';
import { touchedBy } from './rollouts.ts';

const KNOWN = `SELECT digest FROM device_events WHERE device_id = ? AND report_epoch = ? AND report_sequence = ?`;
const OLDEST_KEPT = `SELECT min(report_sequence) AS oldest FROM device_events WHERE device_id = ? AND report_epoch = ?`;

interface Ledger {
  epoch: number;
  acknowledged: number;
  /** Of the newest report. */
  boot: string | null;
  /** Says that two boards may have this device's key. */
  readonly against: RaisedFlag[];
}

export function acceptReports(
  db: Sqlite,
  deviceId: string,
  reports: readonly Report[],
  nowUnixMs: number,
): ReportOutcome {
  const row = findDeviceRow(db, deviceId);
  if (row === undefined || row.enrolment !== 'enrolled') {
    return { acknowledged: 0, touched: { devices: [], rollouts: [], hints: [] } };
  }
  const ledger: Ledger = {
    epoch: row.report_epoch,
    acknowledged: row.acknowledged_report,
    boot: row.report_boot,
    against: [],
  };
  let device: DeviceRecord = deviceOf(row);
  const changes = new PartChanges(db, nowUnixMs);
  const settled = new Set<string>();
  for (const report of [...reports].sort((a, b) => a.reportSequence - b.reportSequence)) {
    if (!enter(db, deviceId, ledger, report, nowUnixMs)) continue;
    device = { ...device, ...deviceAfterReport(report, device, nowUnixMs) };
    applyToParts(db, deviceId, report, changes, settled, nowUnixMs);
  }
  writeReported(db, device, { ...ledger, nowUnixMs });
  for (const flag of ledger.against) addFlag(db, deviceId, flag, nowUnixMs);
  const hints = new Set<string>();
  for (const rolloutId of settled) advanceRollout(db, rolloutNumber(rolloutId) ?? 0, changes, hints, nowUnixMs);
  return { acknowledged: ledger.acknowledged, touched: touchedBy(changes, hints, [deviceId]) };
}

/** Keeps one report. False when it changes nothing any more: it was here before, or comes long after later ones. */
function enter(db: Sqlite, deviceId: string, ledger: Ledger, report: Report, nowUnixMs: number): boolean {
  const { reportSequence: sequence, event } = report;
  const digest = sha256Hex(utf8(JSON.stringify([report.bootId, report.atUnixMs, event])));
  const late = sequence <= ledger.acknowledged && !beganAnew(db, deviceId, ledger, sequence, digest);
  if (late && digestOf(db, deviceId, ledger.epoch, sequence) !== undefined) return false;
  if (!late && ledger.acknowledged > 0 && sequence > ledger.acknowledged + 1) {
    const gap = `reports ${ledger.acknowledged + 1} to ${sequence - 1} never arrived`;
    addDeviceEvent(db, deviceId, nowUnixMs, 'gap', gap);
  }
  const mark = { epoch: ledger.epoch, sequence, digest };
  addDeviceEvent(db, deviceId, report.atUnixMs ?? nowUnixMs, event.kind, describeReport(event), mark);
  if (late) return false;
  ledger.acknowledged = sequence;
  hearBoot(db, deviceId, ledger, report);
  return true;
}

function hearBoot(db: Sqlite, deviceId: string, ledger: Ledger, { bootId, reportSequence }: Report): void {
  const before = ledger.boot;
  if (before === bootId) return;
  ledger.boot = bootId;
  if (!bootComesAgain(db, deviceId, bootId)) return;
  const detail = `report ${reportSequence} is of boot ${bootId.slice(0, 8)} again, after boot ${before?.slice(0, 8)}`;
  ledger.against.push({ code: 'two-boots-at-once', detail });
}

function digestOf(db: Sqlite, deviceId: string, epoch: number, sequence: number): string | undefined {
  return db.prepare<{ digest: string }>(KNOWN).get(deviceId, epoch, sequence)?.digest;
}

/** Is this old number the beginning of a new count? If so the ledger starts a new epoch with it. */
function beganAnew(db: Sqlite, deviceId: string, ledger: Ledger, sequence: number, digest: string): boolean {
  const known = digestOf(db, deviceId, ledger.epoch, sequence);
  if (known === digest) return false;
  if (known === undefined) {
    // Not kept: either it fills a gap, or it is older than everything that is kept, and nobody repeats those.
    const oldest = db.prepare<{ oldest: number | null }>(OLDEST_KEPT).get(deviceId, ledger.epoch)?.oldest ?? null;
    if (oldest !== null && sequence > oldest) return false;
  }
  if (known !== undefined && sequence > 1)
    ledger.against.push({ code: 'reports-went-back', detail: `report ${sequence} came twice, and is not the same` });
  ledger.epoch += 1;
  ledger.acknowledged = 0;
  return true;
}

function applyToParts(
  db: Sqlite,
  deviceId: string,
  report: Report,
  changes: PartChanges,
  settled: Set<string>,
  nowUnixMs: number,
): void {
  const candidates = candidatesOf(db, deviceId);
  for (const { actionId, event } of partsAfterReport(report.event, candidates, nowUnixMs)) {
    const part = candidates.find((candidate) => candidate.part.actionId === actionId)?.part;
    if (part === undefined) continue;
    const next = changes.apply(part, event);
    if (next !== part && isSettled(next.state)) settled.add(next.rolloutId);
  }
}
