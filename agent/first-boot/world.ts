/**
 * What providers need of a device: its files, programs, clock and owner. One object, so that a test or an emulated device
 * gives them another world, and each provider takes from it what it uses.
 */
import type { Disk } from '../../platform/disk.ts';
import type { RunProgram } from '../boards/board-program.ts';
import type { DeviceFiles } from './device-files.ts';
import type { FileForms } from './file-form.ts';

export interface ProviderWorld {
  readonly disk: Disk;
  readonly forms: FileForms;
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
