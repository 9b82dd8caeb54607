import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ExecBoard } from '../../../../agent/boards/exec.ts';
import type { BootFlags, Slot } from '../../../../agent/core/ports.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { type BoardUnderTest, boardContract } from './board-contract.ts';
import { boardOn, script } from './exec-board.ts';
import { FwEnvironment, HAS_FW_TOOLS } from './fw-environment.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../../../examples/boards');

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
