/**
 * Does what the install machine decided. One small function per effect, each idempotent: after a power cut it runs
 * again, whole, and ends the same.
 *
 * Invariants: the journal already says what is about to happen (update-engine.ts writes it first). Slots, flags and
 * records change only through the ports.
 * May not: decide what follows; an effect yields an event, or a rest, or nothing.
 */

import { systemErrorCode } from '../platform/fault.ts';
import { countersAfterConfirm, slotReachesFloor } from '../trust/counter.ts';
import { accept, type Verdict } from '../trust/refusal.ts';
import { decodeTufDate, raiseTimeFloor } from '../trust/time.ts';
import { decodeMetadata } from '../trust/tuf/metadata.ts';
import { NO_SLOTS } from './boards/none.ts';
import { decideTrial } from './core/health-decision.ts';
import type { Effect, EventKind } from './core/install-machine.ts';
import type { BootFacts, EnginePorts, EngineRest, EngineSettings, Slot } from './core/ports.ts';
import {
  actionMayTry,
  addToQuarantine,
  countNetworkReturn,
  isFinal,
  isQuarantined,
  pruneQuarantine,
} from './core/quarantine.ts';
import { type ObtainedRelease, obtainRelease } from './obtain-release.ts';
import { fillSlot, readBack } from './slot-writer.ts';
import { type DeviceState, otherSlot } from './storage/device-state.ts';
import type { InstallJournal } from './storage/journal.ts';
import { DiskMetadataStore } from './storage/metadata-store.ts';

/** How often a trial asks whether the server is back. */
const SERVER_ASK_MS = 1_000;
const PROGRESS_EVERY_MS = 2_000;

