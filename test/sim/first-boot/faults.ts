/**
 * The life on a disk that fails once, at each call of each boot in turn: EIO, ENOSPC, a write that stops half way. The boot opens all the same, or
 * stays closed; the next one, on a disk that is well again, ends as if nothing had been.
 */
import type { DiskFault, SimulatedDisk } from '../simulated-disk.ts';
import { checkEnd, checkOpen, History, recordOn } from './invariants.ts';
import { type Boot, bootDevice, factoryDisk, LIFE } from './world.ts';

const FAULTS: readonly DiskFault[] = [{ code: 'EIO' }, { code: 'ENOSPC' }, { code: 'ENOSPC', keepBytes: 100 }];

export interface FaultCounts {
  readonly faults: number;
  /** How many of them left the boot closed. */
  readonly closed: number;
}

/** Throws at the first rule that is broken, and says where. `every`: one of so many is tried, 1 for all. */
export async function tryFaults(every: number): Promise<FaultCounts> {
  let [faults, closed, turn] = [0, 0, 0];
  let disk = await factoryDisk();
  const history = new History();
  for (const boot of LIFE) {
    const epochBefore = recordOn(disk)?.epoch ?? 0;
    await boot.before?.(disk);
    const before = disk.cut('drop');
    const { calls } = disk;
    await bootDevice(disk, boot, { bootId: `boot ${boot.name}`, seed: boot.name }).run();
    const wellCalls = disk.calls - calls;
    for (let call = 1; call <= wellCalls; call += 1) {
      for (const fault of FAULTS) {
        turn += 1;
        if (turn % every !== 0) continue;
        faults += 1;
        const what = `${boot.name}, ${fault.code}${fault.keepBytes === undefined ? '' : ' half way'} at call ${call}`;
        if (await fails(before.cut('keep'), boot, history.branch(), { call, fault, epochBefore, what })) closed += 1;
      }
    }
    history.see(disk);
    disk = disk.cut('drop');
  }
  return { faults, closed };
}

async function fails(
  disk: SimulatedDisk,
  boot: Boot,
  history: History,
  { call, fault, epochBefore, what }: { call: number; fault: DiskFault; epochBefore: number; what: string },
): Promise<boolean> {
  try {
    let at = '';
    disk.fault = ({ number, kind, path }) => {
      if (number !== call) return undefined;
      at = `${kind} ${path}`;
      return fault.keepBytes === undefined || kind === 'write' ? fault : undefined;
    };
    const bootId = `boot ${boot.name} that fails`;
    const failing = bootDevice(disk, boot, { bootId, seed: what });
    const isOpen = await failing.run().then(
      ({ rest }) => rest === 'open',
      (error: unknown) => {
        if (error instanceof Error && 'code' in error) return false;
        throw error;
      },
    );
    checkOpen(disk, failing.mounts, bootId);
    if (isOpen && recordOn(disk)?.opened?.bootId !== bootId) throw new Error(`it says open and is not, after ${at}`);
    disk.fault = () => undefined;
    const left = disk.cut('drop');
    history.see(left);
    const well = bootDevice(left, boot, { bootId: `boot ${boot.name} after`, seed: `${what} after` });
    const rest = await well.run();
    if (rest.rest !== 'open') throw new Error(`blocked after ${at}: ${JSON.stringify(rest.trouble)}`);
    history.see(left);
    checkEnd(left.cut('drop'), well.mounts, boot, well.bootId, epochBefore);
    return !isOpen;
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
