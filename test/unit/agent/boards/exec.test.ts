import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ExecBoard } from '../../../../agent/boards/exec.ts';
import type { BootFlags, Slot } from '../../../../agent/core/ports.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { type BoardUnderTest, boardContract } from './board-contract.ts';
import { FwEnvironment, HAS_FW_TOOLS } from './fw-environment.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../../../examples/boards');

function script(path: string, text: string): string {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

function boardOn(environment: FwEnvironment, executable: string, attempts: number, deadlineMs = 20_000): ExecBoard {
  const slots = { a: { rootfs: environment.path('rootfs-a') }, b: { rootfs: environment.path('rootfs-b') } };
  const procDirectory = environment.path('proc');
  return new ExecBoard(
    nodeDisk,
    { slots, executable, trialAttempts: attempts, deadlineMs, procDirectory },
    environment.run,
  );
}

/** One of the examples on this environment; `reboot` in its PATH only leaves a mark. */
function exampleOn(environment: FwEnvironment, name: string, attempts: number): ExecBoard {
  const asked = environment.path('reboots');
  script(environment.path('reboot'), `echo asked >>'${asked}'`);
  const lines = [
    `export FW_ENV_CONFIG='${environment.config}' KERNEL_CMDLINE='${environment.path('proc/cmdline')}'`,
    `PATH='${environment.directory}':$PATH exec '${join(EXAMPLES, name)}' "$@"`,
  ];
  return boardOn(environment, script(environment.path('board'), lines.join('\n')), attempts);
}

interface Layout {
  readonly name: string;
  readonly attempts: number;
  readonly secondChoice: boolean;
  readonly variables: (flags: BootFlags) => Record<string, string>;
  readonly commandLine: (slot: Slot) => string;
}

const upper = (slot: Slot): string => slot.toUpperCase();

const LAYOUTS: readonly Layout[] = [
  {
    name: 'mender-u-boot',
    attempts: 1,
    secondChoice: false,
    variables: ({ order, trial }) => ({
      mender_boot_part: (trial?.slot ?? order[0]) === 'a' ? '2' : '3',
      upgrade_available: trial === null ? '0' : '1',
      bootlimit: '1',
      bootcount: trial?.attemptsLeft === 0 ? '1' : '0',
      holdfast_trial: trial?.slot ?? '',
    }),
    commandLine: (slot) => `root=/dev/mmcblk0p${slot === 'a' ? 2 : 3} rootwait`,
  },
  {
    name: 'rauc-u-boot',
    attempts: 3,
    secondChoice: true,
    variables: ({ order, trial }) => ({
      BOOT_ORDER: [...(trial === null ? [] : [trial.slot]), ...order].map(upper).join(' '),
      BOOT_A_LEFT: '3',
      BOOT_B_LEFT: String(trial?.attemptsLeft ?? 3),
      holdfast_trial: trial?.slot ?? '',
    }),
    commandLine: (slot) => `root=PARTLABEL=x rauc.slot=${upper(slot)}`,
  },
];

for (const { name, attempts, secondChoice, variables, commandLine } of LAYOUTS) {
  const make = async (start: BootFlags, booted: Slot): Promise<BoardUnderTest> => {
    const environment = new FwEnvironment(variables(start));
    environment.commandLine(commandLine(booted));
    return {
      board: exampleOn(environment, name, attempts),
      fingerprint: async () => environment.fingerprint(),
      cutsOf: async (act) => {
        environment.states.length = 0;
        await act();
        const boards = environment.cuts().map((medium) => exampleOn(environment.withMedium(medium), name, attempts));
        const flags: BootFlags[] = [];
        for (const board of boards) flags.push(await board.bootFlags());
        return flags;
      },
      rebootsAsked: async () => {
        const asked = (await nodeDisk.readFile(environment.path('reboots'), 4096)) ?? new Uint8Array();
        return new TextDecoder().decode(asked).split('asked').length - 1;
      },
    };
  };
  describe.skipIf(!HAS_FW_TOOLS)(`examples/boards/${name}, as a real executable`, () => {
    boardContract(`exec, ${name}`, make, { attempts, secondChoice });

    it('says that a boot is a trial only in the slot that is on trial', async () => {
      const start: BootFlags = { order: ['a'], trial: { slot: 'b', attemptsLeft: attempts - 1 } };
      for (const booted of ['a', 'b'] as const) {
        const { board } = await make(start, booted);
        expect(await board.bootFacts()).toMatchObject({ slot: booted, trial: booted === 'b' });
      }
    });
  });
}

describe('an executable that cannot be relied on', () => {
  const environment = new FwEnvironment({});
  const flags = '{"order":["a"],"trial":null}';
  const facts = '{"slot":"a","trial":false}';
  const answering = (text: string, deadlineMs?: number) =>
    boardOn(environment, script(environment.path(`board-${Math.random()}`), text), 3, deadlineMs);
  const honest = (verb: string, does: string) =>
    `case $1 in ${verb}) ${does};; boot-facts) echo '${facts}';; boot-flags) echo '${flags}';; esac`;

  it.each([
    ['prints nothing', 'exit 0'],
    ['prints no JSON', 'echo yes'],
    ['names a third slot', `echo '{"order":["c"],"trial":null}'`],
    ['names a slot twice', `echo '{"order":["a","a"],"trial":null}'`],
    ['has an empty order', `echo '{"order":[],"trial":null}'`],
    ['says more than was asked', `echo '{"order":["a"],"trial":null,"extra":1}'`],
    ['counts below zero', `echo '{"order":["a"],"trial":{"slot":"b","attemptsLeft":-1}}'`],
    ['fails', `echo '${flags}'; exit 3`],
    ['is ended by a signal', 'kill -9 $$'],
    ['never ends printing', 'while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done'],
  ])('is refused when it %s', async (_, text) => {
    await expect(answering(text).bootFlags()).rejects.toMatchObject({ code: 'board-program-failed' });
  });

  it('is refused when it gives no answer in time, and leaves no child behind', async () => {
    const pidFile = environment.path('pid');
    const board = answering(`sleep 600 & echo $! >'${pidFile}'; wait`, 500);
    await expect(board.bootFlags()).rejects.toThrow(/no answer within 500 ms/);
    const pid = Number(new TextDecoder().decode(await nodeDisk.readFile(pidFile, 64)));
    await expect.poll(() => isRunning(pid)).toBe(false);
  });

  it('is found out when it says that it was done, and it was not', async () => {
    const board = answering(honest('arm-trial', 'exit 0'));
    await expect(board.armTrial('b')).rejects.toThrow(/does not say that it was done/);
  });

  it('is handed one line of JSON, and nothing of the agent’s environment', async () => {
    const seen = environment.path('seen');
    process.env.HOLDFAST_SECRET_OF_THE_TEST = 'x';
    const board = answering(honest('arm-trial', `cat >'${seen}'; env >>'${seen}'; exit 9`));
    await expect(board.armTrial('b')).rejects.toThrow(/failed at arm-trial: exit status 9/);
    const text = new TextDecoder().decode(await nodeDisk.readFile(seen, 4096));
    expect(text.split('\n')[0]).toBe('{"protocol":1,"slot":"b","attempts":3}');
    expect(text).not.toContain('HOLDFAST_SECRET_OF_THE_TEST');
    delete process.env.HOLDFAST_SECRET_OF_THE_TEST;
  });

  it('is never asked to retire the booted slot', async () => {
    const asked = environment.path('asked');
    const board = answering(honest('retire-slot', `touch '${asked}'`));
    await expect(board.retireSlot('a')).rejects.toThrow(/booted/);
    expect(await nodeDisk.readFile(asked, 16)).toBeUndefined();
  });

  it('is a Fault with a cure when it is not there', async () => {
    const board = boardOn(environment, environment.path('nowhere'), 3);
    await expect(board.bootFlags()).rejects.toMatchObject({ code: 'board-program-missing' });
  });
});

/** A process that was killed and that nobody has waited for yet runs no more. */
function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
