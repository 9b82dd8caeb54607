/** The boot script, run by a real U-Boot, against the rule that the emulator boots by; and U-Boot, libubootenv and the adapter on one environment. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UBootBoard } from '../../../../agent/boards/u-boot.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { chooseBoot, type EmulatedBootEnv, type EmulatedSlot } from '../../../../platform/emulated-boot-env.ts';
import { HAS_FW_TOOLS } from './fw-environment.ts';
import { ENVIRONMENT_BYTES, HAS_U_BOOT, UBootMachine } from './u-boot-machine.ts';

const ORDERS: readonly (readonly EmulatedSlot[])[] = [['a'], ['b'], ['a', 'b'], ['b', 'a']];
const TRIALS: readonly EmulatedBootEnv['trial'][] = [
  null,
  ...(['a', 'b'] as const).flatMap((slot) => [0, 1, 2, 3].map((attemptsLeft) => ({ slot, attemptsLeft }))),
];
const TABLE = ORDERS.flatMap((order) => TRIALS.map((trial): EmulatedBootEnv => ({ order, trial })));

const NOTHING = {
  BOOT_ORDER: '',
  BOOT_A_LEFT: '',
  BOOT_B_LEFT: '',
  dead: '',
  holdfast_good: '',
  holdfast_mark: 'false',
};
// biome-ignore lint/suspicious/noTemplateCurlyInString: U-Boot's variables
const SAVE = { holdfast_save: 'echo SAVE A=${BOOT_A_LEFT} B=${BOOT_B_LEFT}', holdfast_canary: 'c0ffee' };

function variables({ order, trial }: EmulatedBootEnv): Record<string, string> {
  const left = trial === null ? {} : { [`BOOT_${trial.slot.toUpperCase()}_LEFT`]: String(trial.attemptsLeft) };
  return { ...NOTHING, ...SAVE, BOOT_ORDER: order.join(' '), ...left };
}

/** What the kernel would have been told, of the first slot that was started. */
function started(lines: readonly string[]) {
  const line = lines.find((one) => one.startsWith('START')) ?? '';
  const value = (name: string) => new RegExp(`holdfast\\.${name}=(\\S*)`).exec(line)?.[1];
  return { slot: value('slot'), trial: value('trial'), canary: value('canary'), root: /root=(\S+)/.exec(line)?.[1] };
}

describe.skipIf(!HAS_U_BOOT)('the boot script, run by a real U-Boot', () => {
  let machine: UBootMachine;
  beforeAll(async () => {
    machine = await UBootMachine.start();
  });
  afterAll(() => machine?.stop());

  it.each(TABLE.map((env) => [JSON.stringify(env), env] as const))(
    'boots and counts as the emulator does: %s',
    async (_, env) => {
      const lines = await machine.boot(variables(env));
      const choice = chooseBoot(env);
      expect(started(lines)).toMatchObject({ slot: choice.slot, trial: choice.trial ? '1' : '0', canary: 'c0ffee' });
      const { trial } = choice.env;
      const left = (slot: EmulatedSlot) => (trial?.slot === slot ? String(trial.attemptsLeft) : '');
      const saved = lines.filter((line) => line.startsWith('SAVE'));
      expect(saved).toEqual(choice.trial ? [`SAVE A=${left('a')} B=${left('b')}`] : []);
      // Counted before it is started.
      if (choice.trial) expect(lines[0]).toBe(saved[0]);
    },
  );

  it('gives each slot its own root', async () => {
    const roots = { holdfast_root_a: '/dev/x5', holdfast_root_b: '/dev/x6' };
    expect(started(await machine.boot({ ...variables({ order: ['a'], trial: null }), ...roots })).root).toBe('/dev/x5');
    expect(started(await machine.boot({ ...variables({ order: ['b'], trial: null }), ...roots })).root).toBe('/dev/x6');
  });

  it('goes on to the next slot of the order when one does not load, and writes nothing', async () => {
    const lines = await machine.boot({ ...variables({ order: ['a', 'b'], trial: null }), dead: 'a' });
    expect(started(lines)).toMatchObject({ slot: 'b', trial: '0' });
    expect(lines.filter((line) => line.startsWith('SAVE'))).toEqual([]);
  });

  it('resets when the slot on trial does not load: one attempt is used up, and no other slot is tried', async () => {
    const env = variables({ order: ['a'], trial: { slot: 'b', attemptsLeft: 3 } });
    const lines = await machine.boot({ ...env, dead: 'b' });
    expect(lines).toEqual(['SAVE A= B=2', expect.stringMatching(/on trial/), 'RESET']);
  });

  it('makes no trial that it cannot count, and says so', async () => {
    const env = variables({ order: ['a'], trial: { slot: 'b', attemptsLeft: 3 } });
    const lines = await machine.boot({ ...env, holdfast_save: 'false' });
    expect(started(lines)).toMatchObject({ slot: 'a', trial: 'unsaved' });
  });

  it.each(['9', 'x', '-1', '33'])('takes a count that it does not know for used up: %s', async (count) => {
    const lines = await machine.boot({ ...variables({ order: ['a'], trial: null }), BOOT_B_LEFT: count });
    expect(started(lines)).toMatchObject({ slot: 'a', trial: '0' });
  });

  it.each([
    ['b', 'setenv holdfast_good b', 'b'],
    ['a', 'setenv holdfast_good a', 'a'],
    ['nothing that can be read', 'false', 'a'],
    ['a slot that does not exist', 'setenv holdfast_good c', 'a'],
  ])('without any environment boots the slot marked good: %s', async (_, mark, slot) => {
    const lines = await machine.boot({ ...NOTHING, ...SAVE, holdfast_mark: mark });
    expect(started(lines)).toMatchObject({ slot, trial: '0' });
  });
});

