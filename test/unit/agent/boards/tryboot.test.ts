import { describe, expect, it } from 'vitest';
import { AUTOBOOT_BYTES, encodeAutoboot, TrybootBoard } from '../../../../agent/boards/tryboot.ts';
import type { BootFlags, Slot } from '../../../../agent/core/ports.ts';
import { SimulatedDisk, seededRandom } from '../../../sim/simulated-disk.ts';
import { type BoardUnderTest, boardContract } from './board-contract.ts';
import { TrybootFirmware } from './tryboot-firmware.ts';

const AUTOBOOT = '/boot/autoboot.txt';
const PARTITIONS = { a: 2, b: 3 };
const SETTINGS = {
  slots: { a: { rootfs: '/dev/mmcblk0p5' }, b: { rootfs: '/dev/mmcblk0p6' } },
  autobootFile: AUTOBOOT,
  partitions: PARTITIONS,
  procDirectory: '/proc',
};

class Pi {
  readonly disk: SimulatedDisk;
  readonly firmware = new TrybootFirmware();
  readonly reboots: (string | undefined)[] = [];

  constructor(disk = new SimulatedDisk()) {
    this.disk = disk;
  }

  get board(): TrybootBoard {
    return new TrybootBoard(this.disk, SETTINGS, async (_, words) => {
      this.reboots.push(words[0]);
      this.firmware.rebootCommand(words[0]);
      return { status: 0, stdout: '', said: '' };
    });
  }

  async autoboot(): Promise<Uint8Array> {
    return (await this.disk.readFile(AUTOBOOT, 4096)) ?? new Uint8Array();
  }

  /** What the firmware makes of autoboot.txt, told to userspace through the device tree. */
  async boot(): Promise<Slot> {
    const { partition, tryboot } = this.firmware.boot(await this.autoboot());
    await this.tellUserspace(partition, tryboot);
    return partition === PARTITIONS.b ? 'b' : 'a';
  }

  async tellUserspace(partition: number, tryboot: number): Promise<void> {
    const chosen = '/proc/device-tree/chosen/bootloader';
    await this.disk.place(`${chosen}/partition`, bigEndian(partition));
    await this.disk.place(`${chosen}/tryboot`, bigEndian(tryboot));
    await this.disk.place('/proc/sys/kernel/random/boot_id', new TextEncoder().encode('boot-1\n'));
  }
}

function bigEndian(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return Uint8Array.from(bytes);
}

async function piWith({ order, trial }: BootFlags, booted: Slot): Promise<Pi> {
  const all = order[0] ?? 'a';
  const pi = new Pi();
  const state = { all, tryboot: trial?.slot ?? all, attemptsLeft: trial?.attemptsLeft === 1 ? 1 : 0 } as const;
  await pi.disk.place(AUTOBOOT, encodeAutoboot(state, PARTITIONS));
  await pi.tellUserspace(PARTITIONS[booted], 0);
  return pi;
}

async function make(start: BootFlags, booted: Slot): Promise<BoardUnderTest> {
  const pi = await piWith(start, booted);
  return {
    board: pi.board,
    fingerprint: async () => pi.disk.operations,
    cutsOf: async (act) => {
      const cuts: SimulatedDisk[] = [];
      pi.disk.afterOperation = () => {
        cuts.push(pi.disk.cut('drop'), pi.disk.cut('keep'));
        for (let seed = 0; seed < 8; seed += 1)
          cuts.push(pi.disk.cut('random', seededRandom(pi.disk.operations * 8 + seed)));
      };
      await act();
      cuts.push(pi.disk.cut('drop'));
      return Promise.all(cuts.map((disk) => new Pi(disk).board.bootFlags()));
    },
    rebootsAsked: async () => pi.reboots.length,
  };
}

const ONE_SLOT: BootFlags = { order: ['a'], trial: null };

boardContract('tryboot', make, { attempts: 1, secondChoice: false });

