/**
 * One device whose first boot and whose first commanded rotation are recorded once, and begun again from the middle as
 * often as is wanted: power is cut at a moment that a seed chooses, the disk is looked at, and the device switched on again
 * with somebody knocking. Whatever it was doing, it answers nothing until it is OPEN, it ends OPEN, what was the factory's
 * or the epoch's before lets nobody in, and what its owners open is what is in effect.
 */
import { secondsSince } from '../../demo/patience.ts';
import type { Guest } from '../guest.ts';
import type { ScenarioLab } from '../scenario.ts';
import {
  endOfPhase,
  type Flow,
  mustBeSilent,
  type PlannedRotationCut,
  ROTATION_PHASES,
  savedName,
} from './cut-plan.ts';
import { type KeptByDevice, readKept } from './data-partition.ts';
import { type InEffect, judgeOpen, ownersSecrets, recoverable } from './in-effect.ts';
import {
  counted,
  cutPower,
  factoryDevice,
  hearsAccepted,
  type Knocked,
  NEVER,
  nothingIn,
  OPENS,
  OPENS_AFTER_MS,
  powerOn,
  recordedOf,
  switchOff,
} from './knocked-device.ts';

/** Of a step, on a machine with others at work. */
const STEP_LIMIT_MS = 1_200_000;
/** How long one looks at the last phase, which has no end. */
const LAST_PHASE_MS = 5000;
const USERSPACE = /^lab: userspace /;

const NOTHING_SEEN: InEffect = { state: undefined, epoch: undefined, wrong: [], isReported: async () => false };

export interface RotationCut {
  readonly planned: PlannedRotationCut;
  /** After the phase that was meant began. */
  readonly afterMs: number;
  /** What lay on the disk when the power was gone. */
  readonly atCut: KeptByDevice;
  readonly opensAfterS: number;
  readonly inEffect: InEffect;
  /** What does not hold; empty: all that must. */
  readonly wrong: readonly string[];
  /** Of the power on after the cut, until OPEN. */
  readonly before: Parameters<typeof counted>[0];
}

export class RecordedRotation {
  readonly #lab: ScenarioLab;
  readonly #guest: Guest;
  readonly #lengthsMs = new Map<string, number>();
  /** Of epoch 1, as its owners opened it. */
  #formerPassword = '';

  private constructor(lab: ScenarioLab, guest: Guest) {
    this.#lab = lab;
    this.#guest = guest;
  }

  /** Lets both go through without a cut, keeping the states that these cuts begin from, and how long each phase took. */
  static async record(lab: ScenarioLab, cuts: readonly PlannedRotationCut[]): Promise<RecordedRotation> {
    const recorded = new RecordedRotation(lab, await factoryDevice(lab, 'agent'));
    const saved = new Set(cuts.map(({ flow, phase }) => savedName(flow, phase)));
    await lab.world.keepServer('first');
    const knocked = await powerOn(lab, recorded.#guest);
    try {
      await recorded.#record('first', saved);
      if (cuts.some(({ flow }) => flow === 'commanded')) {
        await recorded.#openFormer();
        await recorded.#record('commanded', saved);
      }
    } finally {
      await cutPower(knocked);
    }
    return recorded;
  }

  async #record(flow: Flow, saved: ReadonlySet<string>): Promise<void> {
    const guest = this.#guest;
    if (flow === 'first') await guest.hears(USERSPACE, STEP_LIMIT_MS);
    for (const phase of ROTATION_PHASES) {
      const begunMs = performance.now();
      const name = savedName(flow, phase);
      if (phase.savedIn === phase.name && saved.has(name)) await guest.machine.save(name);
      const savingMs = performance.now() - begunMs;
      if (flow === 'commanded' && phase.name === 'before') await this.#command();
      const end = endOfPhase(phase);
      if (end !== undefined) await guest.hears(end, STEP_LIMIT_MS);
      const tookMs = end === undefined ? LAST_PHASE_MS : performance.now() - begunMs - savingMs;
      this.#lengthsMs.set(`${flow} ${phase.name}`, tookMs);
    }
    const lengths = ROTATION_PHASES.slice(0, -1).map(({ name }) => {
      return `${name} ${((this.#lengthsMs.get(`${flow} ${name}`) ?? 0) / 1000).toFixed(1)}`;
    });
    const what = flow === 'first' ? 'a first boot' : 'a rotation that was commanded';
    this.#lab.check(true, `${guest.id}: ${what} without a cut, in seconds: ${lengths.join(', ')}`);
  }