describe.skipIf(!HAS_U_BOOT)('the slot marked good, read from a disk by a real U-Boot', () => {
  it.each([
    ['holdfast_good=b\n', 'b'],
    ['holdfast_good=a\n', 'a'],
    ['BOOT_ORDER=b\nholdfast_good=a\n', 'a'],
    ['', 'a'],
  ])('%j: slot %s', async (text, slot) => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-good-'));
    const [disk, good] = [join(directory, 'disk'), join(directory, 'holdfast.good')] as const;
    writeFileSync(good, text);
    UBootMachine.makeDisk(disk, good);
    const machine = await UBootMachine.start(disk);
    const lines = await machine.boot({ devtype: 'virtio', devnum: '0', holdfast_good_part: '0' });
    await machine.stop();
    expect(started(lines)).toMatchObject({ slot, trial: '0' });
  });
});

describe.skipIf(!HAS_U_BOOT || !HAS_FW_TOOLS)('U-Boot, libubootenv and the adapter on one environment', () => {
  it('counts three attempts that the adapter armed, goes back, and the adapter sees it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-boot-'));
    const at = (name: string) => join(directory, name);
    writeFileSync(at('uboot.env'), Buffer.alloc(Number(ENVIRONMENT_BYTES)));
    writeFileSync(at('fw_env.config'), `${at('uboot.env')} 0x0 ${ENVIRONMENT_BYTES}\n`);
    writeFileSync(at('defaults'), 'bootcmd=true\nbootdelay=2\n');
    mkdirSync(at('proc'));
    writeFileSync(at('script'), 'BOOT_ORDER=a\nholdfast_canary=fresh\n');
    execFileSync('fw_setenv', ['-c', at('fw_env.config'), '-f', at('defaults'), '-s', at('script')]);
    const board = new UBootBoard(nodeDisk, {
      slots: { a: {}, b: {} },
      environmentConfig: at('fw_env.config'),
      defaultEnvironment: at('defaults'),
      goodSlotFile: at('good'),
      procDirectory: at('proc'),
    });
    const boot = async () => {
      UBootMachine.makeDisk(at('disk'), at('uboot.env'));
      const machine = await UBootMachine.start(at('disk'));
      const lines = await machine.boot({});
      await machine.stop();
      UBootMachine.readDisk(at('disk'), at('uboot.env'));
      writeFileSync(at('proc/cmdline'), lines.find((line) => line.startsWith('START'))?.slice(6) ?? '');
      return { facts: await board.bootFacts(), flags: await board.bootFlags() };
    };

    expect((await boot()).facts).toMatchObject({ slot: 'a', trial: false });
    await board.retireSlot('b');
    await board.armTrial('b');
    for (const attemptsLeft of [2, 1, 0]) {
      const { facts, flags } = await boot();
      expect(facts).toMatchObject({ slot: 'b', trial: true });
      expect(flags).toEqual({ order: ['a'], trial: { slot: 'b', attemptsLeft } });
    }
    const { facts, flags } = await boot();
    expect(facts).toMatchObject({ slot: 'a', trial: false });
    expect(flags).toEqual({ order: ['a'], trial: { slot: 'b', attemptsLeft: 0 } });
  });
});
