/** The update engine on tryboot: one attempt, a flag that the firmware forgets, and what boot recovery makes of it. */
import { describe, expect, it } from 'vitest';
import { encodeAutoboot, TrybootBoard } from '../../../../agent/boards/tryboot.ts';
import type { BootFacts, EnginePorts, Slot } from '../../../../agent/core/ports.ts';
import { MemorySource, TestMaker } from '../../../sim/release-fixture.ts';
import { DEVICE, makeFactoryDevice, SimulatedDevice } from '../../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';
import { TrybootFirmware } from './tryboot-firmware.ts';

const PARTITIONS = { a: 2, b: 3 };
const AUTOBOOT = '/boot/autoboot.txt';
const IMAGES = { rootfs: new Uint8Array(5000).fill(1) };
const NEXT = { rootfs: new Uint8Array(7000).fill(2) };
const place = (slot: Slot) => ({ rootfs: `${DEVICE}/board/slots/${slot}/rootfs.img` });

class SimulatedPi extends SimulatedDevice {
  readonly firmware = new TrybootFirmware();
  readonly #disk: SimulatedDisk;
  /** A slot that hangs before its userspace starts, and is reset by a watchdog. */
  dead: Slot | undefined;

  constructor(disk: SimulatedDisk, source: MemorySource) {
    super(disk, source);
    this.#disk = disk;
  }

  get board(): TrybootBoard {
    const settings = { slots: { a: place('a'), b: place('b') }, autobootFile: AUTOBOOT, partitions: PARTITIONS };
    return new TrybootBoard(this.#disk, { ...settings, procDirectory: '/proc' }, async (_, words) => {
      this.firmware.rebootCommand(words[0]);
      return { status: 0, stdout: '', said: '' };
    });
  }

  override ports(): EnginePorts {
    const { board } = this;
    const check = async () => {
      const healthy = this.healthy((await board.bootFacts()).slot);
      return { healthy, failedCheck: healthy ? '' : '10-app', detail: '' };
    };
    return { ...super.ports(), board, health: { check } };
  }

  override async boot(): Promise<BootFacts> {
    const { partition, tryboot } = this.firmware.boot((await this.#disk.readFile(AUTOBOOT, 4096)) ?? new Uint8Array());
    const slot = partition === PARTITIONS.b ? 'b' : 'a';
    if (slot === this.dead) return this.boot();
    this.boots += 1;
    for (const [name, value] of [
      ['partition', partition],
      ['tryboot', tryboot],
    ] as const) {
      await this.#disk.place(`/proc/device-tree/chosen/bootloader/${name}`, Uint8Array.of(0, 0, 0, value));
    }
    const bootId = `pi-${this.boots}`;
    await this.#disk.place('/proc/sys/kernel/random/boot_id', new TextEncoder().encode(`${bootId}\n`));
    return { bootId, slot, trial: tryboot === 1 };
  }
}

async function makePi() {
  const maker = new TestMaker();
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, IMAGES, maker.factoryRoot);
  await disk.place(AUTOBOOT, encodeAutoboot({ all: 'a', tryboot: 'a', attemptsLeft: 0 }, PARTITIONS));
  const pi = new SimulatedPi(disk, new MemorySource(maker));
  return { pi, disk, offer: maker.release({ sequence: 2, version: '2.0.0', images: NEXT }) };
}

const kinds = (pi: SimulatedPi, kind: string) => pi.events.filter((event) => event.kind === kind);

describe('an update on a Raspberry Pi, as far as its documentation goes', () => {
  it('is confirmed in its one attempt', async () => {
    const { pi, offer } = await makePi();
    const { engine } = await pi.runToRest(offer);
    expect(engine.status()).toMatchObject({ state: 'idle', bootedSlot: 'b', installed: { sequence: 2 } });
    expect(kinds(pi, 'confirmed')).toHaveLength(1);
    expect(await pi.board.bootFlags()).toEqual({ order: ['b'], trial: null });
  });

  it('goes back and is quarantined when its checks fail', async () => {
    const { pi, offer } = await makePi();
    pi.healthy = (slot) => slot === 'a';
    const { engine } = await pi.runToRest(offer);
    expect(engine.status()).toMatchObject({ state: 'idle', bootedSlot: 'a', installed: { sequence: 1 } });
    expect(engine.status().quarantined).toMatchObject([{ sequence: 2 }]);
    expect(await pi.board.bootFlags()).toEqual({ order: ['a'], trial: null });
  });

  it('goes back and is quarantined when its userspace never starts: one attempt, no second', async () => {
    const { pi, offer } = await makePi();
    pi.dead = 'b';
    const { engine } = await pi.runToRest(offer);
    expect(engine.status()).toMatchObject({ state: 'idle', bootedSlot: 'a' });
    expect(engine.status().quarantined).toMatchObject([{ sequence: 2, reason: 'trial-attempts-exhausted' }]);
  });

  it('comes to rest in a whole slot after a power cut at any operation; what the cut used up is quarantined, never lost', async () => {
    const { pi, disk, offer } = await makePi();
    const cuts: SimulatedDisk[] = [];
    disk.afterOperation = () => cuts.push(disk.cut('drop'));
    await pi.runToRest(offer);
    expect(cuts.length).toBeGreaterThan(50);
    const ends = new Map<string, number>();
    for (const cut of cuts) {
      const again = new SimulatedPi(cut, pi.source);
      const { engine } = await again.runToRest(offer);
      const { state, bootedSlot, quarantined } = engine.status();
      expect(state).toBe('idle');
      const flags = await again.board.bootFlags();
      expect(flags).toEqual({ order: [bootedSlot], trial: null });
      const holds = cut.contents().get(place(bootedSlot ?? 'a').rootfs);
      expect(holds).toEqual(bootedSlot === 'b' ? NEXT.rootfs : IMAGES.rootfs);
      const end = quarantined.length > 0 ? `${bootedSlot}, ${quarantined[0]?.reason}` : String(bootedSlot);
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    // One attempt: a cut after the reboot was asked for and before the confirmation has used it up.
    expect([...ends.keys()].sort()).toEqual(['a, trial-attempts-exhausted', 'b']);
  });
});