export interface Progress {
  readonly sequence: number;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface Execution {
  readonly ports: EnginePorts;
  readonly settings: EngineSettings;
  readonly state: DeviceState;
  readonly booted: BootFacts;
  /** The verified release under way; in memory only, so that a restart verifies again. */
  obtained: ObtainedRelease | undefined;
  progress: Progress | null;
  progressReportedMs: number;
  /** The server wants something else of us. */
  readonly interrupted: () => boolean;
}

export type Outcome =
  /** Go on with the next effect. */
  | undefined
  /** The state's outcome; `change` goes into the journal together with the transition. */
  | { readonly event: EventKind; readonly change?: Partial<InstallJournal> }
  | { readonly rest: EngineRest }
  /** Stopped between two blocks to look at what the server wants; the effect is still owed. */
  | 'interrupted';

export function runEffect(effect: Effect, execution: Execution): Promise<Outcome> {
  return RUNNERS[effect](execution);
}

const RUNNERS: Readonly<Record<Effect, (x: Execution) => Promise<Outcome>>> = {
  obtain,
  'retire-slot': retireSlot,
  'fill-slot': fill,
  'read-back': readImagesBack,
  'record-slot': recordSlot,
  'check-root': checkRoot,
  'note-server': noteServer,
  'arm-trial': armTrial,
  'disarm-trial': async (x) => void (await x.ports.board.disarmTrial()),
  'request-reboot': requestReboot,
  'judge-trial': judgeTrial,
  'confirm-slot': confirmSlot,
  'report-confirmed': reportConfirmed,
  'retire-below-floor': retireBelowFloor,
  'raise-counters': raiseCounters,
  'record-verdict': recordVerdict,
  'go-back': goBack,
  'report-refused': (x) => reportTrouble(x, 'refused'),
  'report-failed': (x) => reportTrouble(x, 'failed'),
  'report-rolled-back': reportRolledBack,
  'report-held': reportHeld,
  settle,
};

function trouble(x: Execution, code: string, detail: string, quarantine = false): Partial<InstallJournal> {
  const facts = { code: code.slice(0, 128), detail: detail.slice(0, 512), quarantine, bootId: x.booted.bootId };
  return { trouble: facts };
}

function refused(x: Execution, verdict: { readonly code: string; readonly detail: string }): Outcome {
  // Too slow says nothing about the release: the same as a source that is away.
  if (verdict.code === 'transfer-too-slow') return { event: 'source-away' };
  return { event: 'refused', change: trouble(x, verdict.code, verdict.detail) };
}

/** What is under way, for a report; zero when even that was lost. */
function underWay(x: Execution): { actionId: string | null; sequence: number } {
  const { action, plan, target } = x.state.journal;
  const held = target === null ? undefined : x.state.slots[target]?.sequence;
  return { actionId: action?.actionId ?? null, sequence: plan?.sequence ?? action?.sequence ?? held ?? 0 };
}

function targetOf(x: Execution): Slot {
  return x.state.journal.target ?? otherSlot(x.booted.slot);
}

// --- before the trial --------------------------------------------------------------------------------------------

async function obtain(x: Execution): Promise<Outcome> {
  const { action } = x.state.journal;
  if (action === null) return { event: 'failed', change: trouble(x, 'action-lost', 'the journal names no action') };
  if (x.ports.board.kind === 'none') {
    return { event: 'failed', change: trouble(x, NO_SLOTS, 'this device has no slots to install to') };
  }
  if (!actionMayTry(x.state.quarantine, action.actionId)) {
    const detail = 'the server was lost in three trials of this release; a new action lets it try again';
    return { event: 'failed', change: trouble(x, 'network-returns-exhausted', detail) };
  }
  const { installedSequence, floorSequence } = x.state.counters;
  const obtained = await obtainRelease(x.ports, x.settings, action.releasePath, installedSequence, floorSequence);
  const admitted = obtained.ok ? admit(x, obtained.value, action.sequence) : obtained;
  if (!admitted.ok) return refused(x, admitted);
  x.obtained = admitted.value;
  await noteFreshness(x, admitted.value);
  return { event: 'obtained', change: { plan: planOf(admitted.value) } };
}

/** What this device adds to verifyRelease: its own experience, and what it was told to expect. */
function admit(x: Execution, obtained: ObtainedRelease, offeredSequence: number): Verdict<ObtainedRelease> {
  const { sequence } = obtained.release;
  if (sequence !== offeredSequence) {
    return { ok: false, code: 'answer-malformed', detail: `offered sequence ${offeredSequence}, signed ${sequence}` };
  }
  const entry = isQuarantined(x.state.quarantine, sequence);
  if (entry === undefined) return accept(obtained);
  return { ok: false, code: 'release-quarantined', detail: `sequence ${sequence}: ${entry.reason}` };
}

function planOf({ release, trusted }: ObtainedRelease): InstallJournal['plan'] {
  return {
    sequence: release.sequence,
    version: release.version,
    floorSequence: release.floorSequence,
    buildUnixS: release.buildUnixS,
    rootVersion: trusted.root.version,
    rootExpiresUnixS: decodeTufDate(trusted.root.expires) ?? 0,
  };
}

async function noteFreshness(x: Execution, { trusted }: ObtainedRelease): Promise<void> {
  if (trusted.freshness === 'verified') return;
  const code = trusted.freshness === 'unverified' ? 'freshness-unverified' : 'metadata-expired-offline';
  const detail =
    trusted.freshness === 'unverified'
      ? 'no synchronised clock: the metadata could be old; a strictly higher sequence installs all the same'
      : 'timestamp or snapshot is past its expiry; accepted because a person brought it';
  await x.ports.reporter.record({ kind: 'notice', code, detail });
}

async function retireSlot(x: Execution): Promise<Outcome> {
  const target = targetOf(x);
  await x.ports.board.retireSlot(target);
  await x.state.recordSlot(target, null);
  return undefined;
}

async function fill(x: Execution): Promise<Outcome> {
  const { obtained } = x;
  if (obtained === undefined) return { event: 'root-rotated', change: {} };
  const filled = await fillSlot({
    ports: x.ports,
    obtained,
    target: targetOf(x),
    filled: x.state.journal.filled,
    interrupted: x.interrupted,
    onSynced: async (blocks, doneBytes, totalBytes) => {
      await x.state.journalTo({ filled: blocks });
      await noteProgress(x, { sequence: obtained.release.sequence, doneBytes, totalBytes });
    },
  });
  if (!filled.ok) return refused(x, filled);
  return filled.value ? { event: 'written' } : 'interrupted';
}

async function noteProgress(x: Execution, progress: Progress): Promise<void> {
  x.progress = progress;
  const nowMs = x.ports.clock.monotonicMs();
  if (progress.doneBytes < progress.totalBytes && nowMs - x.progressReportedMs < PROGRESS_EVERY_MS) return;
  x.progressReportedMs = nowMs;
  const { doneBytes, totalBytes } = progress;
  await x.ports.reporter.record({ kind: 'progress', ...underWay(x), doneBytes, totalBytes });
}

async function readImagesBack(x: Execution): Promise<Outcome> {
  if (x.obtained === undefined) return { event: 'root-rotated' };
  const result = await readBack(x.ports, x.obtained, targetOf(x));
  if (result.found === 'equal') return { event: 'verified' };
  // The journal's positions were wrong, or the disk is: next time every block is looked at again.
  if (result.found === 'refused')
    return { event: 'refused', change: { ...trouble(x, result.refusal.code, result.refusal.detail), filled: [] } };
  return { event: 'failed', change: { ...trouble(x, 'slot-reads-back-wrong', result.detail), filled: [] } };
}

async function recordSlot(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  if (plan !== null) await x.state.recordSlot(targetOf(x), { sequence: plan.sequence, version: plan.version });
  return undefined;
}

async function checkRoot(x: Execution): Promise<Outcome> {
  const { disk, log } = x.ports;
  const { stateDirectory, factoryRootPath } = x.settings;
  const store = await DiskMetadataStore.open({ disk, stateDirectory, factoryRootPath, log });
  const bytes = await store.read('root');
  const root = bytes === undefined ? undefined : decodeMetadata('root', bytes, { canonicalForm: 'required' });
  const current = root?.ok === true && root.value.signed.version === x.state.journal.plan?.rootVersion;
  return { event: current ? 'root-current' : 'root-rotated' };
}

async function noteServer(x: Execution): Promise<Outcome> {
  const serverBefore = x.settings.offline === true ? false : await x.ports.server.reachable();
  await x.state.journalTo({ serverBefore });
  return undefined;
}

async function armTrial(x: Execution): Promise<Outcome> {
  await x.ports.board.armTrial(targetOf(x));
  return undefined;
}

async function requestReboot(x: Execution): Promise<Outcome> {
  await x.ports.board.requestReboot();
  return { rest: { rest: 'reboot' } };
}

// --- the trial and its end ---------------------------------------------------------------------------------------

async function judgeTrial(x: Execution): Promise<Outcome> {
  const { clock, health, server } = x.ports;
  const { serverBefore } = x.state.journal;
  const verdict = await health.check();
  const startedMs = clock.monotonicMs();
  for (;;) {
    const decision = decideTrial({
      health: verdict,
      serverReachableBefore: serverBefore,
      serverReachable: verdict.healthy && serverBefore && (await server.reachable()),
      waitedMs: clock.monotonicMs() - startedMs,
      waitLimitMs: x.settings.trialServerWaitMs,
    });
    if (decision.decision === 'confirm') return { event: 'health-passed' };
    if (decision.decision === 'go-back') {
      const event = decision.quarantine ? 'health-failed' : 'server-lost';
      return { event, change: trouble(x, decision.reason, decision.detail, decision.quarantine) };
    }
    await clock.sleep(SERVER_ASK_MS);
  }
}

async function confirmSlot(x: Execution): Promise<Outcome> {
  await x.ports.board.confirmSlot(x.booted.slot);
  return { event: 'slot-confirmed' };
}

async function reportConfirmed(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  const version = plan?.version ?? x.state.slots[x.booted.slot]?.version ?? 'unknown';
  await x.ports.reporter.record({ kind: 'confirmed', ...underWay(x), slot: x.booted.slot, version });
  return undefined;
}

async function retireBelowFloor(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  if (plan === null) return undefined;
  const inactive = otherSlot(x.booted.slot);
  const floor = countersAfterConfirm(x.state.counters, plan).floorSequence;
  if (slotReachesFloor(x.state.slots[inactive]?.sequence ?? 0, floor)) return undefined;
  await x.ports.board.retireSlot(inactive);
  return undefined;
}

async function raiseCounters(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  if (plan !== null) {
    const { timeFloorUnixS } = x.state.counters;
    const time = { signedUnixS: plan.buildUnixS, rootExpiresUnixS: plan.rootExpiresUnixS };
    await x.state.raiseCounters({
      ...countersAfterConfirm(x.state.counters, plan),
      timeFloorUnixS: raiseTimeFloor({ floorUnixS: timeFloorUnixS, ...time }),
    });
    await x.state.replaceQuarantine(pruneQuarantine(x.state.quarantine, x.state.counters.installedSequence));
  }
  return { event: 'sealed' };
}

async function recordVerdict(x: Execution): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const { actionId, sequence } = underWay(x);
  if (why === null || sequence === 0) return undefined;
  const { quarantine } = x.state;
  if (why.quarantine) await x.state.replaceQuarantine(addToQuarantine(quarantine, { sequence, reason: why.code }));
  else if (why.code === 'server-unreachable-in-trial' && actionId !== null) {
    await x.state.replaceQuarantine(countNetworkReturn(quarantine, { sequence, actionId, bootId: why.bootId }));
  }
  return undefined;
}

