/**
 * Power cuts in every phase of an update: from states that were saved once, each time let the device go on, end the
 * emulator at a moment that a seed chooses, and switch it on again. Whatever it was doing, it boots, and what it boots
 * was signed.
 */
import { errorText } from '../../platform/fault.ts';
import { CUT_PHASES, type CutPhase, endOf, phaseNamed, phaseReached, phasesFor } from './cut-phases.ts';
import type { Guest } from './guest.ts';
import type { JudgedBoot, ScenarioLab } from './scenario.ts';
import { FACTORY_RELEASE } from './world.ts';

export interface CutOptions {
  readonly count: number;
  readonly seed: number;
  /** All cuts in this phase; else spread over all. */
  readonly phase?: string;
  /** Every so many cuts the device is watched until it has the release. */
  readonly settleEvery: number;
}

export interface Cut extends JudgedBoot {
  readonly number: number;
  /** What the device's last line before it said it was doing. */
  readonly phase: string;
  /** After the phase that was meant began. */
  readonly afterMs: number;
}

interface CutOfUpdate extends Cut {
  /** Which release's images lay, after the cut, in the slot that ran before the update; undefined: nobody's. */
  readonly slotA: string | undefined;
}

interface PlannedCut {
  readonly number: number;
  readonly phase: CutPhase;
  /** How far into the phase, of its whole. */
  readonly share: number;
  readonly settles: boolean;
}

/** Each is waited for until a limit. */
const LOST_AT_MOST = 3;
const UPDATE_LIMIT_MS = 900_000;
/** The agent gave the update up, which it does for no cut. */
const GIVEN_UP = /"message":"[a-z-]+ → idle","event":"(?:failed|refused|halt)"/;
/** A device that has the release and owes nothing, at the end of its update or at a start after it. */
const HAS_IT = /"message":"sealing → idle"|"rule":"at-rest","slot":"b"/;

/** Each of `labs` has a device and a server of its own; they share the cuts. */
export async function cutPowerOften(
  labs: readonly ScenarioLab[],
  { count, seed, phase, settleEvery }: CutOptions,
  onCut: (cut: Cut) => void,
): Promise<readonly Cut[]> {
  const [first] = labs;
  if (first === undefined) throw new RangeError('no device');
  const waiting = phasesFor(count, phase).map((planned, index) => {
    const number = index + 1;
    return { number, phase: planned, share: first.random(), settles: number % settleEvery === 0 };
  });
  const cuts: CutOfUpdate[] = [];
  let lost = 0;
  const cutAll = async (lab: ScenarioLab): Promise<void> => {
    const update = await SavedUpdate.record(lab);
    for (let planned = waiting.shift(); planned !== undefined; planned = waiting.shift()) {
      let name = `cut ${planned.number} of seed ${seed}, meant for ${planned.phase.name}`;
      try {
        const cut = await update.cut(planned);
        name = `cut ${cut.number} of seed ${seed}, in ${cut.phase}`;
        cuts.push(cut);
        onCut(cut);
        lab.checkSigned(cut, name);
        checkSlotA(lab, cut, name);
        await update.end(planned.settles);
      } catch (error) {
        lab.check(false, `${name}: ${errorText(error)}`);
        lost += 1;
        if (lost >= LOST_AT_MOST) throw new Error(`${lost} cuts were not survived: the others are not tried`);
        await update.end(false);
      }
    }
  };
  await Promise.all(labs.map(cutAll));
  sumUp(first, cuts);
  return cuts.toSorted((one, other) => one.number - other.number);
}

/** One device's update, recorded once, and begun again from the middle as often as is wanted. */
class SavedUpdate {
  readonly #lab: ScenarioLab;
  readonly #guest: Guest;
  readonly #lengthsMs: Map<string, number>;

  private constructor(lab: ScenarioLab, guest: Guest, lengthsMs: Map<string, number>) {
    this.#lab = lab;
    this.#guest = guest;
    this.#lengthsMs = lengthsMs;
  }

