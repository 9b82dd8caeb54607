/**
 * One device of a run: its disk, the machine that it runs in now, and what it has said on its console since it was
 * made. Power may be cut and given again; the timeline goes on.
 */
import { askUntil } from '../demo/patience.ts';
import { Machine, type MachineRequest, makeOverlay } from './machine.ts';
import { adviceOn } from './own-image/advice.ts';
import type { SerialLine } from './serial-log.ts';
import type { DeviceOptions, World } from './world.ts';

/** From power on to the agent's first line: some 20 s on a quiet machine, under emulation. */
export const BOOT_LIMIT_MS = 300_000;
const UPDATE_LIMIT_MS = 900_000;
/** U-Boot's word, from the shipped boot script. */
const SLOT_STARTS = /^holdfast: slot (\w)( on trial)?/;

export interface TimelineEntry {
  /** Since the device was first switched on. */
  readonly atMs: number;
  readonly what: string;
}

export interface BootSeen {
  readonly slot: string;
  /** Undefined: its console does not say it. */
  readonly version: string | undefined;
  readonly trial: boolean;
}

/** What a person watching the lab sees of a device. */
export interface GuestView {
  readonly id: string;
  readonly stage: 'off' | 'bootloader' | 'kernel' | 'userspace' | 'agent';
  readonly slot: string;
  readonly version: string;
  readonly last: string;
}

export interface GuestWatcher {
  changed(view: GuestView): void;
  line(id: string, text: string): void;
}

export class Guest {
  readonly id: string;
  readonly timeline: TimelineEntry[] = [];
  readonly #world: World;
  readonly #startedMs = performance.now();
  readonly disk: string;
  readonly #watcher: GuestWatcher;
  #machine: Machine | undefined;
  #view: GuestView;

  private constructor(world: World, id: string, disk: string, watcher: GuestWatcher) {
    this.#world = world;
    this.id = id;
    this.disk = disk;
    this.#watcher = watcher;
    this.#view = { id, stage: 'off', slot: '', version: '', last: '' };
  }

  /** From the factory, switched off. */
  static async make(world: World, id: string, watcher: GuestWatcher, more: DeviceOptions = {}): Promise<Guest> {
    const factory = await world.makeDevice(id, more);
    const disk = world.path('devices', `${id}.qcow2`);
    await makeOverlay(disk, factory, 'raw');
    return new Guest(world, id, disk, watcher);
  }

  get serialFile(): string {
    return this.#world.path('devices', `${this.id}.serial`);
  }

  get isOn(): boolean {
    return this.#machine !== undefined;
  }