async function goBack(x: Execution): Promise<Outcome> {
  const { order } = await x.ports.board.bootFlags();
  if (order[0] !== x.booted.slot) return requestReboot(x);
  if (x.state.journal.target !== x.booted.slot) return { event: 'back' };
  // Rebooting would only come back here.
  return { event: 'unfit', change: trouble(x, 'cannot-go-back', 'the failed slot is first in the boot order') };
}

// --- reports -----------------------------------------------------------------------------------------------------

async function reportTrouble(x: Execution, kind: 'refused' | 'failed'): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const code = (why?.code ?? 'unknown').slice(0, 64);
  await x.ports.reporter.record({ kind, ...underWay(x), code, detail: why?.detail ?? '' });
  return undefined;
}

async function reportRolledBack(x: Execution): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const facts = { reason: why?.code ?? 'unknown', quarantined: why?.quarantine ?? false, detail: why?.detail ?? '' };
  await x.ports.reporter.record({ kind: 'rolled-back', ...underWay(x), ...facts });
  return undefined;
}

async function reportHeld(x: Execution): Promise<Outcome> {
  const { trouble: why } = x.state.journal;
  const detail = `${why?.code ?? 'unknown'}: ${why?.detail ?? ''}`.slice(0, 512);
  await x.ports.reporter.record({ kind: 'notice', code: 'held', detail });
  return undefined;
}

/** An action that ended for good is not taken up again when the server has not heard of its end yet. */
async function settle(x: Execution): Promise<Outcome> {
  const { action, trouble: why, settled } = x.state.journal;
  const final = why === null ? x.state.slots[x.booted.slot]?.sequence === action?.sequence : isFinal(why);
  x.obtained = undefined;
  x.progress = null;
  await x.state.journalTo({
    owed: [],
    action: null,
    target: null,
    plan: null,
    filled: [],
    serverBefore: false,
    trouble: null,
    settled: action === null ? settled : { actionId: action.actionId, final },
  });
  return undefined;
}

const DISK_CODES = ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EACCES', 'EPERM', 'EFBIG', 'ENOENT', 'ENOTDIR', 'EISDIR'];

/** The code of a `failed` report for what the system throws; undefined for bugs, which must surface. */
export function failureCode(error: unknown): string | undefined {
  const code = systemErrorCode(error);
  if (code === undefined || code.startsWith('ERR_')) return undefined;
  return `${DISK_CODES.includes(code) ? 'disk' : 'system'}-${code.toLowerCase()}`;
}
