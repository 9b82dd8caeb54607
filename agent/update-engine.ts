/**
 * Drives the install machine: journals the intent (state and effects), runs the effects, journals the outcome.
 *
 * Invariants: no effect runs that the journal does not name; an effect may run twice, never half; what the server
 * wants is looked at between any two effects and between blocks.
 * May not: talk to a server (main polls and hands offers in); decide (core/ does).
 *
 * Crash behaviour: a cut anywhere leaves a journal from which boot recovery goes on; test/sim/crash-everywhere
 * cuts at every disk operation.
 */
import { makeDirectoryDurably } from '../platform/durable-file.ts';
import { errorText, Fault } from '../platform/fault.ts';
import type { Installed, InstallState } from '../protocol/device-api.ts';
import { type BootSituation, recover, type TrialFlag } from './core/boot-recovery.ts';
import { canBeCalledOff, type EventKind, next, type Transition } from './core/install-machine.ts';
import { isLocal } from './core/local-action.ts';
import {
  type BootFacts,
  type BootFlags,
  type EnginePorts,
  type EngineRest,
  type EngineSettings,
  MustWait,
  type Offer,
  type Slot,
  SourceUnreachable,
} from './core/ports.ts';
import { isFinal, reportedQuarantine } from './core/quarantine.ts';
import { DEFAULT_RETRY, fractionOf, retryDelayMs } from './core/schedule.ts';
import type { Execution, Outcome, Progress, Waiting } from './effects/execution.ts';
import { failureCode, runEffect } from './executor.ts';
import { DeviceState, otherSlot } from './storage/device-state.ts';
import { History } from './storage/history.ts';
import type { InstallJournal } from './storage/journal.ts';
import { AGENT_VERSION } from './version.ts';

/** Everything that a poll says of the device's updates. */
export interface EngineStatus {
  readonly state: InstallState;
  readonly stateSinceUnixMs: number | null;
  readonly bootedSlot: Slot | null;
  /** What is permanent: in a trial, still the release that the device would go back to. */
  readonly installed: Installed;
  readonly floorSequence: number;
  readonly actionId: string | null;
  readonly quarantined: readonly { readonly sequence: number; readonly reason: string }[];
  /** While a release is being fetched, else null. */
  readonly progress: Progress | null;
  /** What the action waits for, on this device; null when it gets on. */
  readonly waiting: Waiting | null;
  /** Why the device is held, or empty. */
  readonly heldWhy: string;
}

/** Events that end an action without success. */
const ENDS: readonly EventKind[] = ['refused', 'failed', 'back'];
const UNKNOWN: Installed = { sequence: 0, version: 'unknown' };
/** How far a release came that used its attempts up, by what its predecessor finds in the journal. */
const HOW_FAR: Partial<Record<BootSituation['journal'], string>> = {
  armed: 'no attempt reached its agent',
  trial: 'its agent began the trial and did not end it',
  confirming: 'it passed and was not confirmed',
};
/** States in which the booted slot is not permanent yet. */
const UNCONFIRMED: readonly InstallState[] = ['trial', 'confirming', 'rolling-back'];

export class UpdateEngine {
  readonly #execution: Execution;
  readonly #history: History;
  /** The newest offer not looked at yet; undefined: none. */
  #inbox: Offer | undefined;
  /** An action that ended without being over: it is tried again once its pause has passed. */
  #postponed: NonNullable<Offer> | undefined;
  /** Failures in a row of one action, and when it may try again. */
  #failures = { actionId: '', count: 0, notBeforeMs: 0 };
  /** How many of the journal's owed effects ran in this process. */
  #done = 0;

  /** Boot recovery: what this start means, journaled and reported. Throws Fault when the board cannot say what booted. */
  static async open(ports: EnginePorts, settings: EngineSettings): Promise<UpdateEngine> {
    await makeDirectoryDurably(ports.disk, settings.stateDirectory);
    const booted = await ports.board.bootFacts();
    const flags = await ports.board.bootFlags();
    const onTrial = booted.trial && flags.trial?.slot === booted.slot;
    const state = await DeviceState.open(ports, settings, { ...booted, onTrial });
    const engine = new UpdateEngine(ports, settings, state, booted);
    await engine.#recover(flags, onTrial);
    return engine;
  }

  private constructor(ports: EnginePorts, settings: EngineSettings, state: DeviceState, booted: BootFacts) {
    const interrupted = () => this.#inboxEvent() !== undefined;
    const memory = {
      obtained: undefined,
      fetch: undefined,
      progress: null,
      progressReportedMs: Number.NEGATIVE_INFINITY,
      waiting: null,
    };
    this.#execution = { ports, settings, state, booted, ...memory, inUseSinceMs: undefined, interrupted };
    this.#history = new History(ports.disk, settings.stateDirectory);
  }

