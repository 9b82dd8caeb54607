/** What a scenario is, and what it is given. */

import { askUntil } from '../demo/patience.ts';
import type { Userspace } from '../device-image/device-base.ts';
import { seededRandom } from '../seeded-random.ts';
import { type SignedImages, SlotReader } from './booted-digest.ts';
import { type BootSeen, Guest, type GuestWatcher } from './guest.ts';
import type { DeviceOptions, ImageVariant, PublishedRelease, ReleaseFault, World } from './world.ts';

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Part of `npm run qemu` without options. */
  readonly short: boolean;
  /** Needs what this userspace alone has. */
  readonly onlyOn?: Userspace['name'];
  /** Only with devices whose slots are verified when they boot. */
  readonly verified?: true;
  /** `--cuts` beside its name are its own, and not those of an update. */
  readonly takesCuts?: true;
  readonly run: (lab: ScenarioLab) => Promise<void>;
}

/** How much of something a scenario does, where the command line says it. */
export interface Wishes {
  readonly boots?: number | undefined;
  readonly cuts?: number | undefined;
  /** Devices at the same time. */
  readonly devices: number;
}

/** A boot, and a poll after it. */
const REASON_LIMIT_MS = 600_000;

export interface LabRequest {
  /** Of its devices' names. */
  readonly name: string;
  readonly seed: number;
  readonly watcher: LabWatcher;
  readonly wishes: Wishes;
}

/** What was counted, a row each, and all of it together. Rows have the same columns. */
export interface CountTable {
  readonly title: string;
  readonly rows: readonly CountRow[];
  readonly sums: CountRow;
}
export type CountRow = Readonly<Record<string, string | number>>;

export interface Finding {
  readonly holds: boolean;
  readonly text: string;
}

/** A boot, and which release's images lie in the slot that it is of; undefined: nobody's. */
export interface JudgedBoot extends BootSeen {
  /** As the device said it; where its console does not, as the slot's content says it. */
  readonly version: string;
  readonly signed: string | undefined;
  /** Slots that the bootloader started before and did not come up, as long as nobody signed what they hold. */
  readonly unsignedStarts: readonly string[];
}

/** It came up, and the bootloader started nothing before, but of what people signed. */
export function isSigned({ signed, version, unsignedStarts }: JudgedBoot): boolean {
  return signed === version && unsignedStarts.length === 0;
}

export interface LabWatcher extends GuestWatcher {
  finding(finding: Finding): void;
}

/** One run of one scenario: its guests, what it found. */
export class ScenarioLab {
  readonly world: World;
  readonly guests: Guest[] = [];
  readonly findings: Finding[] = [];
  /** For the report. */
  readonly tables: CountTable[] = [];
  readonly wishes: Wishes;
  readonly seed: number;
  /** In [0, 1), the same for the same seed. */
  readonly random: () => number;
  readonly #prefix: string;
  readonly #watcher: LabWatcher;
  readonly #images: SignedImages[];
  readonly #slots = new SlotReader();
  #made = 0;

  constructor(world: World, { name, seed, watcher, wishes }: LabRequest) {
    this.world = world;
    this.wishes = wishes;
    this.seed = seed;
    this.random = seededRandom(seed);
    this.#prefix = name;
    this.#watcher = watcher;
    this.#images = [world.factory];
  }

  /** A fact that must hold. */
  check(holds: boolean, text: string): void {
    const finding = { holds, text };
    this.findings.push(finding);
    this.#watcher.finding(finding);
  }

  get ok(): boolean {
    return this.findings.length > 0 && this.findings.every(({ holds }) => holds);
  }

  async publish(fault: ReleaseFault, variant?: ImageVariant): Promise<PublishedRelease> {
    const release = await this.world.publish(fault, variant);
    this.#images.push(release);
    return release;
  }

  /** A device from the factory that has booted, enrolled and said so. */
  async enrolled(): Promise<Guest> {
    const guest = await this.newGuest();
    await guest.powerOn();
    const { version } = this.world.factory;
    const boot = await this.bootsSigned(guest);
    this.check(boot.slot === 'a' && boot.version === version, `boots ${boot.version} from slot ${boot.slot}`);
    await guest.settlesOn(version);
    this.check(true, 'enrolled; the server hears that it is idle');
    await this.checkUnits(guest);
    return guest;
  }

  /** A release that is packed and offered to the device, by a server that can go back to this moment (rewindServer). */
  async offerFromHere(guest: Guest): Promise<PublishedRelease> {
    const release = await this.publish('');
    await this.world.waitForForms(release);
    await this.world.rollOut(release, [guest.id]);
    // What the device tells it afterwards it must not know when the device goes on from an earlier state.
    await this.world.keepServer();
    return release;
  }

