/**
 * From what a device reports to what the server knows: the device's own record, and its part in rollouts. A report is
 * believed only about the device that sent it, and only about actions that are this device's; anything else is kept
 * as history and changes nothing.
 */
import type { Report, ReportEvent } from '../../protocol/device-api.ts';
import { describeState } from '../../protocol/reported-state.ts';
import { isOpen, type PartEvent } from './action.ts';
import type { Candidate } from './offer.ts';
import type { DeviceRecord } from './ports.ts';

export type DeviceChange = Partial<
  Pick<
    DeviceRecord,
    | 'bootedSlot'
    | 'state'
    | 'stateSinceUnixMs'
    | 'installed'
    | 'installedSinceUnixMs'
    | 'actionId'
    | 'waiting'
    | 'doneBytes'
    | 'totalBytes'
  >
>;

/** What a report changes in the device's record. Only `confirmed` says what is installed. */
export function deviceAfterReport(report: Report, device: DeviceRecord, nowUnixMs: number): DeviceChange {
  const { event } = report;
  const atUnixMs = Math.min(report.atUnixMs ?? nowUnixMs, nowUnixMs);
  switch (event.kind) {
    case 'booted':
      return { bootedSlot: event.slot };
    case 'state': {
      const since = event.state === device.state ? {} : { stateSinceUnixMs: atUnixMs };
      // Whatever it waited for, it got on: a wait is said at polls only.
      return { state: event.state, actionId: event.actionId, waiting: null, ...since };
    }
    case 'progress':
      return { actionId: event.actionId, doneBytes: event.doneBytes, totalBytes: event.totalBytes };
    case 'confirmed': {
      const installed = { sequence: event.sequence, version: event.version };
      const since = event.sequence === device.installed?.sequence ? {} : { installedSinceUnixMs: atUnixMs };
      return { bootedSlot: event.slot, installed, ...since };
    }
    case 'rolled-back':
    case 'refused':
    case 'failed':
    case 'notice':
      return {};
  }
}

export interface PartChange {
  readonly actionId: string;
  readonly event: PartEvent;
}

/**
 * What a report changes in the device's parts. An outcome that names no action, or one of another rollout of the same
 * release, counts for every part of the device that waits for this very release.
 */
export function partsAfterReport(
  event: ReportEvent,
  candidates: readonly Candidate[],
  nowUnixMs: number,
): PartChange[] {
  switch (event.kind) {
    case 'booted':
    case 'notice':
      return [];
    case 'state':
    case 'progress': {
      const state = event.kind === 'state' ? event.state : 'downloading';
      return candidates
        .filter((candidate) => candidate.part.actionId === event.actionId)
        .map((candidate) => ({
          actionId: candidate.part.actionId,
          event: { kind: 'says', state, deadlineUnixMs: nowUnixMs + candidate.actionTimeoutMs },
        }));
    }
    case 'confirmed':
    case 'rolled-back':
    case 'refused':
    case 'failed':
      return candidates
        .filter((candidate) => concerns(event, candidate))
        .map((candidate) => ({
          actionId: candidate.part.actionId,
          event: outcomeOf(event, nowUnixMs + candidate.actionTimeoutMs),
        }));
  }
}

type Outcome = Extract<ReportEvent, { kind: 'confirmed' | 'rolled-back' | 'refused' | 'failed' }>;

/** The named action, if it is of this release; else the parts that this device has open for this release. */
function concerns(event: Outcome, { part, sequence }: Candidate): boolean {
  if (sequence !== event.sequence) return false;
  return (
    event.actionId === part.actionId || isOpen(part.state) || (event.kind === 'confirmed' && part.state === 'waiting')
  );
}

function outcomeOf(event: Outcome, deadlineUnixMs: number): PartEvent {
  switch (event.kind) {
    case 'confirmed':
      return { kind: 'confirmed', detail: `${event.version} in slot ${event.slot}` };
    case 'rolled-back':
      return rolledBack(event, deadlineUnixMs);
    case 'refused':
      return { kind: 'refused', detail: inWords(event.code, event.detail) };
    case 'failed':
      return { kind: 'trouble', detail: inWords(event.code, event.detail), deadlineUnixMs };
  }
}

/** Without quarantine (the server was away during the trial) the device tries again: trouble, not the release's failure. */
function rolledBack(event: Extract<ReportEvent, { kind: 'rolled-back' }>, deadlineUnixMs: number): PartEvent {
  const detail = inWords(event.reason, event.detail);
  return event.quarantined ? { kind: 'rolled-back', detail } : { kind: 'trouble', detail, deadlineUnixMs };
}

function inWords(code: string, detail: string): string {
  return detail === '' ? code : `${code}: ${detail}`;
}

/** One line of a device's history. */
export function describeReport(event: ReportEvent): string {
  switch (event.kind) {
    case 'booted':
      return `booted slot ${event.slot}${event.trial ? ' on trial' : ''}, ${event.version} (sequence ${event.sequence})`;
    case 'state':
      return describeState(event.state);
    case 'progress':
      return `fetched ${event.doneBytes} of ${event.totalBytes} bytes of sequence ${event.sequence}`;
    case 'confirmed':
      return `confirmed ${event.version} (sequence ${event.sequence}) in slot ${event.slot}`;
    case 'rolled-back':
      return `rolled back from sequence ${event.sequence}: ${inWords(event.reason, event.detail)}${event.quarantined ? '; quarantined' : ''}`;
    case 'refused':
      return `refused sequence ${event.sequence}: ${inWords(event.code, event.detail)}`;
    case 'failed':
      return `failed on sequence ${event.sequence}: ${inWords(event.code, event.detail)}`;
    case 'notice':
      return inWords(event.code, event.detail);
  }
}