  /** `holdfast credentials rotate`; the server then knows, and the device that goes on from here does not yet. */
  async #command(): Promise<void> {
    const { world } = this.#lab;
    await world.words.holdfast(['credentials', 'rotate', this.#guest.id, '--why', 'the lab cuts it'], { quiet: true });
    await world.keepServer('commanded');
  }

  async #openFormer(): Promise<void> {
    const kept = await readKept(this.#guest.disk);
    const opened = await ownersSecrets(this.#lab.world, kept);
    this.#formerPassword = opened.get(1) ?? '';
    const inEffect = await recoverable(kept, opened);
    this.#lab.check(inEffect && this.#formerPassword !== '', 'its owners open what is in effect after its first boot');
  }

  async cut(planned: PlannedRotationCut): Promise<RotationCut> {
    const { flow } = planned;
    const { world } = this.#lab;
    const wrong: string[] = [];
    await world.rewindServer(flow);
    const afterMs = await this.#goInto(planned, wrong);
    const atCut = await readKept(this.#guest.disk);
    if (!(await recoverable(atCut, await ownersSecrets(world, atCut))))
      wrong.push('at the cut, no escrow on its disk opens to what is in effect');
    // Nothing new is asked of it while it is looked at.
    await world.stopServer();
    const knocked = await powerOn(this.#lab, this.#guest);
    const startedMs = performance.now();
    let opensUnixMs = NEVER;
    let opensAfterS = 0;
    let inEffect: InEffect = NOTHING_SEEN;
    try {
      await this.#guest.hears(OPENS, STEP_LIMIT_MS);
      opensUnixMs = Date.now() + OPENS_AFTER_MS;
      opensAfterS = secondsSince(startedMs);
      if (!(await hearsAccepted(knocked.knocker))) wrong.push('its sshd never answers');
      inEffect = await judgeOpen(this.#lab, knocked, flow === 'first' ? undefined : this.#formerPassword);
      wrong.push(...inEffect.wrong);
    } finally {
      await this.#endBoot(knocked, inEffect, wrong);
    }
    const { before } = await recordedOf(knocked, opensUnixMs);
    if (!nothingIn(before)) wrong.push(`until it is OPEN: ${counted(before)}`);
    return { planned, afterMs, atCut, opensAfterS, inEffect, wrong, before };
  }

  /** With its server back, it says so. */
  async #endBoot(knocked: Knocked, inEffect: InEffect, wrong: string[]): Promise<void> {
    try {
      await this.#lab.world.startServer();
      if (inEffect !== NOTHING_SEEN && !(await inEffect.isReported()))
        wrong.push('the server never hears of this epoch');
    } finally {
      await switchOff(knocked);
    }
  }

  /** Goes on from the saved state, for this share of the phase; a phase that ends before is cut at its end. */
  async #goInto({ flow, phase, share }: PlannedRotationCut, wrong: string[]): Promise<number> {
    const knocked = await powerOn(this.#lab, this.#guest, { from: savedName(flow, phase) });
    try {
      if (phase.begins !== undefined && phase.savedIn !== phase.name)
        await this.#guest.hears(phase.begins, STEP_LIMIT_MS);
      const startedMs = performance.now();
      const lengthMs = this.#lengthsMs.get(`${flow} ${phase.name}`) ?? 0;
      const end = endOfPhase(phase) ?? /^$never/;
      const ended = await this.#guest.machine.serial.waitFor(end, share * lengthMs);
      const tookMs = Math.round(performance.now() - startedMs);
      // It may have been recorded on a busier machine.
      if (ended !== undefined) this.#lengthsMs.set(`${flow} ${phase.name}`, tookMs);
      if (mustBeSilent(flow, phase) && knocked.knocker.answers.length > 0)
        wrong.push(`before the cut it gave ${knocked.knocker.answers.length} answers`);
      return tookMs;
    } finally {
      await cutPower(knocked);
    }
  }
}
