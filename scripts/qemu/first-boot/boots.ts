/**
 * One boot after another of devices at which somebody knocks from before they have power: fresh from the factory, once
 * they have secrets of their own, after a power cut in their first boot. What counts is what the recordings hold from
 * before the first instruction until OPEN: no answer. Which ports were tried in that time is read from them too; the sweep
 * of one boot goes on where those before it ended.
 */
import { errorText } from '../../../platform/fault.ts';
import { secondsSince } from '../../demo/patience.ts';
import type { Guest } from '../guest.ts';
import type { ScenarioLab } from '../scenario.ts';
import { type BootKind, type PlannedBoot, planBoots, stateSaid } from './boot-plan.ts';
import { BootRows } from './boot-rows.ts';
import {
  acceptedByServerCard,
  acceptedIn,
  counted,
  cutPower,
  doorsTried,
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

const SHORT_BOOTS = 3;
/** On a machine with others at work: under emulation a first boot takes minutes. */
const OPEN_LIMIT_MS = 1_200_000;
/** From its first step until OPEN, before any was timed. */
const FIRST_BOOT_MS = 100_000;
const LOST_AT_MOST = 3;
const FIRST_STEP = /"message":"first boot"/;
const TITLES: Readonly<Record<BootKind, string>> = {
  fresh: 'fresh from the factory',
  later: 'with secrets of its own',
  'after-cut': 'after a power cut in its first boot',
};

/** What one power on came to. */
interface Outcome {
  readonly opensAfterS: number | undefined;
  readonly opensUnixMs: number;
  readonly answered: boolean;
}

export async function bootOften(lab: ScenarioLab, onFirstOpen: (knocked: Knocked) => Promise<void>): Promise<void> {
  const count = lab.wishes.boots ?? SHORT_BOOTS;
  const boots = new Boots(lab, count, onFirstOpen);
  const waiting = planBoots(count);
  let lost = 0;
  const work = async (): Promise<void> => {
    for (let plan = waiting.shift(); plan !== undefined && lost < LOST_AT_MOST; plan = waiting.shift()) {
      try {
        await boots.bootDevice(plan);
      } catch (error) {
        lost += 1;
        lab.check(false, `boot ${plan.map(({ number }) => number).join(', ')} of ${count}: ${errorText(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lab.wishes.devices, waiting.length) }, work));
  boots.sumUp();
}

class Boots {
  readonly #lab: ScenarioLab;
  readonly #count: number;
  readonly #onFirstOpen: (knocked: Knocked) => Promise<void>;
  readonly #rows = new BootRows();
  /** Where the sweeps of devices that boot now began. */
  readonly #underWay: number[] = [];
  #firstBootMs = FIRST_BOOT_MS;
  #good = 0;

  constructor(lab: ScenarioLab, count: number, onFirstOpen: (knocked: Knocked) => Promise<void>) {
    this.#lab = lab;
    this.#count = count;
    this.#onFirstOpen = onFirstOpen;
  }

  /** One device; its disk is kept where something is to be looked at. */
  async bootDevice(plan: readonly PlannedBoot[]): Promise<void> {
    const guest = await factoryDevice(this.#lab, 'agent');
    const goodBefore = this.#good;
    for (const boot of plan) {
      if (boot.kind === 'after-cut') await this.#cutFirstBoot(guest, boot);
      await this.#boot(guest, boot);
    }
    if (this.#good === goodBefore + plan.length) await this.#lab.world.removeDisks(guest.id);
  }

  /** As short as can be: until it was OPEN and its sshd answered. */
  async #boot(guest: Guest, { number, kind }: PlannedBoot): Promise<void> {
    const firstPort = this.#rows.nextPort(this.#underWay);
    this.#underWay.push(firstPort);
    const knocked = await powerOn(this.#lab, guest, { firstPort });
    const startedMs = performance.now();
    let outcome: Outcome = { opensAfterS: undefined, opensUnixMs: NEVER, answered: false };
    try {
      await guest.hears(FIRST_STEP, OPEN_LIMIT_MS);
      const begunMs = performance.now();
      await guest.hears(OPENS, OPEN_LIMIT_MS);
      const opensUnixMs = Date.now() + OPENS_AFTER_MS;
      const opensAfterS = secondsSince(startedMs);
      if (kind === 'fresh') this.#firstBootMs = performance.now() - begunMs;
      outcome = { opensAfterS, opensUnixMs, answered: await hearsAccepted(knocked.knocker) };
      if (number === 1) await this.#onFirstOpen(knocked);
    } finally {
      await switchOff(knocked);
      this.#underWay.splice(this.#underWay.indexOf(firstPort), 1);
      await this.#judge(knocked, `boot ${number} of ${this.#count}, ${TITLES[kind]}`, { ...outcome, number, kind });
    }
  }

  /** Its first boot, cut at a moment that the seed chooses. */
  async #cutFirstBoot(guest: Guest, { number }: PlannedBoot): Promise<void> {
    const share = this.#lab.random();
    const knocked = await powerOn(this.#lab, guest);
    await guest.hears(FIRST_STEP, OPEN_LIMIT_MS);
    const opened = await guest.machine.serial.waitFor(OPENS, share * this.#firstBootMs);
    const opensUnixMs = opened === undefined ? NEVER : Date.now() + OPENS_AFTER_MS;
    const state = stateSaid(guest.machine.serial.lines) ?? 'no step';
    await cutPower(knocked);
    const name = `the boot before ${number} of ${this.#count}, cut in ${state}`;
    await this.#judge(knocked, name, { opensAfterS: undefined, opensUnixMs, answered: true, number, kind: 'cut' });
  }

  async #judge(
    knocked: Knocked,
    name: string,
    { opensAfterS, opensUnixMs, answered, number, kind }: Outcome & { number: number; kind: BootKind | 'cut' },
  ): Promise<void> {
    const recorded = await recordedOf(knocked, opensUnixMs);
    const tried = await doorsTried(knocked, opensUnixMs);
    const byServer = await acceptedByServerCard(knocked, opensUnixMs);
    const device = knocked.guest.id;
    this.#rows.add({ number, device, kind, opensAfterS, recorded, acceptedByServerCard: byServer, tried });
    const { before, after } = recorded;
    const isSilent = before.answers.length === 0 && byServer === 0;
    // Nothing need have reached a device that was cut before its link was up.
    const isGood = isSilent && answered && (kind === 'cut' || (nothingIn(before) && acceptedIn(after) > 0));
    if (isGood && kind !== 'cut') this.#good += 1;
    const opened = opensAfterS === undefined ? '' : `, OPEN after ${opensAfterS} s`;
    const sshd = kind === 'cut' ? '' : answered ? '; then its sshd answers' : '; its sshd never answers';
    this.#lab.check(isGood, `${name}${opened}: before, ${counted(before)}${sshd}`);
  }

  sumUp(): void {
    const [rows, good] = [this.#rows, `${this.#good} of ${this.#count}`];
    const title = 'Recorded of its card, from before power on until OPEN; ports: those tried while its link was up';
    this.#lab.tables.push({ title, rows: rows.rows, sums: rows.sums(good) });
    const sums = `${rows.sum('to it before')} frames to them, ${rows.sum('from it before')} from them, ${rows.sum('accepted before')} accepted, ${rows.sum('answers before')} answers`;
    this.#lab.check(this.#good === this.#count, `${good} boots came to OPEN without an answer before; ${sums}`);
    const { holds, text } = rows.covered(this.#count);
    this.#lab.check(holds, `tried before OPEN, with the link up, over all boots: ${text}`);
  }
}
