import { describe, expect, it } from 'vitest';
import { EmulatedBoard } from '../../../../agent/boards/emulated.ts';
import {
  type EmulatedBootEnv,
  emulatedPaths,
  encodeBooted,
  readBootEnv,
  writeBootEnv,
} from '../../../../platform/emulated-boot-env.ts';
import { SimulatedDisk, seededRandom } from '../../../sim/simulated-disk.ts';

const DEVICE = '/device';

async function board(env: EmulatedBootEnv | undefined, booted: 'a' | 'b' = 'a') {
  const disk = new SimulatedDisk();
  const facts = encodeBooted({ bootId: 'boot-1', slot: booted, trial: false });
  await disk.place(emulatedPaths(DEVICE).booted, facts);
  if (env !== undefined) await writeBootEnv(disk, DEVICE, env);
  return { disk, board: new EmulatedBoard(disk, DEVICE), env: () => readBootEnv(disk, DEVICE) };
}

const BOTH: EmulatedBootEnv = { order: ['a', 'b'], trial: null };

interface Case {
  readonly what: string;
  readonly start: EmulatedBootEnv;
  readonly act: (board: EmulatedBoard) => Promise<void>;
  readonly end: EmulatedBootEnv;
}

const TRIAL = { slot: 'b', attemptsLeft: 2 } as const;

const CASES: readonly Case[] = [
  { what: 'retires a slot', start: BOTH, act: (b) => b.retireSlot('b'), end: { order: ['a'], trial: null } },
  {
    what: 'retires its trial with it',
    start: { order: ['a', 'b'], trial: TRIAL },
    act: (b) => b.retireSlot('b'),
    end: { order: ['a'], trial: null },
  },
  {
    what: 'arms a trial with all its attempts',
    start: { order: ['a'], trial: TRIAL },
    act: (b) => b.armTrial('b'),
    end: { order: ['a'], trial: { slot: 'b', attemptsLeft: 3 } },
  },
  {
    what: 'disarms, and leaves the order',
    start: { order: ['a'], trial: TRIAL },
    act: (b) => b.disarmTrial(),
    end: { order: ['a'], trial: null },
  },
  {
    what: 'confirms a slot: first, no trial',
    start: { order: ['a'], trial: TRIAL },
    act: (b) => b.confirmSlot('b'),
    end: { order: ['b', 'a'], trial: null },
  },
  {
    what: 'does not bring a retired slot back by confirming the other',
    start: { order: ['b'], trial: null },
    act: (b) => b.confirmSlot('b'),
    end: { order: ['b'], trial: null },
  },
];

describe('the emulated board', () => {
  it.each(CASES)('$what, and the same again changes nothing', async ({ start, act, end }) => {
    const { board: adapter, env, disk } = await board(start);
    await act(adapter);
    expect(await env()).toEqual(end);
    const before = disk.operations;
    await act(adapter);
    expect(await env()).toEqual(end);
    expect(disk.operations).toBe(before);
  });

  it('never takes the booted slot out of the order', async () => {
    const { board: adapter, env } = await board(BOTH);
    await expect(adapter.retireSlot('a')).rejects.toThrow(/booted/);
    expect(await env()).toEqual(BOTH);
  });

  it('changes flags whole or not at all, at every cut', async () => {
    for (const { start, act, end } of CASES) {
      const { board: adapter, disk } = await board(start);
      const found: (EmulatedBootEnv | undefined)[] = [];
      const cuts: SimulatedDisk[] = [];
      disk.afterOperation = () => cuts.push(disk.cut('drop'), disk.cut('random', seededRandom(disk.operations)));
      await act(adapter);
      for (const cut of cuts) found.push(await readBootEnv(cut, DEVICE));
      for (const env of found) expect([start, end]).toContainEqual(env);
      expect(await readBootEnv(disk.cut('drop'), DEVICE)).toEqual(end);
    }
  });

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

  it('leaves a reboot request', async () => {
    const { board: adapter, disk } = await board(BOTH);
    await adapter.requestReboot();
    expect(disk.cut('drop').contents().has('/device/board/reboot-request')).toBe(true);
  });
});