  get machine(): Machine {
    if (this.#machine === undefined) throw new Error(`${this.id} is off`);
    return this.#machine;
  }

  async powerOn(
    more: Partial<Omit<MachineRequest, 'name' | 'serialFile' | 'onLine' | 'accelerator' | 'firmware'>> = {},
  ): Promise<void> {
    this.note(more.from === undefined ? 'power on' : `goes on from ${more.from}`);
    const onLine = ({ text }: SerialLine): void => this.#hear(text);
    this.#machine = await Machine.start({
      name: this.id,
      disk: this.disk,
      serialFile: this.serialFile,
      onLine,
      accelerator: this.#world.accelerator,
      firmware: this.#world.firmware,
      ...more,
    });
    if (more.from !== undefined) await this.#machine.restored();
  }

  async cutPower(): Promise<void> {
    if (this.#machine === undefined) return;
    await this.#machine.cutPower();
    this.#machine = undefined;
    this.note('power cut');
    this.#show({ stage: 'off' });
  }

  /** Off, with the emulator's own files complete. The device is not asked. */
  async shutDown(): Promise<void> {
    await this.machine.quit();
    this.#machine = undefined;
    this.note('switched off');
    this.#show({ stage: 'off' });
  }

  note(what: string): void {
    this.timeline.push({ atMs: Math.round(performance.now() - this.#startedMs), what });
  }

  /** The console's next line that matches. Throws with the last lines when none comes, or the machine is off. */
  async hears(pattern: RegExp, limitMs: number): Promise<RegExpExecArray> {
    const found = await this.machine.serial.waitFor(pattern, limitMs);
    if (found !== undefined) return found;
    const how = this.machine.isOn
      ? `did not say ${pattern} within ${limitMs / 1000} s`
      : `went off before it said ${pattern}`;
    throw new Error(`${this.id} ${how}; ${this.#console()}`);
  }

  /** The next boot that gets as far as userspace; of a maker's image, as far as the agent's first word to the server. */
  async boots(limitMs = BOOT_LIMIT_MS): Promise<BootSeen> {
    if (this.#world.own !== undefined) return this.#bootsUnseen(limitMs);
    const [, version = '', slot = '', trial = ''] = await this.hears(
      /^lab: userspace version=(\S+) slot=(\S+) trial=(\S+)/,
      limitMs,
    );
    return { version, slot, trial: trial === '1' };
  }

  /** The slots that the bootloader has started since power on, each once. */
  slotsStarted(): string[] {
    const slots = this.machine.serial.lines.flatMap(({ text }) => SLOT_STARTS.exec(text)?.[1] ?? []);
    return [...new Set(slots)];
  }

  /** What the next boot that comes to its end says of systemd's units. */
  async unitsReport(limitMs = BOOT_LIMIT_MS): Promise<{ readonly sound: boolean; readonly text: string }> {
    const [, text = ''] = await this.hears(/^lab: (systemd is .*)$/, limitMs);
    return { sound: text === 'systemd is running, 0 units failed, 0 complaints', text };
  }

  /** U-Boot says which slot it is, and the server that the device has come up in it. */
  async #bootsUnseen(limitMs: number): Promise<BootSeen> {
    const untilMs = performance.now() + limitMs;
    let [, slot = '', trial] = await this.hears(SLOT_STARTS, limitMs);
    let sinceUnixMs = Date.now();
    const isUp = await askUntil(untilMs - performance.now(), 1000, async () => {
      // A start that was reset before its agent spoke is none; the next one counts.
      const next = await this.machine.serial.waitFor(SLOT_STARTS, 0);
      if (next !== undefined) {
        [, slot = '', trial] = next;
        sinceUnixMs = Date.now();
      }
      const { device } = await this.#world.words.device(this.id);
      return (device.lastSeenUnixMs ?? 0) > sinceUnixMs && device.bootedSlot === slot ? true : undefined;
    });
    if (isUp !== true) {
      throw new Error(`${this.id} boots slot ${slot}, but its agent does not reach the server; ${this.#console()}`);
    }
    this.note(`the server hears from it, in slot ${slot}`);
    this.#show({ stage: 'agent' });
    return { slot, version: undefined, trial: trial !== undefined };
  }

  /** The end of its console, and what that suggests where the image is a maker's. */
  #console(): string {
    const { complaints, serial } = this.machine;
    const last = [...serial.tail(12), ...(complaints === '' ? [] : [`qemu: ${complaints}`])].join('\n    ');
    const advice = this.#world.own === undefined ? '' : `${adviceOn(serial.lines.map(({ text }) => text))}; `;
    return `${advice}its last lines:\n    ${last}`;
  }

  /** Waits until the server has heard from the device that it is idle with this version. Throws with what it said last. */
  async settlesOn(version: string, limitMs = UPDATE_LIMIT_MS): Promise<void> {
    let said = 'nothing';
    const settled = await askUntil(limitMs, 1000, async () => {
      const { device, explanation } = await this.#world.words.device(this.id);
      said = `${device.installed?.version ?? 'no version'}, ${device.state ?? 'no state'}, ${explanation.reason}`;
      const there = device.enrolment === 'enrolled' && device.installed?.version === version;
      return there && device.state === 'idle' ? true : undefined;
    });
    if (settled === true) return this.note(`the server says: ${version}, idle`);
    throw new Error(
      `${this.id} did not come to rest on ${version} within ${limitMs / 1000} s; the server says: ${said}`,
    );
  }

  #hear(text: string): void {
    this.#watcher.line(this.id, text);
    if (TELLING.test(text)) this.note(text);
    const [, slot] = /^holdfast: slot (\w)/.exec(text) ?? [];
    const [, version] = /^lab: userspace version=(\S+)/.exec(text) ?? [];
    const last = eventOf(text);
    if (last !== undefined) this.note(last);
    if (/^U-Boot 20/.test(text)) this.#show({ stage: 'bootloader', slot: '', version: '', last: '' });
    else if (slot !== undefined) this.#show({ slot });
    else if (text === 'Starting kernel ...') this.#show({ stage: 'kernel' });
    else if (version !== undefined) this.#show({ stage: 'userspace', version });
    else if (last !== undefined) this.#show({ stage: 'agent', last });
    else if (text.startsWith('lab: ')) this.#show({ last: text.slice(5) });
  }

  #show(change: Partial<GuestView>): void {
    this.#view = { ...this.#view, ...change };
    this.#watcher.changed(this.#view);
  }
}

/** Lines of the console that make a timeline, besides what the agent says. */
const TELLING = /^(holdfast: |lab: |U-Boot 20)|Kernel panic - not syncing/;

/** What the agent says in its log, shortened; undefined for any other line. */
function eventOf(text: string): string | undefined {
  if (!text.startsWith('{"time"')) return undefined;
  const message = /"message":"([^"]*)"/.exec(text)?.[1];
  const event = /"(?:event|rule|kind)":"([^"]*)"/.exec(text)?.[1];
  return message === undefined ? undefined : `agent: ${message}${event === undefined ? '' : ` (${event})`}`;
}
