/**
 * Makes the forms of images that devices may fetch, in the background: what the plan wants, then what devices asked for,
 * one at a time, in a process of its own. Nothing of it runs on a request's path; a request only puts a form on the list.
 *
 * Invariants: the list of demands is bounded; a form that fails is tried a few times, with pauses, and then no more until
 * the server starts again; on disk lies what the plan keeps, below the cap. A restart makes what is missing.
 */
import type { TransportState } from '../../protocol/operator-api.ts';
import type { ServerEvents } from '../core/events.ts';
import type { ServerClock, Store } from '../core/ports.ts';
import { formName, type TransportForm, TransportPlan } from '../core/transport-plan.ts';
import { TransportCounters } from './counters.ts';
import { Failures } from './failures.ts';
import type { OpenForm, StoredForm, TransportFolder } from './transport-folder.ts';
import { makeInWorker } from './worker-process.ts';

const DEMANDS_AT_MOST = 64;

export interface PreparationSettings {
  /** Recipes are made from the last so many releases of a class and channel, and lead into the newest so many. */
  readonly recipesFrom: number;
  /** A worker above it is killed. */
  readonly memoryCapBytes: number;
  /** Of all forms on disk together. */
  readonly diskCapBytes: number;
}

export interface PreparationLog {
  info(facts: object, text: string): void;
  warn(facts: object, text: string): void;
  error(facts: object, text: string): void;
}

export interface PreparationPorts {
  readonly folder: TransportFolder;
  readonly store: Pick<Store, 'transportFacts'>;
  /** Where the artifact of this digest lies. */
  readonly artifactPath: (sha256: string) => string;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly log: PreparationLog;
  readonly settings: PreparationSettings;
}

interface Work {
  readonly form: TransportForm;
  readonly name: string;
  step: string;
  donePercent: number;
}

export class Preparation {
  readonly counters = new TransportCounters();
  readonly #ports: PreparationPorts;
  readonly #failures: Failures;
  readonly #ending = new AbortController();
  readonly #demanded = new Map<string, TransportForm>();
  readonly #unsubscribe: () => void;
  #plan = new TransportPlan({ releases: [], installed: [] }, 0);
  #refreshing: Promise<void> = Promise.resolve();
  #refreshAgain = false;
  #busy = false;
  #working: Promise<void> = Promise.resolve();
  #work: Work | undefined;

