/** What `npm run demo` takes. */
import { parseArgs } from 'node:util';
import { EXIT, errorText, Fault } from '../../platform/fault.ts';

const USAGE = `npm run demo -- [--devices N] [--json FILE] [--keep] [--dir FOLDER] [--rootfs-mib N]
  --devices N      how many devices (3 to 64; 8)
  --json FILE      where the report goes (report.json in the run's folder)
  --keep           leave everything running at the end, until Ctrl-C
  --dir FOLDER     where the run's folder is made (the system's temporary folder)
  --rootfs-mib N   size of the root file system (64)`;

export interface DemoOptions {
  readonly devices: number;
  readonly jsonFile: string | undefined;
  readonly keep: boolean;
  readonly parentDirectory: string | undefined;
  readonly rootfsMib: number;
}

function usageFault(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: USAGE, exitStatus: EXIT.usage });
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw usageFault(`--${name} must be a whole number from ${least} to ${most}`);
}

/** Undefined when help was asked for, and printed. */
export function readDemoOptions(args: readonly string[]): DemoOptions | undefined {
  const options = parse(args);
  if (options.help) {
    process.stdout.write(`${USAGE}\n`);
    return undefined;
  }
  return {
    devices: wholeNumber('devices', options.devices, 3, 64),
    jsonFile: options.json,
    keep: options.keep,
    parentDirectory: options.dir,
    rootfsMib: wholeNumber('rootfs-mib', options['rootfs-mib'], 8, 1024),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        devices: { type: 'string', default: '8' },
        json: { type: 'string' },
        keep: { type: 'boolean', default: false },
        dir: { type: 'string' },
        'rootfs-mib': { type: 'string', default: '64' },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw usageFault(errorText(error));
  }
}