  status(): EngineStatus {
    const { state, booted, ports, progress, waiting } = this.#execution;
    const { journal, slots, counters } = state;
    const goesBack = UNCONFIRMED.includes(journal.state) && journal.target === booted.slot;
    return {
      state: journal.state,
      stateSinceUnixMs: journal.sinceUnixMs,
      bootedSlot: ports.board.kind === 'none' ? null : booted.slot,
      installed: slots[goesBack ? otherSlot(booted.slot) : booted.slot] ?? UNKNOWN,
      floorSequence: counters.floorSequence,
      actionId: journal.action?.actionId ?? null,
      quarantined: reportedQuarantine(state.quarantine),
      progress,
      waiting,
      heldWhy: journal.state === 'held' ? (journal.trouble?.code ?? 'unknown') : '',
    };
  }

  /**
   * Takes the server's answer to a poll; null calls off what can still be called off. Looked at by `run`, at once when
   * one is under way. Not durable: the next poll says it again.
   */
  async offer(offer: Offer): Promise<void> {
    this.#inbox = offer;
    if (offer?.actionId !== this.#postponed?.actionId) this.#postponed = undefined;
  }

  /** The server asks to try again at once: pauses after failures are forgotten. */
  retryNow(): void {
    this.#failures = { actionId: '', count: 0, notBeforeMs: 0 };
  }

  /** Drives the install machine to its next rest. One call at a time. */
  async run(): Promise<EngineRest> {
    for (;;) {
      await this.#takeInbox();
      const { journal } = this.#execution.state;
      const effect = journal.owed[this.#done];
      if (effect === undefined) {
        const rest = await this.#atRest();
        if (rest !== undefined) return rest;
        continue;
      }
      const outcome = await this.#attempt(() => runEffect(effect, this.#execution));
      this.#execution.ports.onProgress?.();
      if (outcome === undefined) {
        if (effect === 'await-use') await this.#waitIsOver();
        this.#done += 1;
      } else if (outcome !== 'interrupted' && 'wait' in outcome) return this.#wait(outcome.wait);
      else if (outcome !== 'interrupted') {
        if ('rest' in outcome) return outcome.rest;
        await this.#dispatch(outcome.event, outcome.change);
        if (outcome.event === 'source-away') return { rest: 'retry', afterMs: this.#countFailure() };
        if (ENDS.includes(outcome.event)) this.#postpone();
      }
    }
  }

  /** The same again later. Said, noted and journaled once, however often it is asked. */
  async #wait({
    afterMs,
    ...why
  }: {
    reason: Waiting['reason'];
    detail: string;
    afterMs: number;
  }): Promise<EngineRest> {
    const { ports, waiting } = this.#execution;
    if (waiting?.reason !== why.reason) {
      await this.#dispatch('must-wait');
      this.#execution.waiting = { ...why, sinceUnixMs: ports.clock.wallUnixMs() ?? null };
      ports.log.info('waits', why);
      await ports.reporter.record({ kind: 'notice', code: why.reason, detail: why.detail.slice(0, 512) });
    }
    return { rest: 'retry', afterMs };
  }

  /** The server gave the place away meanwhile: it hears that the device goes on, before it falls silent. */
  async #waitIsOver(): Promise<void> {
    if (this.#execution.waiting === null) return;
    this.#execution.waiting = null;
    await this.#reportState();
  }

  /** Nothing is owed: is what runs fit, and if so, where does the engine rest? */
  async #atRest(): Promise<EngineRest | undefined> {
    const { state } = this.#execution;
    if (state.journal.owed.length > 0) {
      this.#done = 0;
      await state.journalTo({ owed: [] });
      return undefined;
    }
    const unfit = this.#unfit();
    if (state.journal.state === 'idle' && unfit !== undefined) {
      await this.#dispatch('unfit', { trouble: unfit });
      return undefined;
    }
    if (this.#postponed !== undefined) {
      const afterMs = Math.max(this.#failures.notBeforeMs - this.#execution.ports.clock.monotonicMs(), 0);
      return { rest: 'retry', afterMs };
    }
    if (state.journal.state === 'idle') return { rest: 'idle' };
    if (state.journal.state === 'held') return { rest: 'held', why: state.journal.trouble?.code ?? 'unknown' };
    throw new Error(`nothing is owed in state ${state.journal.state}: boot recovery or the machine forgot an effect`);
  }

  /** Why what runs may only be updated, or undefined. */
  #unfit(): InstallJournal['trouble'] | undefined {
    const { state, booted, ports } = this.#execution;
    if (ports.board.kind === 'none') return undefined;
    const runs = state.slots[booted.slot];
    const facts = { quarantine: false, bootId: booted.bootId };
    if (runs === null) {
      return {
        ...facts,
        code: 'booted-release-unknown',
        detail: `no record says which release slot ${booted.slot} holds`,
      };
    }
    const { floorSequence } = state.counters;
    if (runs.sequence >= floorSequence) return undefined;
    const detail = `slot ${booted.slot} holds sequence ${runs.sequence}, the floor is ${floorSequence}`;
    return { ...facts, code: 'booted-below-floor', detail };
  }

