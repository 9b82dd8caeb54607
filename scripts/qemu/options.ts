/** What `npm run qemu` takes. */
import { parseArgs } from 'node:util';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import type { Userspace } from '../device-image/device-base.ts';
import { USERSPACES } from '../device-image/prepare.ts';
import { CUT_PHASES } from './cut-phases.ts';
import { SABOTAGES, type Sabotage } from './sabotage.ts';

const USAGE = `npm run qemu -- [--prepare] [--userspace NAME] [--scenario NAME …] [--all] [--list] [--stay] [--cuts N [--phase NAME] [--devices N]] [--losses N] [--boots N] [--seed N] [--sabotage NAME] [--image FILE] [--verity] [--keep] [--console] [--json FILE] [--dir FOLDER]
  (nothing)         the short list: good, panic, no-confirm, health, and 5 power cuts; debian: also the first boot
  --prepare         install and make what the lab needs, and run nothing
  --userspace NAME  what runs on the devices: ${USERSPACES.map(({ name }) => name).join(', ')} (small)
  --scenario NAME   this one; give it once for each
  --all             every scenario
  --list            their names
  --stay            devices (--devices N) that run until Ctrl-C, and two releases, to try things with
  --cuts N          so many power cuts in the middle of an update (5); beside --scenario first-boot-cuts: of a rotation (3)
  --boots N         how many boots first-boot records (3)
  --phase NAME      all of them in this phase of it: ${CUT_PHASES.map(({ name }) => name).join(', ')}
  --devices N       devices that share them, or the boots of first-boot, at the same time; with --stay, how many there are (1)
  --losses N        so many disks that lost their cache in the middle of an update (0)
  --sabotage NAME   an agent that is built wrong; the run must end red: ${SABOTAGES.map(({ name }) => name).join(', ')}
  --image FILE      your own disk image, in place of the lab's devices: good, panic, agent-crash, and power cuts
  --verity          every device verifies its slot when it boots: U-Boot the FIT, the kernel the root file system's blocks
  --seed N          which moments they fall on (1)
  --keep            leave the run's folder, with disks and consoles
  --console         print every line that devices say
  --json FILE       where the report goes (report.json in the run's folder)
  --dir FOLDER      where the run's folder is made (the system's temporary folder)`;

export interface QemuOptions {
  readonly prepare: boolean;
  readonly userspace: Userspace;
  readonly scenarios: readonly string[];
  readonly all: boolean;
  readonly list: boolean;
  readonly stay: boolean;
  /** Undefined: as the list has it. */
  readonly cuts: number | undefined;
  readonly losses: number | undefined;
  readonly boots: number | undefined;
  /** The phase of an update that every cut falls into. */
  readonly phase: string | undefined;
  /** How many devices share the cuts. */
  readonly devices: number;
  readonly seed: number;
  readonly sabotage: Sabotage | undefined;
  /** A maker's own disk. */
  readonly imageFile: string | undefined;
  /** Every device verifies its slot when it boots. */
  readonly verity: boolean;
  readonly keep: boolean;
  readonly console: boolean;
  readonly jsonFile: string | undefined;
  readonly parentDirectory: string | undefined;
}

export function usageFault(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: USAGE, exitStatus: EXIT.usage });
}

/** Undefined when help was asked for, and printed. */
export function readQemuOptions(args: readonly string[]): QemuOptions | undefined {
  const values = parse(args);
  if (values.help) {
    process.stdout.write(`${USAGE}\n`);
    return undefined;
  }
  return {
    prepare: values.prepare,
    userspace: userspaceOf(values.userspace),
    scenarios: values.scenario,
    all: values.all,
    list: values.list,
    stay: values.stay,
    cuts: values.cuts === undefined ? undefined : wholeNumber('cuts', values.cuts, 0, 10_000),
    losses: values.losses === undefined ? undefined : wholeNumber('losses', values.losses, 0, 10_000),
    boots: values.boots === undefined ? undefined : wholeNumber('boots', values.boots, 1, 10_000),
    phase: values.phase === undefined ? undefined : phaseOf(values.phase),
    devices: wholeNumber('devices', values.devices, 1, 16),
    sabotage: values.sabotage === undefined ? undefined : sabotageOf(values.sabotage),
    seed: wholeNumber('seed', values.seed, 0, 2 ** 32 - 1),
    imageFile: imageOf(values),
    verity: values.verity,
    keep: values.keep,
    console: values.console,
    jsonFile: values.json,
    parentDirectory: values.dir,
  };
}

function userspaceOf(name: string): Userspace {
  const found = USERSPACES.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw usageFault(`no userspace is called ${name}; there are ${USERSPACES.map((one) => one.name).join(', ')}`);
}

/** A maker's agent and bootloader are as they are, and its console need not say in which phase of an update it is. */
function imageOf(values: { image?: string; sabotage?: string; phase?: string; verity: boolean }): string | undefined {
  const { image, sabotage, phase, verity } = values;
  if (image === undefined || ((sabotage ?? phase) === undefined && !verity)) return image;
  throw usageFault("--sabotage, --phase and --verity are for the lab's own devices, not for --image");
}

function sabotageOf(name: string): Sabotage {
  const found = SABOTAGES.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw usageFault(`no sabotage is called ${name}; there are ${SABOTAGES.map((one) => one.name).join(', ')}`);
}

function phaseOf(name: string): string {
  if (CUT_PHASES.some((phase) => phase.name === name)) return name;
  const names = CUT_PHASES.map((phase) => phase.name);
  throw usageFault(`no phase of an update is called ${name}; there are ${names.join(', ')}`);
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw usageFault(`--${name} must be a whole number from ${least} to ${most}`);
}

function parse(args: readonly string[]) {
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        prepare: flag,
        userspace: { type: 'string', default: 'small' },
        scenario: { type: 'string', multiple: true, default: [] },
        all: flag,
        list: flag,
        stay: flag,
        cuts: { type: 'string' },
        losses: { type: 'string' },
        boots: { type: 'string' },
        phase: { type: 'string' },
        devices: { type: 'string', default: '1' },
        sabotage: { type: 'string' },
        image: { type: 'string' },
        seed: { type: 'string', default: '1' },
        verity: flag,
        keep: flag,
        console: flag,
        json: { type: 'string' },
        dir: { type: 'string' },
        help: flag,
      },
    }).values;
  } catch (error) {
    throw usageFault(errorText(error));
  }
}
