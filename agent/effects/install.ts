/**
 * From an offer to an armed trial: obtain, write, read back, note, arm.
 *
 * Invariants: everything here may run twice. Nothing here makes a slot bootable but `armTrial`, which the install machine
 * names only after the read-back.
 */
import { accept, type Verdict } from '../../trust/refusal.ts';
import { decodeTufDate } from '../../trust/time.ts';
import { decodeMetadata } from '../../trust/tuf/metadata.ts';
import { ReleaseFetch } from '../blocks/release-fetch.ts';
import { NO_SLOTS } from '../boards/none.ts';
import { isLocal } from '../core/local-action.ts';
import { actionMayTry, isQuarantined } from '../core/quarantine.ts';
import { compileHotCode } from '../hot-code.ts';
import { type ObtainedRelease, obtainRelease } from '../obtain-release.ts';
import { readBack } from '../slot-reader.ts';
import { fillSlot } from '../slot-writer.ts';
import { baselineRecord } from '../storage/baseline-record.ts';
import type { InstallJournal } from '../storage/journal.ts';
import { DiskMetadataStore } from '../storage/metadata-store.ts';
import { type Execution, type Outcome, type Progress, refused, targetOf, trouble, underWay } from './execution.ts';
import { awaitUse } from './wait.ts';

const PROGRESS_EVERY_MS = 2_000;
/** For smaller forms of an image that the server is still making. Who tries things out does not wait long. */
const TRANSPORT_WAIT_MS = { production: 300_000, rehearsal: 20_000, lab: 20_000 } as const;

