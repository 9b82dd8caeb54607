import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UBootBoard } from '../../../../agent/boards/u-boot.ts';
import type { BootFlags, Slot } from '../../../../agent/core/ports.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { type BoardUnderTest, boardContract } from './board-contract.ts';
import { FwEnvironment, HAS_FW_TOOLS } from './fw-environment.ts';

const CANARY = 'c0ffee';

function boardOn(environment: FwEnvironment): UBootBoard {
  const slots = {
    a: { rootfs: environment.path('rootfs-a') },
    b: { rootfs: environment.path('rootfs-b') },
  };
  const settings = {
    slots,
    environmentConfig: environment.config,
    defaultEnvironment: environment.path('defaults'),
    goodSlotFile: environment.path('medium/holdfast.good'),
    procDirectory: environment.path('proc'),
  };
  return new UBootBoard(nodeDisk, settings, environment.run);
}

function makeEnvironment({ order, trial }: BootFlags, booted: Slot, good: Slot = booted): FwEnvironment {
  const left = trial === null ? {} : { [`BOOT_${trial.slot.toUpperCase()}_LEFT`]: String(trial.attemptsLeft) };
  const environment = new FwEnvironment({ BOOT_ORDER: order.join(' '), holdfast_canary: CANARY, ...left });
  environment.commandLine(`root=/dev/x holdfast.slot=${booted} holdfast.trial=0 holdfast.canary=${CANARY}`);
  writeFileSync(environment.path('medium/holdfast.good'), `holdfast_good=${good}\n`);
  return environment;
}

async function make(start: BootFlags, booted: Slot): Promise<BoardUnderTest> {
  const environment = makeEnvironment(start, booted);
  return {
    board: boardOn(environment),
    fingerprint: async () => environment.fingerprint(),
    cutsOf: async (act) => {
      environment.states.length = 0;
      await act();
      const flags: BootFlags[] = [];
      for (const medium of environment.cuts()) flags.push(await boardOn(environment.withMedium(medium)).bootFlags());
      return flags;
    },
    rebootsAsked: async () => environment.reboots,
  };
}

const good = (environment: FwEnvironment) => readFileSync(environment.path('medium/holdfast.good'), 'utf8');
const BOTH: BootFlags = { order: ['a', 'b'], trial: null };