  private constructor(ports: PreparationPorts) {
    this.#ports = ports;
    this.#failures = new Failures(ports.clock);
    this.#unsubscribe = ports.events.subscribe((event) => {
      if (event.kind === 'release') this.#refreshSoon();
    });
  }

  /** Begins with what is missing, and hears of each publication. */
  static async start(ports: PreparationPorts): Promise<Preparation> {
    const preparation = new Preparation(ports);
    preparation.#refreshSoon();
    await preparation.#refreshing;
    return preparation;
  }

  /** Size of an image that devices may have in other forms: one of a published release. */
  async imageSizeBytes(sha256: string): Promise<number | undefined> {
    await this.#refreshing;
    return this.#plan.image(sha256)?.sizeBytes;
  }

  /** Undefined when it has not been made, or may not be served. */
  async open(form: TransportForm): Promise<OpenForm | undefined> {
    await this.#refreshing;
    return this.#plan.keeps(form) ? this.#ports.folder.open(form) : undefined;
  }

  /**
   * A device of this class would like a form that is not there. `queued`: it is going to be, or is being made; `full`: too
   * much is asked for already; `unknown`: it is not made, because it may not be or because it failed.
   */
  async demand(form: TransportForm, hardwareClass: string): Promise<'queued' | 'full' | 'unknown'> {
    await this.#refreshing;
    const name = formName(form);
    if (!this.#plan.allows(form, hardwareClass) || this.#failures.forbid(name)) return 'unknown';
    if (this.#work?.name === name || this.#demanded.has(name)) return 'queued';
    if (this.#demanded.size >= DEMANDS_AT_MOST) return this.#isWanted(name) ? 'queued' : 'full';
    this.#demanded.set(name, form);
    this.#tell(form);
    this.#workOn();
    return 'queued';
  }

  /** What stands on disk, is being made, waits or failed; what is wanted in the order of the plan. */
  list(): TransportState[] {
    const forms = new Map<string, TransportForm>();
    for (const form of this.#plan.wanted) forms.set(formName(form), form);
    for (const [name, form] of this.#demanded) forms.set(name, form);
    for (const { form } of this.#ports.folder.list()) if (this.#plan.keeps(form)) forms.set(formName(form), form);
    return [...forms].map(([name, form]) => this.#stateOf(name, form));
  }

  /** How many forms wait or are being made. */
  get queueLength(): number {
    return this.list().filter(({ state }) => state === 'queued' || state === 'making').length;
  }

  get storedBytes(): number {
    return this.#ports.folder.totalBytes;
  }

  /** Ends the work that is under way; the next start begins it anew. */
  async close(): Promise<void> {
    this.#unsubscribe();
    this.#ending.abort();
    await this.#refreshing;
    await this.#working;
  }

  #isWanted(name: string): boolean {
    return this.#plan.wanted.some((form) => formName(form) === name);
  }

  #stateOf(name: string, form: TransportForm): TransportState {
    const { imageSha256 } = form;
    const facts = {
      imageSha256,
      kind: form.kind === 'blocks' ? (`blocks-${form.coding}` as const) : form.kind,
      fromSha256: form.kind === 'recipe' ? form.oldSha256 : null,
    };
    const none = { sizeBytes: null, donePercent: null, detail: '' };
    // First: until its work is over, it may yet have to go for want of room.
    if (this.#work?.name === name) {
      const { step, donePercent } = this.#work;
      return { ...facts, ...none, state: 'making', donePercent, detail: step };
    }
    const stored = this.#ports.folder.find(form);
    if (stored !== undefined) return { ...facts, ...none, state: 'made', sizeBytes: stored.sizeBytes };
    const why = this.#failures.whyForbidden(name);
    if (why !== undefined) return { ...facts, ...none, state: 'failed', detail: why.slice(0, 1024) };
    return { ...facts, ...none, state: 'queued' };
  }

  /** One refresh at a time, and one more after it when something was published meanwhile. */
  #refreshSoon(): void {
    if (this.#refreshAgain) return;
    this.#refreshAgain = true;
    this.#refreshing = this.#refreshing.then(async () => {
      this.#refreshAgain = false;
      if (this.#ending.signal.aborted) return;
      try {
        await this.#refresh();
      } catch (error) {
        this.#ports.log.error({ err: error }, 'what images travel as could not be planned');
      }
    });
  }

  async #refresh(): Promise<void> {
    const { folder, store, settings } = this.#ports;
    this.#plan = new TransportPlan(await store.transportFacts(), settings.recipesFrom);
    for (const { form } of folder.list()) if (!this.#plan.keeps(form)) await folder.remove(form);
    for (const [name, form] of this.#demanded) if (!this.#plan.keeps(form)) this.#demanded.delete(name);
    this.#workOn();
  }

  #workOn(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#working = this.#workThrough().catch((error: unknown) => {
      this.#busy = false;
      this.#ports.log.error({ err: error }, 'preparing images for transport stopped');
    });
  }

  async #workThrough(): Promise<void> {
    for (;;) {
      const form = this.#ending.signal.aborted ? undefined : this.#next();
      if (form === undefined) {
        // In the same breath as the look: a demand that comes next begins anew.
        this.#busy = false;
        return;
      }
      await this.#make(form);
    }
  }

  /** A device waits for what was asked for; of that, what the plan wants anyway serves more than one. */
  #next(): TransportForm | undefined {
    const due = (form: TransportForm): boolean =>
      this.#ports.folder.find(form) === undefined && !this.#failures.forbid(formName(form));
    for (const [name, form] of this.#demanded) if (!due(form)) this.#demanded.delete(name);
    const demanded = [...this.#demanded.values()];
    return (
      demanded.find((form) => this.#isWanted(formName(form))) ??
      this.#plan.wanted.find(due) ??
      demanded.find((form) => due(form))
    );
  }

  async #make(form: TransportForm): Promise<void> {
    const { folder, log, clock, artifactPath } = this.#ports;
    const work: Work = { form, name: formName(form), step: 'starting', donePercent: 0 };
    this.#work = work;
    const begunUnixMs = clock.nowUnixMs();
    const subject = describe(form);
    log.info(subject, 'preparing an image for transport');
    this.#tell(form);
    try {
      const part = folder.newPart();
      const paths = {
        imagePath: artifactPath(form.imageSha256),
        ...(form.kind === 'recipe' ? { oldPath: artifactPath(form.oldSha256) } : {}),
      };
      const outcome = await makeInWorker(
        { form, outPath: part, ...paths },
        {
          memoryCapBytes: this.#ports.settings.memoryCapBytes,
          signal: this.#ending.signal,
          onProgress: (step, done, total) => this.#progress(work, step, done, total),
        },
      );
      if (this.#ending.signal.aborted) return;
      if (!outcome.ok) this.#fail(work, outcome.what);
      else if (this.#plan.keeps(form)) await this.#keep(work, part, begunUnixMs);
    } catch (error) {
      // The disk: it is full, or it fails.
      this.#fail(work, error instanceof Error ? error.message : String(error));
    } finally {
      this.#demanded.delete(work.name);
      await folder.clearParts().finally(() => {
        this.#work = undefined;
      });
      this.#tell(form);
    }
  }

  async #keep({ form, name }: Work, part: string, begunUnixMs: number): Promise<void> {
    const { folder, log, clock, settings } = this.#ports;
    const sizeBytes = await folder.take(part, form);
    await this.#makeRoom(name);
    if (folder.find(form) === undefined) {
      this.#failures.note(
        name,
        `there is no room for its ${sizeBytes} bytes: all forms may have ${settings.diskCapBytes}`,
      );
      this.counters.failed[form.kind] += 1;
      log.warn({ ...describe(form), sizeBytes }, 'there is no room for a form of an image');
      return;
    }
    this.#failures.forget(name);
    this.counters.made[form.kind] += 1;
    const seconds = Math.round((clock.nowUnixMs() - begunUnixMs) / 1000);
    log.info({ ...describe(form), sizeBytes, seconds }, 'an image is ready for transport');
  }

  /** Above the cap goes what was not used for longest and is not wanted by the plan; then what was just made. */
  async #makeRoom(justMade: string): Promise<void> {
    const { folder, settings } = this.#ports;
    const order = ({ form }: StoredForm): number =>
      formName(form) === justMade ? 2 : this.#isWanted(formName(form)) ? 1 : 0;
    const spare = folder
      .list()
      .filter((stored) => order(stored) !== 1)
      .toSorted((a, b) => order(a) - order(b) || a.lastUse - b.lastUse);
    for (const { form } of spare) {
      if (folder.totalBytes <= settings.diskCapBytes) return;
      await folder.remove(form);
    }
  }

  #fail({ form, name }: Work, what: string): void {
    const tries = this.#failures.note(name, what);
    this.counters.failed[form.kind] += 1;
    this.#ports.log.warn({ ...describe(form), tries, what }, 'an image could not be prepared for transport');
  }

  #progress(work: Work, step: string, done: number, total: number): void {
    const donePercent = total === 0 ? 100 : Math.min(100, Math.floor((done / total) * 100));
    const worthTelling = step !== work.step || Math.floor(donePercent / 10) !== Math.floor(work.donePercent / 10);
    work.step = step;
    work.donePercent = donePercent;
    if (!worthTelling) return;
    this.#ports.log.info({ ...describe(work.form), step, donePercent }, 'preparing an image for transport');
    this.#tell(work.form);
  }

  #tell(form: TransportForm): void {
    this.#ports.events.emit({ kind: 'transport', id: form.imageSha256 });
  }
}

function describe(form: TransportForm): object {
  const image = form.imageSha256;
  if (form.kind === 'recipe') return { image, kind: form.kind, from: form.oldSha256 };
  return form.kind === 'pieces' ? { image, kind: form.kind } : { image, kind: form.kind, coding: form.coding };
}