export async function obtain(x: Execution): Promise<Outcome> {
  const { action } = x.state.journal;
  if (action === null) return { event: 'failed', change: trouble(x, 'action-lost', 'the journal names no action') };
  if (x.ports.board.kind === 'none') {
    return { event: 'failed', change: trouble(x, NO_SLOTS, 'this device has no slots to install to') };
  }
  if (isLocal(action) && x.settings.offline !== true) {
    const detail = 'the device started again without the directory that the release came from; install it once more';
    return { event: 'failed', change: trouble(x, 'local-source-gone', detail) };
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
  await noteWithoutAgent(x, admitted.value);
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

/** Its author says so: nothing of Holdfast's will run in its trial, or confirm it. */
async function noteWithoutAgent(x: Execution, { release }: ObtainedRelease): Promise<void> {
  const { withoutAgent, version } = release;
  if (withoutAgent === undefined) return;
  const detail = `${version} brings no agent: ${withoutAgent}; its system must confirm its slot itself, or the device goes back`;
  await x.ports.reporter.record({ kind: 'notice', code: 'release-without-agent', detail });
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

export async function retireSlot(x: Execution): Promise<Outcome> {
  const target = targetOf(x);
  await x.ports.board.retireSlot(target);
  await x.state.recordSlot(target, null);
  return undefined;
}

export async function fill(x: Execution): Promise<Outcome> {
  const { obtained } = x;
  if (obtained === undefined) return { event: 'root-rotated', change: {} };
  const wait = x.settings.inUse?.download === true ? await awaitUse(x) : undefined;
  if (wait !== undefined) return wait;
  compileHotCode();
  if (x.fetch?.obtained !== obtained) await endFetch(x);
  x.fetch ??= beginFetch(x, obtained);
  const filled = await fillSlot({
    ports: x.ports,
    fetch: x.fetch,
    target: targetOf(x),
    filled: x.state.journal.filled,
    interrupted: x.interrupted,
    onSynced: async (blocks, doneBytes, totalBytes) => {
      await x.state.journalTo({ filled: blocks });
      await noteProgress(x, { sequence: obtained.release.sequence, doneBytes, totalBytes });
    },
  });
  if (!filled.ok) return refused(x, filled);
  if (!filled.value) return 'interrupted';
  const detail = x.fetch.describe().slice(0, 512);
  if (x.ports.source.transport !== undefined) {
    await x.ports.reporter.record({ kind: 'notice', code: 'image-transport', detail });
  }
  await endFetch(x);
  return { event: 'written' };
}

function beginFetch(x: Execution, obtained: ObtainedRelease): ReleaseFetch {
  const { ports, settings, booted, state, interrupted } = x;
  return new ReleaseFetch({
    ports,
    obtained,
    booted: booted.slot,
    target: targetOf(x),
    bootedSequence: state.slots[booted.slot]?.sequence,
    stateDirectory: settings.stateDirectory,
    waitMs: settings.transportWaitMs ?? TRANSPORT_WAIT_MS[settings.device.environment],
    interrupted,
  });
}

/** Files and memory of fetching are given back; what was kept of recipes is removed. */
export async function endFetch(x: Execution): Promise<void> {
  const { fetch } = x;
  x.fetch = undefined;
  await fetch?.end();
}

async function noteProgress(x: Execution, progress: Progress): Promise<void> {
  x.progress = progress;
  x.waiting = null;
  x.ports.onProgress?.();
  const nowMs = x.ports.clock.monotonicMs();
  if (progress.doneBytes < progress.totalBytes && nowMs - x.progressReportedMs < PROGRESS_EVERY_MS) return;
  x.progressReportedMs = nowMs;
  const { doneBytes, totalBytes } = progress;
  await x.ports.reporter.record({ kind: 'progress', ...underWay(x), doneBytes, totalBytes });
}

export async function readImagesBack(x: Execution): Promise<Outcome> {
  if (x.obtained === undefined) return { event: 'root-rotated' };
  const result = await readBack(x.ports, x.obtained, targetOf(x));
  if (result.found === 'equal') {
    if (result.cached.length > 0) await noteCached(x, result.cached);
    return { event: 'verified' };
  }
  // The journal's positions were wrong, or the disk is: next time every block is looked at again.
  if (result.found === 'refused')
    return { event: 'refused', change: { ...trouble(x, result.refusal.code, result.refusal.detail), filled: [] } };
  return { event: 'failed', change: { ...trouble(x, 'slot-reads-back-wrong', result.detail), filled: [] } };
}

async function noteCached(x: Execution, components: readonly string[]): Promise<void> {
  const detail = `read back through the page cache, because the file system does not read past it: ${components.join(', ')}`;
  await x.ports.reporter.record({ kind: 'notice', code: 'medium-unverified', detail: detail.slice(0, 512) });
}

export async function recordSlot(x: Execution): Promise<Outcome> {
  const { plan } = x.state.journal;
  if (plan !== null) await x.state.recordSlot(targetOf(x), { sequence: plan.sequence, version: plan.version });
  return undefined;
}

export async function checkRoot(x: Execution): Promise<Outcome> {
  const { disk, log } = x.ports;
  const { stateDirectory, factoryRootPath } = x.settings;
  const store = await DiskMetadataStore.open({ disk, stateDirectory, factoryRootPath, log });
  const bytes = await store.read('root');
  const root = bytes === undefined ? undefined : decodeMetadata('root', bytes, { canonicalForm: 'required' });
  const current = root?.ok === true && root.value.signed.version === x.state.journal.plan?.rootVersion;
  return { event: current ? 'root-current' : 'root-rotated' };
}

export async function noteServer(x: Execution): Promise<Outcome> {
  const serverBefore = x.settings.offline === true ? false : await x.ports.server.reachable();
  await x.state.journalTo({ serverBefore });
  return undefined;
}

export async function noteBaseline(x: Execution): Promise<Outcome> {
  const actionId = x.state.journal.action?.actionId;
  const baseline = await x.ports.health.baseline?.();
  if (actionId === undefined || baseline === undefined) return undefined;
  const failedUnits = [...baseline.failedUnits];
  await baselineRecord(x.ports.disk, x.settings.stateDirectory).write({
    format: 'holdfast-baseline-1',
    actionId,
    failedUnits,
  });
  return undefined;
}

export async function armTrial(x: Execution): Promise<Outcome> {
  await x.ports.board.armTrial(targetOf(x));
  return undefined;
}

export async function requestReboot(x: Execution): Promise<Outcome> {
  for (const failed of (await x.ports.application?.beforeReboot()) ?? []) {
    await x.ports.reporter.record({ kind: 'notice', code: 'before-reboot-failed', detail: failed.slice(0, 512) });
  }
  await x.ports.board.requestReboot();
  return { rest: { rest: 'reboot' } };
}
