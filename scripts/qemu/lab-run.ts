/** One run of the lab: scenarios and campaigns, one after another, and what they found. */
import { errorText } from '../../platform/fault.ts';
import { secondsSince } from '../demo/patience.ts';
import { bold, say, sayFact } from '../demo/terminal.ts';
import { type Cut, cutPowerOften } from './cuts.ts';
import type { LiveTable } from './live-table.ts';
import { type Loss, loseCacheOften } from './lost-cache.ts';
import { cutOwnPowerOften } from './own-image/cuts.ts';
import { tellReplaced } from './own-image/scenarios.ts';
import type { LabReport, ScenarioReport } from './report.ts';
import { type JudgedBoot, type Scenario, ScenarioLab, type Wishes } from './scenario.ts';
import { stayWith } from './stay.ts';
import type { World } from './world.ts';

/** So many devices of a campaign are watched to the end of their update; the others only until they boot. */
const SETTLED_CUTS = 10;

export interface Plan {
  readonly scenarios: readonly Scenario[];
  readonly cuts: number;
  readonly losses: number;
  /** For the scenarios. */
  readonly wishes: Wishes;
}

export interface LabRunParts {
  readonly seed: number;
  /** How many devices share the cuts. */
  readonly devices: number;
  /** Of the boards, for the report. */
  readonly kernel: string;
  /** The phase that every cut falls into; undefined: all phases. */
  readonly phase: string | undefined;
  readonly table: LiveTable;
  /** All devices are verified when they boot, not only those of scenarios that demand it. */
  readonly verity: boolean;
  /** A world in this folder of the run's; empty: the run's folder itself. */
  readonly openWorld: (folder: string, verified: boolean) => Promise<World>;
}

export class LabRun {
  readonly #parts: LabRunParts;
  readonly #worlds: World[] = [];
  /** Those of verified devices, when not all are. */
  readonly #verifiedWorlds: World[] = [];
  readonly #reports: ScenarioReport[] = [];
  readonly #labs: ScenarioLab[] = [];
  #wishes: Wishes = { devices: 1 };

  private constructor(parts: LabRunParts) {
    this.#parts = parts;
  }

  static async open(parts: LabRunParts): Promise<LabRun> {
    const run = new LabRun(parts);
    run.#worlds.push(await parts.openWorld('', parts.verity));
    return run;
  }

  async conduct({ scenarios, cuts, losses, wishes }: Plan): Promise<LabReport> {
    const { seed } = this.#parts;
    this.#wishes = wishes;
    const startedMs = performance.now();
    if (this.#isOwn) {
      await this.#one('image', 'What the lab replaced in it', 1, async ([lab]) => {
        tellReplaced(lab);
        return [];
      });
    }
    for (const { name, title, run, verified = false } of scenarios) {
      const work = async ([lab]: readonly [ScenarioLab, ...ScenarioLab[]]): Promise<readonly JudgedBoot[]> => {
        await run(lab);
        return [];
      };
      await this.#one(name, title, 1, work, verified);
    }
    if (cuts > 0) await this.#cut(cuts);
    if (losses > 0) {
      const title = `${losses} disks that lost their cache during an update, seed ${seed}`;
      const tell = (loss: Loss): void => this.#tell(describeLoss(loss, losses));
      await this.#one('losses', title, 1, ([lab]) => loseCacheOften(lab, { count: losses, seed }, tell));
    }
    const ok = this.#reports.length > 0 && this.#reports.every((report) => report.ok);
    const { kernel } = this.#parts;
    return { ok, seconds: secondsSince(startedMs), kernel, scenarios: this.#reports };
  }

  /** Devices to try things with, until `stop`. */
  async stay(stop: Promise<void>): Promise<void> {
    const [lab] = await this.#openLabs('board', 1);
    await Promise.race([stayWith(lab, this.#parts.devices, stop), stop]);
  }

  async end(): Promise<void> {
    for (const lab of this.#labs.splice(0)) await lab.end();
    for (const world of [...this.#worlds.splice(0), ...this.#verifiedWorlds.splice(0)]) await world.close();
  }

  /** A server knows one time: each device that goes back in it has a server of its own. */
  async #cut(count: number): Promise<void> {
    const { seed, devices, phase } = this.#parts;
    const settleEvery = Math.max(1, Math.floor(count / SETTLED_CUTS));
    const wanted = { count, seed, settleEvery, ...(phase === undefined ? {} : { phase }) };
    const title = `${count} power cuts in the middle of an update, seed ${seed}`;
    const tell = (cut: Cut): void => this.#tell(describeCut(cut, count));
    if (this.#isOwn) {
      await this.#one('cuts', title, 1, ([lab]) => cutOwnPowerOften(lab, wanted, tell));
      return;
    }
    await this.#one('cuts', title, Math.min(devices, count), (labs) => cutPowerOften(labs, wanted, tell));
  }

  /** Devices are made of a maker's image. */
  get #isOwn(): boolean {
    return this.#worlds[0]?.own !== undefined;
  }

  /** `worlds`: how many labs the work is given, each in a world of its own. */
  async #one(
    name: string,
    title: string,
    worlds: number,
    work: (labs: readonly [ScenarioLab, ...ScenarioLab[]]) => Promise<readonly JudgedBoot[]>,
    verified = false,
  ): Promise<void> {
    say(`\n${bold(`${name}: ${title}`)}`);
    const startedMs = performance.now();
    const labs = await this.#openLabs(name, worlds, verified);
    let boots: readonly JudgedBoot[] = [];
    try {
      boots = await work(labs);
    } catch (error) {
      labs[0].check(false, errorText(error));
    } finally {
      for (const lab of labs) await lab.end();
      this.#parts.table.clear();
    }
    this.#reports.push({
      name,
      title,
      ok: labs.every(({ ok }) => ok),
      seconds: secondsSince(startedMs),
      findings: labs.flatMap(({ findings }) => findings),
      boots,
      tables: labs.flatMap(({ tables }) => tables),
      guests: labs
        .flatMap(({ guests }) => guests)
        .map(({ id, timeline, serialFile }) => ({ id, timeline, serialFile })),
    });
  }

  async #openLabs(name: string, count: number, verified = false): Promise<[ScenarioLab, ...ScenarioLab[]]> {
    const { seed, table, openWorld, verity } = this.#parts;
    const apart = verified && !verity;
    const worlds = apart ? this.#verifiedWorlds : this.#worlds;
    while (worlds.length < count) {
      const folder = `${apart ? 'verified' : 'world'}-${worlds.length + 1}`;
      worlds.push(await openWorld(folder, verified || verity));
    }
    const labs = worlds.slice(0, count).map((world, index) => {
      const prefix = index === 0 ? name : `${name}-world-${index + 1}`;
      return new ScenarioLab(world, { name: prefix, seed, watcher: table, wishes: this.#wishes });
    });
    this.#labs.push(...labs);
    const [first, ...others] = labs;
    if (first === undefined) throw new RangeError('no world');
    return [first, ...others];
  }

  #tell(line: string): void {
    this.#parts.table.above(() => sayFact(line));
  }
}

function describeCut({ number, afterMs, phase, version, slot }: Cut, count: number): string {
  return `cut ${number} of ${count} after ${(afterMs / 1000).toFixed(1)} s, in ${phase}: boots ${version} from slot ${slot}`;
}

function describeLoss({ number, given, writes, lost, version, slot }: Loss, count: number): string {
  return `loss ${number} of ${count} after ${given} of ${writes} writes, ${lost} of them lost: boots ${version} from slot ${slot}`;
}