  // --- events ----------------------------------------------------------------------------------------------------

  /** What the world throws becomes an event where the machine takes it; the rest surfaces. */
  async #attempt(effect: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await effect();
    } catch (error) {
      const { state, booted, ports } = this.#execution;
      const takes = (event: EventKind) => !('illegal' in next(state.journal.state, event));
      if (error instanceof MustWait && takes('must-wait')) {
        return { wait: { reason: error.reason, detail: error.message, afterMs: error.afterMs } };
      }
      if (error instanceof SourceUnreachable && takes('source-away')) {
        ports.log.info('the source cannot be reached; trying again later', { detail: errorText(error) });
        return { event: 'source-away' };
      }
      const code = error instanceof Fault ? error.code : failureCode(error);
      if (code === undefined || !takes('failed')) throw error;
      const detail = errorText(error).slice(0, 512);
      return { event: 'failed', change: { trouble: { code, detail, quarantine: false, bootId: booted.bootId } } };
    }
  }

  async #dispatch(event: EventKind, change: Partial<InstallJournal> = {}): Promise<void> {
    const { state, ports } = this.#execution;
    const before = state.journal.state;
    const transition = next(before, event);
    if ('illegal' in transition) throw new Error(`illegal transition: ${event} in state ${before}`);
    await this.#enter(transition, change);
    await this.#noteEvent(before, event, change);
    if (transition.state === before) return;
    ports.log.info(`${before} → ${transition.state}`, { event });
    await this.#reportState();
  }

  async #noteEvent(before: InstallState, event: EventKind, { trouble }: Partial<InstallJournal>): Promise<void> {
    const { journal } = this.#execution.state;
    await this.#history.note({
      kind: 'event',
      atUnixMs: this.#execution.ports.clock.wallUnixMs() ?? null,
      before,
      event,
      state: journal.state,
      actionId: journal.action?.actionId ?? null,
      why: trouble == null ? '' : `${trouble.code}: ${trouble.detail}`,
    });
  }

  async #enter(transition: Transition, change: Partial<InstallJournal>): Promise<void> {
    const { state, ports } = this.#execution;
    const sinceUnixMs =
      transition.state === state.journal.state ? state.journal.sinceUnixMs : (ports.clock.wallUnixMs() ?? null);
    await state.journalTo({ ...change, state: transition.state, owed: [...transition.effects], sinceUnixMs });
    this.#done = 0;
    this.#execution.waiting = null;
    if (transition.state === 'checking') this.#execution.obtained = undefined;
  }

  async #reportState(): Promise<void> {
    const { state, ports } = this.#execution;
    const { journal } = state;
    await ports.reporter.record({ kind: 'state', state: journal.state, actionId: journal.action?.actionId ?? null });
  }

  /** Which event the waiting offer is; undefined when it changes nothing. */
  #inboxEvent(): 'offered' | 'halt' | 'superseded' | undefined {
    const offer = this.#inbox;
    const { journal } = this.#execution.state;
    if (offer === undefined) return undefined;
    // What a person began, a person ends: no server knows of it.
    if (isLocal(journal.action) && !isLocal(offer)) return undefined;
    if (offer === null) return canBeCalledOff(journal.state) ? 'halt' : undefined;
    if (journal.state === 'idle' || journal.state === 'held') return journal.owed.length > 0 ? undefined : 'offered';
    if (offer.actionId === journal.action?.actionId) return undefined;
    return canBeCalledOff(journal.state) ? 'superseded' : undefined;
  }

  async #takeInbox(): Promise<void> {
    if (this.#inbox === undefined && this.#mayTryNow(this.#postponed)) this.#inbox = this.#postponed;
    const event = this.#inboxEvent();
    const offer = this.#inbox;
    const { state, booted } = this.#execution;
    const resting = state.journal.state === 'idle' || state.journal.state === 'held';
    const underWay = !resting && offer?.actionId === state.journal.action?.actionId;
    // The one under way is past calling off, or its last report is still owed: the offer waits for its end.
    if (event === undefined && offer !== null && !underWay) return;
    this.#inbox = undefined;
    if (event === undefined || offer === undefined) return;
    if (offer === null) return this.#dispatch('halt');
    if (event === 'offered' && !(await this.#isWanted(offer))) return;
    const fresh = { action: offer, target: otherSlot(booted.slot), plan: null, trouble: null };
    await this.#dispatch(event, fresh);
  }

  /** An offer of what ended already, or of what runs already, is not taken up again. */
  async #isWanted(action: NonNullable<Offer>): Promise<boolean> {
    const { state, booted, ports } = this.#execution;
    const { settled } = state.journal;
    if (settled?.actionId === action.actionId && settled.final) return false;
    const runs = state.slots[booted.slot];
    if (runs?.sequence === action.sequence && state.journal.state === 'idle') {
      const facts = { actionId: action.actionId, slot: booted.slot, ...runs };
      await ports.reporter.record({ kind: 'confirmed', ...facts });
      await state.journalTo({ settled: { actionId: action.actionId, final: true } });
      return false;
    }
    const now = this.#mayTryNow(action);
    this.#postponed = now ? undefined : action;
    return now;
  }

  #mayTryNow(action: NonNullable<Offer> | undefined): boolean {
    if (action === undefined) return false;
    const { actionId, notBeforeMs } = this.#failures;
    return actionId !== action.actionId || this.#execution.ports.clock.monotonicMs() >= notBeforeMs;
  }

  /** Keeps the action that just ended for another try, unless its end is final. */
  #postpone(): void {
    const { action, trouble } = this.#execution.state.journal;
    if (action === null || trouble === null || isFinal(trouble)) return;
    this.#countFailure();
    this.#postponed = action;
  }

  /** Milliseconds until the action may try again. */
  #countFailure(): number {
    const { ports, settings, state } = this.#execution;
    const actionId = state.journal.action?.actionId ?? '';
    const count = this.#failures.actionId === actionId ? this.#failures.count + 1 : 1;
    const pauseMs = retryDelayMs(settings.retry ?? DEFAULT_RETRY, count, fractionOf(ports.random.bytes(4)));
    this.#failures = { actionId, count, notBeforeMs: ports.clock.monotonicMs() + pauseMs };
    return pauseMs;
  }

  // --- start -----------------------------------------------------------------------------------------------------

  async #recover(flags: BootFlags, onTrial: boolean): Promise<void> {
    const { state, booted, ports } = this.#execution;
    const situation: BootSituation = {
      booted: state.journal.target === booted.slot ? 'target' : 'other',
      onTrial,
      flag: flagOf(flags),
      journal: state.journalDamaged ? 'damaged' : state.journal.state,
      belowFloor: this.#unfit() !== undefined,
    };
    const recovery = recover(situation);
    ports.log.info('started', { rule: recovery.rule, slot: booted.slot, trial: onTrial, journal: situation.journal });
    const before = state.journal.state;
    const owed = recovery.effects === 'as-journaled' ? state.journal.owed : [...recovery.effects];
    const why = recovery.reason === '' ? undefined : await this.#troubleAtStart(situation, recovery);
    await this.#enter(
      { state: recovery.state, effects: owed },
      {
        ...(why === undefined ? {} : { trouble: why }),
        ...(recovery.state === 'rolling-back' && state.journal.target === null ? { target: booted.slot } : {}),
      },
    );
    await this.#history.note({
      kind: 'start',
      atUnixMs: ports.clock.wallUnixMs() ?? null,
      agentVersion: AGENT_VERSION,
      bootId: booted.bootId,
      slot: booted.slot,
      situation,
      rule: recovery.rule,
      state: recovery.state,
    });
    await this.#reportBooted(onTrial);
    for (const finding of state.findings) await ports.reporter.record({ kind: 'notice', ...finding });
    if (recovery.state !== before) await this.#reportState();
  }

  async #troubleAtStart(
    situation: BootSituation,
    recovery: { readonly reason: string; readonly quarantine: boolean; readonly rule: string },
  ): Promise<InstallJournal['trouble']> {
    const unfit = this.#unfit();
    if (recovery.reason === 'booted-below-floor' && unfit !== undefined) return unfit;
    const { booted, ports } = this.#execution;
    const { bootId } = booted;
    const rule = `boot recovery, rule ${recovery.rule}: ${JSON.stringify(situation)}`;
    const far = recovery.quarantine ? `${HOW_FAR[situation.journal] ?? ''}${(await ports.lastBootEnd?.()) ?? ''}` : '';
    const detail = `${far}${far === '' ? '' : '; '}${rule}`.slice(0, 512);
    return { code: recovery.reason, detail, quarantine: recovery.quarantine, bootId };
  }

  /** Once per boot, however often the agent starts in it. */
  async #reportBooted(trial: boolean): Promise<void> {
    const { state, booted, ports } = this.#execution;
    if (state.journal.reportedBootId === booted.bootId) return;
    const runs = state.slots[booted.slot] ?? UNKNOWN;
    await ports.reporter.record({ kind: 'booted', slot: booted.slot, trial, ...runs });
    await state.journalTo({ reportedBootId: booted.bootId });
  }
}

function flagOf(flags: BootFlags): TrialFlag {
  if (flags.trial === null) return 'none';
  return flags.trial.attemptsLeft > 0 ? 'pending' : 'spent';
}
