/** The shipped tryboot adapter on the model of Raspberry Pi's firmware; autoboot.txt lies on a FAT. */
import { encodeAutoboot, TrybootBoard } from '../../../agent/boards/tryboot.ts';
import { TrybootFirmware } from '../../unit/agent/boards/tryboot-firmware.ts';
import { DiskWithProc, type MachineKind, slotPaths } from './machine.ts';

const PARTITIONS = { a: 2, b: 3 };
export const AUTOBOOT = '/boot/autoboot.txt';
const slotOf = (partition: number) => (partition === PARTITIONS.b ? 'b' : 'a');

export const TRYBOOT: MachineKind = {
  name: 'tryboot',

  async makeFactory(disk) {
    await disk.mountFat('/boot');
    await disk.place(AUTOBOOT, encodeAutoboot({ all: 'a', tryboot: 'a', attemptsLeft: 0 }, PARTITIONS));
  },

  start(bare, directory) {
    const disk = new DiskWithProc(bare);
    const firmware = new TrybootFirmware();
    const places = { slots: slotPaths(directory), autobootFile: AUTOBOOT, partitions: PARTITIONS };
    const board = new TrybootBoard(disk, { ...places, procDirectory: '/proc' }, async (_, words) => {
      firmware.rebootCommand(words[0]);
      return { status: 0, stdout: '', said: '' };
    });
    return {
      board,
      async powerOn(bootId) {
        const { partition, tryboot } = firmware.boot((await bare.readFile(AUTOBOOT, 4096)) ?? new Uint8Array());
        await disk.setProc({
          'device-tree/chosen/bootloader/partition': Uint8Array.of(0, 0, 0, partition),
          'device-tree/chosen/bootloader/tryboot': Uint8Array.of(0, 0, 0, tryboot),
          'sys/kernel/random/boot_id': `${bootId}\n`,
        });
        return { slot: slotOf(partition), trial: tryboot === 1 };
      },
    };
  },

  async flags(disk) {
    const bytes = disk.contentOf(AUTOBOOT)?.bytes;
    if (bytes === undefined) return undefined;
    const firmware = new TrybootFirmware();
    try {
      const ordinary = slotOf(firmware.boot(bytes).partition);
      firmware.rebootCommand('0 tryboot');
      const tried = slotOf(firmware.boot(bytes).partition);
      return { order: [ordinary], trial: tried === ordinary ? null : { slot: tried, attemptsLeft: 1 } };
    } catch {
      return undefined;
    }
  },
};