describe('tryboot, against a model of the documented firmware', () => {
  it('tries the other slot once, and is back in the old one after any reset', async () => {
    const pi = await piWith(ONE_SLOT, 'a');
    await pi.board.retireSlot('b');
    await pi.board.armTrial('b');
    await pi.board.requestReboot();
    expect(pi.reboots).toEqual(['0 tryboot']);
    expect(await pi.boot()).toBe('b');
    expect(await pi.board.bootFacts()).toMatchObject({ slot: 'b', trial: true });
    expect(await pi.board.bootFlags()).toEqual({ order: ['a'], trial: { slot: 'b', attemptsLeft: 0 } });
    expect(await pi.boot()).toBe('a');
    expect(await pi.board.bootFacts()).toMatchObject({ slot: 'a', trial: false });
    expect((await pi.board.bootFlags()).trial).toEqual({ slot: 'b', attemptsLeft: 0 });
    await pi.board.requestReboot();
    expect(pi.reboots.at(-1)).toBeUndefined();
  });

  it('is owed the attempt still when the power went before the reboot was asked for', async () => {
    const pi = await piWith(ONE_SLOT, 'a');
    await pi.board.armTrial('b');
    pi.firmware.powerCut();
    expect(await pi.boot()).toBe('a');
    expect((await pi.board.bootFlags()).trial).toEqual({ slot: 'b', attemptsLeft: 1 });
  });

  it('stays in the new slot once it is confirmed, whatever reboot follows', async () => {
    const pi = await piWith(ONE_SLOT, 'a');
    await pi.board.armTrial('b');
    await pi.board.requestReboot();
    await pi.boot();
    await pi.board.confirmSlot('b');
    expect(await pi.board.bootFlags()).toEqual({ order: ['b'], trial: null });
    for (const argument of [undefined, '0 tryboot']) {
      pi.firmware.rebootCommand(argument);
      expect(await pi.boot()).toBe('b');
    }
  });

  it('lets no reboot reach a slot that is being written, not even one with the tryboot flag', async () => {
    const pi = await piWith({ order: ['a'], trial: { slot: 'b', attemptsLeft: 1 } }, 'a');
    await pi.board.retireSlot('b');
    pi.firmware.rebootCommand('0 tryboot');
    expect(await pi.boot()).toBe('a');
  });

  it('boots a slot that the firmware knows after a cut anywhere in a whole update', async () => {
    const pi = await piWith(ONE_SLOT, 'a');
    const cuts: SimulatedDisk[] = [];
    pi.disk.afterOperation = () => cuts.push(pi.disk.cut('drop'), pi.disk.cut('random', seededRandom(cuts.length)));
    await pi.board.retireSlot('b');
    await pi.board.armTrial('b');
    await pi.board.requestReboot();
    await pi.boot();
    await pi.board.confirmSlot('b');
    expect(cuts.length).toBeGreaterThan(10);
    for (const cut of cuts) expect(['a', 'b']).toContain(await new Pi(cut).boot());
  });

  it("takes a factory's shorter file, and never changes the size again", async () => {
    const text = '[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3';
    const pi = await piWith(ONE_SLOT, 'a');
    await pi.disk.place(AUTOBOOT, new TextEncoder().encode(text));
    // The vendor's own example arms nothing by itself: no attempt is left before one is asked for.
    expect((await pi.board.bootFlags()).trial).toEqual({ slot: 'b', attemptsLeft: 0 });
    const cuts: SimulatedDisk[] = [];
    pi.disk.afterOperation = () => cuts.push(pi.disk.cut('drop'), pi.disk.cut('random', seededRandom(cuts.length)));
    await pi.board.retireSlot('b');
    for (const cut of cuts) expect(await new Pi(cut).boot()).toBe('a');
    for (const act of [() => pi.board.armTrial('b'), () => pi.board.disarmTrial(), () => pi.board.confirmSlot('a')]) {
      await act();
      expect((await pi.autoboot()).length).toBe(AUTOBOOT_BYTES);
    }
  });

  it.each([
    ['there is none', undefined],
    ['it is longer than this board writes', '#'.repeat(AUTOBOOT_BYTES + 1)],
    ['tryboot_a_b is missing', '[all]\nboot_partition=2\n'],
    ['boot_partition is no slot', '[all]\ntryboot_a_b=1\nboot_partition=1\n'],
    ['it is torn', '\0'.repeat(AUTOBOOT_BYTES)],
  ])('touches no autoboot.txt that it does not understand: %s', async (_, text) => {
    const pi = await piWith(ONE_SLOT, 'a');
    if (text === undefined) await pi.disk.remove(AUTOBOOT);
    else await pi.disk.place(AUTOBOOT, new TextEncoder().encode(text));
    const before = pi.disk.operations;
    await expect(pi.board.bootFlags()).rejects.toMatchObject({ code: 'autoboot-unreadable' });
    await expect(pi.board.armTrial('b')).rejects.toMatchObject({ code: 'autoboot-unreadable' });
    expect(pi.disk.operations).toBe(before);
  });

  it('says with a cure that the booted partition is no slot', async () => {
    const pi = await piWith(ONE_SLOT, 'a');
    await pi.tellUserspace(7, 0);
    await expect(pi.board.bootFacts()).rejects.toMatchObject({ code: 'booted-slot-unknown' });
  });
});