describe.skipIf(!HAS_FW_TOOLS)('U-Boot, with the real fw_printenv and fw_setenv', () => {
  boardContract('u-boot', make, { attempts: 3, secondChoice: true });

  it('writes no try count for a confirmed slot', async () => {
    const environment = makeEnvironment({ order: ['a'], trial: { slot: 'b', attemptsLeft: 2 } }, 'b', 'a');
    await boardOn(environment).confirmSlot('b');
    expect([...environment.get().keys()].filter((name) => name.endsWith('_LEFT'))).toEqual([]);
    expect(good(environment)).toBe('holdfast_good=b\n');
  });

  it('changes one copy for one change, and leaves every other variable', async () => {
    const environment = makeEnvironment(BOTH, 'a');
    const before = environment.medium();
    await boardOn(environment).retireSlot('b');
    const changed = [...environment.medium()].filter(([name, bytes]) => before.get(name)?.equals(bytes) === false);
    expect(changed.map(([name]) => name)).toHaveLength(1);
    expect(environment.get().get('bootcmd')).toBe('run distro_bootcmd');
  });

  it('marks the slot that stays as good before it retires the other', async () => {
    const environment = makeEnvironment({ order: ['a', 'b'], trial: null }, 'a', 'b');
    environment.states.length = 0;
    await boardOn(environment).retireSlot('b');
    for (const medium of environment.cuts()) {
      const retired = !(await boardOn(environment.withMedium(medium)).bootFlags()).order.includes('b');
      if (retired) expect(medium.get('holdfast.good')?.toString()).toBe('holdfast_good=a\n');
    }
    expect(good(environment)).toBe('holdfast_good=a\n');
  });

  it.each([
    ['the bootloader read another canary', `holdfast.slot=a holdfast.canary=other`],
    ['the bootloader read none', 'holdfast.slot=a holdfast.canary='],
  ])('neither retires nor arms when %s', async (_, commandLine) => {
    const environment = makeEnvironment(BOTH, 'a');
    environment.commandLine(commandLine);
    const before = environment.fingerprint();
    const refusal = { code: 'boot-environment-unproven' };
    await expect(boardOn(environment).retireSlot('b')).rejects.toMatchObject(refusal);
    await expect(boardOn(environment).armTrial('b')).rejects.toMatchObject(refusal);
    expect(environment.fingerprint()).toBe(before);
  });

  it('reads on with one damaged copy, and the next change makes it whole', async () => {
    for (const copy of [0, 1] as const) {
      const environment = makeEnvironment({ order: ['a'], trial: null }, 'a');
      environment.set({ again: '1' });
      environment.damage(copy);
      expect(await boardOn(environment).bootFlags()).toEqual({ order: ['a'], trial: null });
      await boardOn(environment).armTrial('b');
      environment.damage(copy === 0 ? 1 : 0);
      expect((await boardOn(environment).bootFlags()).trial).toEqual({ slot: 'b', attemptsLeft: 3 });
    }
  });

  it('goes by the slot marked good outside the environment when neither copy is valid', async () => {
    const environment = makeEnvironment(BOTH, 'a', 'b');
    environment.damage(0, 1);
    expect(await boardOn(environment).bootFlags()).toEqual({ order: ['b'], trial: null });
    rmSync(environment.path('medium/holdfast.good'));
    expect(await boardOn(environment).bootFlags()).toEqual({ order: ['a'], trial: null });
  });

  it("makes a damaged environment anew from U-Boot's defaults, and updates only after it was proven again", async () => {
    const environment = makeEnvironment(BOTH, 'a');
    environment.damage(0, 1);
    const board = boardOn(environment);
    await expect(board.retireSlot('b')).rejects.toMatchObject({ code: 'boot-environment-unproven' });
    expect(environment.get().get('bootcmd')).toBe('run distro_bootcmd');
    expect(environment.get().get('BOOT_ORDER')).toBe('a');
    const canary = environment.get().get('holdfast_canary');
    expect(canary).toMatch(/^[0-9a-f]{16}$/);
    environment.commandLine(`holdfast.slot=a holdfast.trial=0 holdfast.canary=${canary}`);
    await board.retireSlot('b');
  });

  it('never writes an environment without a bootcmd', async () => {
    const environment = makeEnvironment(BOTH, 'a');
    environment.damage(0, 1);
    const before = environment.fingerprint();
    for (const defaults of [undefined, '', 'bootdelay=2\n']) {
      if (defaults === undefined) rmSync(environment.path('defaults'));
      else writeFileSync(environment.path('defaults'), defaults);
      await expect(boardOn(environment).disarmTrial()).rejects.toMatchObject({ code: 'boot-environment-damaged' });
    }
    expect(environment.fingerprint()).toBe(before);
  });

  it('keeps the newest copy across every wrap of the counter of writes', async () => {
    const environment = makeEnvironment({ order: ['a'], trial: null }, 'a');
    for (let write = 0; write < 260; write += 1) environment.set({ counter: String(write) });
    const board = boardOn(environment);
    for (let write = 0; write < 6; write += 1) {
      await board.armTrial('b');
      expect((await board.bootFlags()).trial?.slot).toBe('b');
      await board.disarmTrial();
      expect((await board.bootFlags()).trial).toBe(null);
    }
  });

  it('takes a count that the boot script does not know, and a trial that it could not save, for used up', async () => {
    const environment = makeEnvironment({ order: ['a'], trial: { slot: 'b', attemptsLeft: 3 } }, 'a');
    environment.set({ BOOT_B_LEFT: '9' });
    expect((await boardOn(environment).bootFlags()).trial).toEqual({ slot: 'b', attemptsLeft: 0 });
    environment.set({ BOOT_B_LEFT: '3' });
    environment.commandLine('holdfast.slot=a holdfast.trial=unsaved');
    expect((await boardOn(environment).bootFlags()).trial).toEqual({ slot: 'b', attemptsLeft: 0 });
  });

  it('says with a cure what is missing', async () => {
    const environment = makeEnvironment(BOTH, 'a');
    environment.commandLine('root=/dev/x');
    await expect(boardOn(environment).bootFacts()).rejects.toMatchObject({ code: 'booted-slot-unknown' });
    writeFileSync(environment.config, '');
    await expect(boardOn(environment).bootFlags()).rejects.toMatchObject({ code: 'board-program-failed' });
    expect(existsSync(environment.config)).toBe(true);
  });
});
