import { describe, expect, it } from 'vitest';
import { EmulatedBoard } from '../../../../agent/boards/emulated.ts';
import type { BootFlags, Slot } from '../../../../agent/core/ports.ts';
import {
  type EmulatedBootEnv,
  emulatedPaths,
  encodeBooted,
  readBootEnv,
  writeBootEnv,
} from '../../../../platform/emulated-boot-env.ts';
import { SimulatedDisk, seededRandom } from '../../../sim/simulated-disk.ts';
import { type BoardUnderTest, boardContract } from './board-contract.ts';

const DEVICE = '/device';

async function board(env: EmulatedBootEnv | undefined, booted: 'a' | 'b' = 'a') {
  const disk = new SimulatedDisk();
  const facts = encodeBooted({ bootId: 'boot-1', slot: booted, trial: false });
  await disk.place(emulatedPaths(DEVICE).booted, facts);
  if (env !== undefined) await writeBootEnv(disk, DEVICE, env);
  return { disk, board: new EmulatedBoard(disk, DEVICE), env: () => readBootEnv(disk, DEVICE) };
}

const BOTH: EmulatedBootEnv = { order: ['a', 'b'], trial: null };

async function make(start: BootFlags, booted: Slot): Promise<BoardUnderTest> {
  const { disk, board: adapter } = await board(start, booted);
  return {
    board: adapter,
    fingerprint: async () => disk.operations,
    cutsOf: async (act) => {
      const cuts: SimulatedDisk[] = [];
      disk.afterOperation = () => cuts.push(disk.cut('drop'), disk.cut('random', seededRandom(disk.operations)));
      await act();
      cuts.push(disk.cut('drop'));
      return Promise.all(cuts.map((cut) => new EmulatedBoard(cut, DEVICE).bootFlags()));
    },
    rebootsAsked: async () => (disk.cut('drop').contents().has('/device/board/reboot-request') ? 1 : 0),
  };
}

boardContract('emulated', make, { attempts: 3, secondChoice: true });

describe('the emulated board', () => {
  it('goes by what is booted when both copies of the environment are damaged', async () => {
    const { board: adapter, env } = await board(undefined, 'b');
    expect(await adapter.bootFlags()).toEqual({ order: ['b'], trial: null });
    await adapter.disarmTrial();
    expect(await env()).toEqual({ order: ['b'], trial: null });
  });

  it('refuses component names that lead elsewhere', async () => {
    const { board: adapter } = await board(BOTH);
    expect(adapter.imagePath('b', 'rootfs')).toBe('/device/board/slots/b/rootfs.img');
    for (const name of ['../a/rootfs', 'a/b', '', '.hidden', 'UPPER']) {
      expect(() => adapter.imagePath('b', name)).toThrow(RangeError);
    }
  });

  it('says with a cure that the boot loop has not spoken', async () => {
    const { board: adapter, disk } = await board(BOTH);
    await disk.remove(emulatedPaths(DEVICE).booted);
    await expect(adapter.bootFacts()).rejects.toMatchObject({
      code: 'booted-slot-unknown',
      where: '/device/board/booted.json',
    });
  });
});