  /** From the factory, switched off. An image of its own (`rootImage`) counts as what its factory gave it. */
  async newGuest(more: DeviceOptions = {}): Promise<Guest> {
    this.#made += 1;
    const guest = await Guest.make(this.world, `${this.#prefix}-${this.#made}`, this.#watcher, more);
    this.guests.push(guest);
    const { version, images } = this.world.factory;
    if (more.rootImage !== undefined)
      this.#images.push({ version, images: new Map([...images, ['rootfs', more.rootImage]]) });
    return guest;
  }

  /** Waits until the server says this of the device, and, with `detail`, these words in its detail. */
  async waitForReason(guest: Guest, reason: string, detail = ''): Promise<void> {
    let said = '';
    const found = await askUntil(REASON_LIMIT_MS, 1000, async () => {
      const { explanation } = await this.world.words.device(guest.id);
      said = `${explanation.reason}, ${explanation.detail}`;
      return explanation.reason === reason && explanation.detail.includes(detail) ? explanation : undefined;
    });
    this.check(found !== undefined, `the server says why ${guest.id} is not on it: ${said}`);
  }

  /** Waits until the device has reported something that matches. */
  async waitForReport(guest: Guest, pattern: RegExp): Promise<void> {
    const found = await askUntil(REASON_LIMIT_MS, 1000, async () => {
      const { history } = await this.world.words.device(guest.id);
      return history.find(({ text }) => pattern.test(text));
    });
    this.check(found !== undefined, `the server heard from ${guest.id}: ${found?.text ?? `nothing like ${pattern}`}`);
  }

  /** With systemd: every unit of the boot under way starts, and it finds nothing to say of the agent's. */
  async checkUnits(guest: Guest, limitMs?: number): Promise<void> {
    if (!this.world.saysUnits) return;
    const { sound, text } = await guest.unitsReport(limitMs);
    this.check(sound, text);
  }

  /** A trial is over whose agent took the watchdog over: one that is left to count resets a release that was confirmed. */
  async checkWatchdogHeld(guest: Guest): Promise<void> {
    const { history } = await this.world.words.device(guest.id);
    const notice = history.find(({ text }) => text.includes('watchdog-not-armed'));
    this.check(notice === undefined, notice?.text ?? 'its agent held the watchdog during the trial');
  }

  /** The slot holds, byte for byte, the signed images of this version. This machine looks, at the disk. */
  async checkSlot(guest: Guest, slot: string, version: string): Promise<void> {
    const found = slot === 'a' || slot === 'b' ? await this.versionIn(guest.disk, slot) : undefined;
    this.check(found === version, `slot ${slot} holds ${found ?? 'what nobody signed'}, looked at from outside`);
  }

  /** The next boot of this disk, and which signed images the slot holds that came up: judged from outside. */
  async bootsSigned(guest: Guest, disk = guest.disk, limitMs?: number): Promise<JudgedBoot> {
    const boot = await guest.boots(limitMs);
    const signed = await this.#signedIn(disk, boot.slot);
    const unsignedStarts: string[] = [];
    for (const slot of guest.slotsStarted()) {
      if (slot !== boot.slot && (await this.#signedIn(disk, slot)) === undefined) unsignedStarts.push(slot);
    }
    return { ...boot, version: boot.version ?? signed ?? 'what nobody signed', signed, unsignedStarts };
  }

  /** Says at once which boot was of something that nobody signed: a later one may end the campaign. */
  checkSigned({ slot, version, signed, unsignedStarts }: JudgedBoot, name: string): void {
    for (const started of unsignedStarts) {
      this.check(false, `${name}: U-Boot started slot ${started}, which holds what nobody signed`);
    }
    if (signed === version) return;
    this.check(false, `${name}: slot ${slot} runs ${version} and holds ${signed ?? 'what nobody signed'}`);
  }

  checkAllSigned(boots: readonly JudgedBoot[], what: string): void {
    const good = boots.filter(isSigned).length;
    this.check(
      good === boots.length,
      `${boots.length} ${what}: ${good} booted, from a slot that holds what was signed`,
    );
  }

  #signedIn(disk: string, slot: string): Promise<string | undefined> {
    return slot === 'a' || slot === 'b' ? this.versionIn(disk, slot) : Promise.resolve(undefined);
  }

  /** What the slot holds; undefined: nothing that was signed. */
  versionIn(disk: string, slot: 'a' | 'b'): Promise<string | undefined> {
    return this.#slots.versionIn(disk, this.world.slots[slot], this.#images);
  }

  async end(): Promise<void> {
    for (const guest of this.guests) await guest.cutPower();
  }
}
