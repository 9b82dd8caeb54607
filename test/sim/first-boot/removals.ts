/**
 * Takes away, one at a time, every sync that the first boot makes, by what it makes durable, and what holds its order: the life, cut
 * at every operation, must notice each. The syncs are those that a life with nothing taken away is seen to make.
 */
import { FIRST_BOOT_MACHINE } from '../../../agent/core/first-boot-machine.ts';
import { EpochFolder } from '../../../agent/first-boot/staging.ts';
import type { DiskOperation, SimulatedDisk } from '../simulated-disk.ts';
import { CutFailed, EveryCut } from './every-cut.ts';

export interface Removed {
  /** `sync /data/first-boot/record.N`. */
  readonly what: string;
  /** How it was noticed; empty when it was not. */
  readonly noticedBy: string;
}

/** Epochs and copies are told apart by nobody who syncs. */
function placeOf({ kind, path }: DiskOperation): string {
  const place = path.replace(/(epoch|escrow)-\d+/, '$1-N').replace(/record\.\d/, 'record.N');
  return `${kind} ${place.replace(/epoch-N\/.+/, 'epoch-N/FILE').replace(/\/data\/own\/.+/, '/data/own/FILE')}`;
}

async function noticed(seed: number, alter: (disk: SimulatedDisk) => void = () => {}): Promise<string> {
  try {
    await new EveryCut({ seed, share: 0, alter }).run();
    return '';
  } catch (error) {
    if (!(error instanceof CutFailed)) throw error;
    return error.message.split('\n')[0] ?? '';
  }
}

/** Runs with one thing broken, and mends it again. */
interface Sabotage {
  readonly what: string;
  /** Returns how to take it back. */
  readonly begin: () => () => void;
}

const SABOTAGES: readonly Sabotage[] = [
  {
    what: 'the order: keep the escrow, then apply',
    begin: () => {
      const { keepEscrow, discardEscrowBefore } = EpochFolder.prototype;
      let late: (() => Promise<void>) | undefined;
      EpochFolder.prototype.keepEscrow = async function (this: EpochFolder, epoch, blob) {
        late = () => keepEscrow.call(this, epoch, blob);
      };
      EpochFolder.prototype.discardEscrowBefore = async function (this: EpochFolder, epoch) {
        await late?.();
        late = undefined;
        await discardEscrowBefore.call(this, epoch);
      };
      return () => Object.assign(EpochFolder.prototype, { keepEscrow, discardEscrowBefore });
    },
  },
  {
    what: 'the order: verify the new epoch, then discard the blob of the one before',
    begin: () => {
      const { keepEscrow, discardEscrowBefore } = EpochFolder.prototype;
      EpochFolder.prototype.keepEscrow = async function (this: EpochFolder, epoch, blob) {
        await keepEscrow.call(this, epoch, blob);
        await discardEscrowBefore.call(this, epoch);
      };
      return () => Object.assign(EpochFolder.prototype, { keepEscrow });
    },
  },
  {
    what: 'the number of the epoch above every one that the folder shows',
    begin: () => {
      const { highestEpoch } = EpochFolder.prototype;
      EpochFolder.prototype.highestEpoch = async () => 0;
      return () => Object.assign(EpochFolder.prototype, { highestEpoch });
    },
  },
  {
    what: 'reconciling at every boot',
    begin: () => {
      const row: { started: unknown } = FIRST_BOOT_MACHINE.open;
      const { started } = row;
      row.started = { state: 'open', effects: ['inspect'] };
      return () => {
        row.started = started;
      };
    },
  },
  {
    what: 'what a reset owes after a cut',
    begin: () => {
      const row: { reset: unknown } = FIRST_BOOT_MACHINE.open;
      const { reset } = row;
      row.reset = { state: 'factory', effects: ['begin-epoch', 'discard-staged', 'generate'] };
      return () => {
        row.reset = reset;
      };
    },
  },
];

/** `report` is told of each as soon as it is known. Throws when something is noticed with nothing taken away. */
export async function tryRemovals(seed: number, report: (removed: Removed) => void): Promise<Removed[]> {
  const places = new Set<string>();
  const before = await noticed(seed, (disk) => {
    disk.ignoresSync = (operation) => {
      places.add(placeOf(operation));
      return false;
    };
  });
  if (before !== '') throw new Error(`with nothing taken away: ${before}`);
  const removed: Removed[] = [];
  const tell = (one: Removed): void => {
    removed.push(one);
    report(one);
  };
  for (const place of [...places].sort()) {
    const alter = (disk: SimulatedDisk): void => {
      disk.ignoresSync = (operation) => placeOf(operation) === place;
    };
    tell({ what: place, noticedBy: await noticed(seed, alter) });
  }
  for (const { what, begin } of SABOTAGES) {
    const end = begin();
    tell({ what, noticedBy: await noticed(seed) });
    end();
  }
  return removed;
}
