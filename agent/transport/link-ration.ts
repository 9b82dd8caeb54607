/**
 * What images may take of the link. Not metered: everything. Metered: what is left of the budget, or nothing where there
 * is none. Polls, reports and metadata never come here.
 *
 * Invariants: a transfer is paid for before it begins, and what did not arrive is given back; the number on disk is never
 * lower than what was used, whatever the cuts, and is written once in a thirty-second part of the budget.
 */
import type { Disk } from '../../platform/disk.ts';
import { type BudgetPeriod, type BudgetUse, useNow } from '../core/budget.ts';
import { type Clock, MustWait } from '../core/ports.ts';
import { budgetRecord } from '../storage/budget-record.ts';

/** An answer of whoever knows the link is good for this long. */
const LINK_KNOWN_MS = 30_000;
const SMALLEST_STEP_BYTES = 1024 * 1024;

export interface RationSettings {
  readonly disk: Disk;
  readonly clock: Pick<Clock, 'monotonicMs' | 'wallUnixMs'>;
  readonly stateDirectory: string;
  readonly isMetered: () => Promise<boolean>;
  readonly budget: { readonly bytes: number; readonly per: BudgetPeriod } | null;
  /** How long the device waits before it looks again. */
  readonly askEveryMs: number;
}

export class LinkRation {
  readonly #settings: RationSettings;
  #link: { readonly metered: boolean; readonly askedMs: number } | undefined;
  #use: BudgetUse | undefined;
  #periodBeganMs: number;
  /** What the disk says is used; at least what is. */
  #recorded = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(settings: RationSettings) {
    this.#settings = settings;
    this.#periodBeganMs = settings.clock.monotonicMs();
  }

  /**
   * Before a transfer of up to `bytes`; throws MustWait when it may not begin. The answer takes back, once it is over,
   * how many of them did not arrive.
   */
  claim(bytes: number): Promise<(spared: number) => void> {
    // One after the other: several transfers begin at once.
    const claim = this.#last.then(() => this.#claim(bytes));
    this.#last = claim.catch(() => {});
    return claim;
  }

  /** A transfer broke off: the next one may go over another link. */
  forgetLink(): void {
    this.#link = undefined;
  }

  async #claim(bytes: number): Promise<(spared: number) => void> {
    if (!(await this.#isMetered())) return () => {};
    const { budget, askEveryMs } = this.#settings;
    if (budget === null) throw new MustWait('link-metered', 'the link is metered', askEveryMs);
    const use = await this.#useNow(budget.per);
    if (use.usedBytes + bytes > budget.bytes) {
      const detail = `${use.usedBytes} of the ${budget.bytes} bytes of this ${budget.per} are used`;
      throw new MustWait('budget-spent', detail, askEveryMs);
    }
    await this.#spend(use, bytes, budget.bytes);
    return (spared) => {
      if (this.#use?.period === use.period) this.#use = add(this.#use, -spared);
    };
  }

  async #isMetered(): Promise<boolean> {
    const { clock, isMetered } = this.#settings;
    const nowMs = clock.monotonicMs();
    if (this.#link === undefined || nowMs - this.#link.askedMs >= Math.min(LINK_KNOWN_MS, this.#settings.askEveryMs)) {
      this.#link = { metered: await isMetered(), askedMs: nowMs };
    }
    return this.#link.metered;
  }

  async #useNow(per: BudgetPeriod): Promise<BudgetUse> {
    const { disk, stateDirectory, clock } = this.#settings;
    if (this.#use === undefined) {
      const found = await budgetRecord(disk, stateDirectory).read();
      this.#use = found.found === 'whole' ? found.value : { period: '', usedBytes: 0 };
      this.#recorded = this.#use.usedBytes;
    }
    const before = this.#use;
    const nowMs = clock.monotonicMs();
    const use = useNow(before, per, { wallUnixMs: clock.wallUnixMs(), ranMs: nowMs - this.#periodBeganMs });
    if (use === before) return use;
    this.#periodBeganMs = nowMs;
    // Other numbers than on disk: the next transfer writes them before it begins.
    this.#recorded = 0;
    this.#use = use;
    return use;
  }

  async #spend(use: BudgetUse, bytes: number, budgetBytes: number): Promise<void> {
    const spent = add(use, bytes);
    if (spent.usedBytes > this.#recorded) {
      const stepBytes = Math.max(SMALLEST_STEP_BYTES, Math.floor(budgetBytes / 32));
      const recorded = Math.min(budgetBytes, spent.usedBytes + stepBytes);
      await budgetRecord(this.#settings.disk, this.#settings.stateDirectory).write({ ...spent, usedBytes: recorded });
      this.#recorded = recorded;
    }
    this.#use = spent;
  }
}

function add(use: BudgetUse, bytes: number): BudgetUse {
  return { ...use, usedBytes: Math.max(0, use.usedBytes + bytes) };
}
