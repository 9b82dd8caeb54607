/**
 * One emulated device on a simulated disk: factory, boot loop, agent. It boots, polls (a server that never hears
 * anything offers the same action for ever) and goes on until it rests.
 */
import type { BootFacts, Clock, EnginePorts, EngineRest, EngineSettings, Offer, Slot } from '../../agent/core/ports.ts';
import { UpdateEngine } from '../../agent/update-engine.ts';
import type { Disk } from '../../platform/disk.ts';
import type { ReportEvent } from '../../protocol/device-api.ts';
import { EMULATED } from './machines/emulated.ts';
import type { Machine, MachineKind } from './machines/machine.ts';
import { CHANNEL, HARDWARE_CLASS, type MemorySource, NOW_UNIX_S, VENDOR } from './release-fixture.ts';
import type { SimulatedDisk } from './simulated-disk.ts';

export const DEVICE = '/device';
export const STATE = `${DEVICE}/data`;

export type Images = Readonly<Record<string, Uint8Array>>;

export class SimulatedClock implements Clock {
  #nowMs = 0;
  synchronised = true;
  /** How far the wall clock is off. */
  wallOffsetMs = 0;

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallUnixMs(): number | undefined {
    return this.synchronised ? NOW_UNIX_S * 1000 + this.#nowMs + this.wallOffsetMs : undefined;
  }

  async sleep(ms: number): Promise<void> {
    this.#nowMs += ms;
  }
}

/** A device as it leaves the factory: release 1 in both slots. */
export async function makeFactoryDevice(
  disk: SimulatedDisk,
  images: Images,
  factoryRoot: Uint8Array,
  kind = EMULATED,
): Promise<void> {
  for (const [component, bytes] of Object.entries(images)) {
    for (const slot of ['a', 'b']) await disk.place(`${DEVICE}/board/slots/${slot}/${component}.img`, bytes);
  }
  await disk.place(`${DEVICE}/factory/root.json`, factoryRoot);
  await kind.makeFactory(disk, DEVICE);
}

export class SimulatedDevice {
  /** What the agent has of the disk; the bootloader has its own. */
  disk: Disk;
  readonly directory: string;
  readonly source: MemorySource;
  readonly clock = new SimulatedClock();
  readonly events: ReportEvent[] = [];
  /** Does the release in the booted slot pass its checks? */
  healthy: (slot: Slot) => boolean = () => true;
  serverReachable: () => boolean = () => true;
  /** Called at every boot, once the bootloader has chosen. */
  onBoot: (facts: BootFacts) => void = () => {};
  /** Called when the engine rests with work owed, before the pause. */
  onPause: () => void = () => {};
  offline = false;
  trialServerWaitMs = 60_000;
  boots = 0;
  readonly machine: Machine;
  /** Boot ids never repeat, also when a disk goes on under another device. */
  static #lives = 0;

  /** `directory` is the DEVICE folder; its state and factory folders stand beneath it. */
  constructor(disk: Disk, source: MemorySource, directory = DEVICE, kind: MachineKind = EMULATED) {
    this.disk = disk;
    this.directory = directory;
    this.source = source;
    this.machine = kind.start(disk, directory);
    SimulatedDevice.#lives += 1;
  }

  get settings(): EngineSettings {
    return {
      device: {
        deviceId: 'cam-0001',
        vendor: VENDOR,
        hardwareClass: HARDWARE_CLASS,
        channel: CHANNEL,
        environment: 'rehearsal',
      },
      stateDirectory: `${this.directory}/data`,
      factoryRootPath: `${this.directory}/factory/root.json`,
      factoryInstalled: { sequence: 1, version: '1.0.0' },
      trialServerWaitMs: this.trialServerWaitMs,
      offline: this.offline,
    };
  }

  ports(): EnginePorts {
    const { board } = this.machine;
    return {
      disk: this.disk,
      board,
      clock: this.clock,
      random: { bytes: (length) => new Uint8Array(length).fill(128) },
      source: this.source,
      health: {
        check: async () => {
          const healthy = this.healthy((await board.bootFacts()).slot);
          return { healthy, failedCheck: healthy ? '' : '10-app', detail: healthy ? '' : 'no answer' };
        },
      },
      server: { reachable: async () => this.serverReachable() },
      reporter: { record: async (event) => void this.events.push(event) },
      log: { info: () => {}, warn: () => {} },
    };
  }

  /** Power on: the bootloader's work, up to the start of userspace. */
  async boot(): Promise<BootFacts> {
    this.boots += 1;
    const bootId = `boot-${SimulatedDevice.#lives}-${this.boots}`;
    const facts = { bootId, ...(await this.machine.powerOn(bootId)) };
    this.onBoot(facts);
    return facts;
  }

  /** Boots, offers, and goes on through reboots and pauses until the engine is idle or held. */
  async runToRest(offer: Offer, limits = { boots: 12 }): Promise<{ rest: EngineRest; engine: UpdateEngine }> {
    for (let boots = 0; boots < limits.boots; boots += 1) {
      await this.boot();
      const engine = await UpdateEngine.open(this.ports(), this.settings);
      const rest = await this.runEngine(engine, offer);
      if (rest.rest !== 'reboot') return { rest, engine };
    }
    throw new Error(`still rebooting after ${limits.boots} boots`);
  }

  /** Until it is idle with nothing more to gain from the offer, held, or owes a reboot. */
  async runEngine(engine: UpdateEngine, offer: Offer): Promise<EngineRest> {
    for (let turn = 0; turn < 50; turn += 1) {
      await engine.offer(offer);
      const rest = await engine.run();
      if (rest.rest !== 'retry') return rest;
      this.onPause();
      await this.clock.sleep(rest.afterMs);
    }
    throw new Error('still retrying after 50 turns');
  }
}
