/**
 * What providers need of a device: its files, programs, clock and owner. One object, so that a test or an emulated device
 * gives them another world, and each provider takes from it what it uses.
 */
import { join } from 'node:path';
import { type Disk, nodeDisk } from '../../platform/disk.ts';
import { type RunProgram, runProgram } from '../boards/board-program.ts';
import { readBootId } from '../boards/machine.ts';
import { DeviceFiles, type DeviceFilesSettings } from './device-files.ts';
import { modesAlone, nodeForms } from './file-form.ts';
import { SystemMounts } from './mounts.ts';

export interface ProviderWorld {
  readonly disk: Disk;
  readonly files: DeviceFiles;
  readonly run: RunProgram;
  readonly dataDirectory: string;
  /** In memory (`/run/holdfast`), 0700: what a program must find in a file for a moment. */
  readonly scratchDirectory: string;
  /** Lines for authorized_keys, from signed root metadata or the owner's file in the image; nobody else's. */
  readonly ownerKeys: readonly string[];
  /** Null while the clock is not synchronised. */
  readonly nowUnixMs: () => number | null;
  /** The kernel's id of this boot. */
  readonly bootId: () => Promise<string>;
}

/** The device that this program runs on (root `/`), or one that is a folder: no mounts, no owners, no sshd. */
export function openWorld(
  settings: DeviceFilesSettings &
    Pick<ProviderWorld, 'scratchDirectory' | 'ownerKeys' | 'nowUnixMs'> &
    Partial<Pick<ProviderWorld, 'bootId' | 'run'>>,
  disk: Disk = nodeDisk,
): ProviderWorld {
  const { dataDirectory, scratchDirectory, ownerKeys, nowUnixMs } = settings;
  const isMachine = settings.root === '/';
  const forms = isMachine ? nodeForms : modesAlone;
  const mounts = isMachine ? new SystemMounts(join(scratchDirectory, 'files'), disk) : undefined;
  return {
    disk,
    files: new DeviceFiles(disk, settings, mounts, forms),
    run: settings.run ?? runProgram,
    dataDirectory,
    scratchDirectory,
    ownerKeys,
    nowUnixMs,
    bootId: settings.bootId ?? (() => readBootId(disk, '/proc')),
  };
}