  /** Lets the update go through without a cut, keeping a state at the beginning of phases, and how long each took. */
  static async record(lab: ScenarioLab): Promise<SavedUpdate> {
    const guest = await lab.enrolled();
    const { version } = await lab.offerFromHere(guest);
    const lengthsMs = new Map<string, number>();
    await guest.hears(CUT_PHASES[0].begins, UPDATE_LIMIT_MS);
    for (const phase of CUT_PHASES) {
      const begunMs = performance.now();
      if (phase.savedIn === undefined) await guest.machine.save(phase.name);
      const savingMs = performance.now() - begunMs;
      const [heard] = await guest.hears(either(endOf(phase), GIVEN_UP), UPDATE_LIMIT_MS);
      lengthsMs.set(phase.name, performance.now() - begunMs - savingMs);
      if (!GIVEN_UP.test(heard)) continue;
      // Still, cuts may show what it does to a device.
      lab.check(false, `${guest.id}: without a cut it gives the update to ${version} up: ${heard}`);
      break;
    }
    await guest.cutPower();
    const said = [...lengthsMs].map(([name, ms]) => `${name} ${(ms / 1000).toFixed(1)}`);
    lab.check(true, `${guest.id}: an update to ${version} without a cut, in seconds: ${said.join(', ')}`);
    return new SavedUpdate(lab, guest, lengthsMs);
  }

  async cut({ number, phase: wanted, share }: PlannedCut): Promise<CutOfUpdate> {
    const guest = this.#guest;
    const phase = this.#lengthsMs.has(wanted.name) ? wanted : phaseNamed([...this.#lengthsMs.keys()].at(-1) ?? '');
    const from = phase.savedIn ?? phase.name;
    await this.#lab.world.rewindServer();
    await guest.powerOn({ from });
    if (phase.savedIn !== undefined) await guest.hears(phase.begins, UPDATE_LIMIT_MS);
    const afterMs = await this.#goInto(phase, share);
    const reached = phaseReached(guest.machine.serial.lines, phaseNamed(from));
    await guest.cutPower();
    const slotA = await this.#lab.versionIn(guest.disk, 'a');
    await guest.powerOn();
    const boot = await this.#lab.bootsSigned(guest);
    return { number, phase: reached.name, afterMs, slotA, ...boot };
  }

  /** Off; `settled`: after it has the release all the same. */
  async end(settled: boolean): Promise<void> {
    if (settled) {
      const [heard] = await this.#guest.hears(either(HAS_IT, GIVEN_UP), UPDATE_LIMIT_MS);
      if (GIVEN_UP.test(heard)) throw new Error(`after it the update is given up: ${heard}`);
    }
    await this.#guest.cutPower();
  }

  /** Waits for this share of the phase; answers how long. A phase that ends before is cut at its end. */
  async #goInto(phase: CutPhase, share: number): Promise<number> {
    const startedMs = performance.now();
    const ended = await this.#guest.machine.serial.waitFor(
      endOf(phase),
      share * (this.#lengthsMs.get(phase.name) ?? 0),
    );
    const tookMs = Math.round(performance.now() - startedMs);
    // It may have been recorded on a busier machine.
    if (ended !== undefined) this.#lengthsMs.set(phase.name, tookMs);
    return tookMs;
  }
}

const either = (one: RegExp, other: RegExp): RegExp => new RegExp(`.*(?:${one.source}|${other.source}).*`);

function checkSlotA(lab: ScenarioLab, { slotA }: CutOfUpdate, name: string): void {
  const { version } = FACTORY_RELEASE;
  if (slotA !== version) lab.check(false, `${name}: slot a, which ran, held ${slotA ?? 'what nobody signed'} after it`);
}

function sumUp(lab: ScenarioLab, cuts: readonly CutOfUpdate[]): void {
  lab.checkAllSigned(cuts, 'cuts');
  const kept = cuts.filter(({ slotA }) => slotA === FACTORY_RELEASE.version).length;
  lab.check(kept === cuts.length, `after ${kept} of them slot a, which ran, held ${FACTORY_RELEASE.version} as before`);
  for (const { name, title } of CUT_PHASES) {
    const here = cuts.filter(({ phase }) => phase === name);
    if (here.length === 0) continue;
    const old = here.filter(({ version }) => version === FACTORY_RELEASE.version).length;
    lab.check(
      true,
      `${here.length} in ${name} (${title}): ${old} booted the old release, ${here.length - old} the new one`,
    );
  }
}
