/** What `npm run qemu` takes. */
import { parseArgs } from 'node:util';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';
import { SABOTAGES, type Sabotage } from './sabotage.ts';

const USAGE = `npm run qemu -- [--prepare] [--scenario NAME …] [--all] [--list] [--cuts N] [--losses N] [--seed N] [--sabotage NAME] [--image FILE] [--keep] [--console] [--json FILE] [--dir FOLDER]
  (nothing)         the short list: good, panic, no-confirm, health, and 5 power cuts
  --prepare         install and make what the lab needs, and run nothing
  --scenario NAME   this one; give it once for each
  --all             every scenario
  --list            their names
  --cuts N          so many power cuts in the middle of an update (5)
  --losses N        so many disks that lost their cache in the middle of an update (0)
  --sabotage NAME   an agent that is built wrong; the run must end red: ${SABOTAGES.map(({ name }) => name).join(', ')}
  --image FILE      your own disk image, in place of the lab's devices: good, panic, agent-crash, and power cuts
  --seed N          which moments they fall on (1)
  --keep            leave the run's folder, with disks and consoles
  --console         print every line that devices say
  --json FILE       where the report goes (report.json in the run's folder)
  --dir FOLDER      where the run's folder is made (the system's temporary folder)`;

export interface QemuOptions {
  readonly prepare: boolean;
  readonly scenarios: readonly string[];
  readonly all: boolean;
  readonly list: boolean;
  /** Undefined: as the list has it. */
  readonly cuts: number | undefined;
  readonly losses: number | undefined;
  readonly seed: number;
  readonly sabotage: Sabotage | undefined;
  /** A maker's own disk. */
  readonly imageFile: string | undefined;
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
    scenarios: values.scenario,
    all: values.all,
    list: values.list,
    cuts: values.cuts === undefined ? undefined : wholeNumber('cuts', values.cuts, 0, 10_000),
    losses: values.losses === undefined ? undefined : wholeNumber('losses', values.losses, 0, 10_000),
    sabotage: values.sabotage === undefined ? undefined : sabotageOf(values.sabotage),
    seed: wholeNumber('seed', values.seed, 0, 2 ** 32 - 1),
    imageFile: imageOf(values),
    keep: values.keep,
    console: values.console,
    jsonFile: values.json,
    parentDirectory: values.dir,
  };
}

/** The agent of a maker's image is the maker's. */
function imageOf({ image, sabotage }: { image?: string; sabotage?: string }): string | undefined {
  if (image === undefined || sabotage === undefined) return image;
  throw usageFault("--sabotage is for the lab's own devices; --image takes your agent as it is");
}

function sabotageOf(name: string): Sabotage {
  const found = SABOTAGES.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw usageFault(`no sabotage is called ${name}; there are ${SABOTAGES.map((one) => one.name).join(', ')}`);
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
        scenario: { type: 'string', multiple: true, default: [] },
        all: flag,
        list: flag,
        cuts: { type: 'string' },
        losses: { type: 'string' },
        sabotage: { type: 'string' },
        image: { type: 'string' },
        seed: { type: 'string', default: '1' },
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
