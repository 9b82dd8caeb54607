/**
 * What every effect is given, and what it may answer.
 *
 * May not: change anything; these are the words that the effects share.
 */

import type { WaitReason } from '../../protocol/device-api.ts';
import type { ReleaseFetch } from '../blocks/release-fetch.ts';
import type { EventKind } from '../core/install-machine.ts';
import type { BootFacts, EnginePorts, EngineRest, EngineSettings, Slot } from '../core/ports.ts';
import type { ObtainedRelease } from '../obtain-release.ts';
import { type DeviceState, otherSlot } from '../storage/device-state.ts';
import type { InstallJournal } from '../storage/journal.ts';

export interface Progress {
  readonly sequence: number;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface Waiting {
  readonly reason: WaitReason;
  readonly detail: string;
  readonly sinceUnixMs: number | null;
}

export interface Execution {
  readonly ports: EnginePorts;
  readonly settings: EngineSettings;
  readonly state: DeviceState;
  readonly booted: BootFacts;
  /** The verified release under way; in memory only, so that a restart verifies again. */
  obtained: ObtainedRelease | undefined;
  /** Where its blocks come from; in memory only, as long as it is being written. */
  fetch: ReleaseFetch | undefined;
  progress: Progress | null;
  progressReportedMs: number;
  waiting: Waiting | null;
  /** In use without a break since this answer of the application's (monotonic). */
  inUseSinceMs: number | undefined;
  /** The server wants something else of us. */
  readonly interrupted: () => boolean;
}

export type Outcome =
  /** Go on with the next effect. */
  | undefined
  /** The state's outcome; `change` goes into the journal together with the transition. */
  | { readonly event: EventKind; readonly change?: Partial<InstallJournal> }
  | { readonly rest: EngineRest }
  /** `must-wait`, and the same again after so long. */
  | { readonly wait: { readonly reason: WaitReason; readonly detail: string; readonly afterMs: number } }
  /** Stopped between two blocks to look at what the server wants; the effect is still owed. */
  | 'interrupted';

export function trouble(x: Execution, code: string, detail: string, quarantine = false): Partial<InstallJournal> {
  const facts = { code: code.slice(0, 128), detail: detail.slice(0, 512), quarantine, bootId: x.booted.bootId };
  return { trouble: facts };
}

export function refused(x: Execution, verdict: { readonly code: string; readonly detail: string }): Outcome {
  // Too slow says nothing about the release: the same as a source that is away.
  if (verdict.code === 'transfer-too-slow') return { event: 'source-away' };
  return { event: 'refused', change: trouble(x, verdict.code, verdict.detail) };
}

/** What is under way, for a report; zero when even that was lost. */
export function underWay(x: Execution): { actionId: string | null; sequence: number } {
  const { action, plan, target } = x.state.journal;
  const held = target === null ? undefined : x.state.slots[target]?.sequence;
  return { actionId: action?.actionId ?? null, sequence: plan?.sequence ?? action?.sequence ?? held ?? 0 };
}

export function targetOf(x: Execution): Slot {
  return x.state.journal.target ?? otherSlot(x.booted.slot);
}
