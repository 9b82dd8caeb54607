/**
 * What the image's maker lets the application say: a folder of executables that run before a reboot, and one program or
 * one file that says "in use".
 *
 *   program   status 0: in use; 1: free. Anything else, and no answer in time, counts as in use: who cannot say is not
 *             disturbed, and the limit of waiting ends that too.
 *   file      it is there: in use. Best in /run, so that a crash of the machine does not leave it behind.
 */
import { existsSync } from 'node:fs';
import type { Application } from '../core/ports.ts';
import { type CheckSettings, runExecutableCheck } from '../health/executable-check.ts';
import { runFolder } from '../health/executable-folder.ts';

export interface HookSettings {
  readonly beforeReboot: string | null;
  readonly program: string | null;
  readonly file: string | null;
  readonly executables: CheckSettings;
  readonly onProgress?: () => void;
}

/** Undefined: the maker gave the application no say. */
export function applicationOf(hooks: HookSettings): Application | undefined {
  const { beforeReboot, program, file, executables, onProgress: onEach = () => {} } = hooks;
  if (beforeReboot === null && program === null && file === null) return undefined;
  return {
    async inUse() {
      if (file !== null && existsSync(file)) return `${file} is there`;
      if (program === null) return undefined;
      const { status, detail } = await runExecutableCheck(program, executables);
      return status === 1 ? undefined : detail;
    },
    async beforeReboot() {
      const failed = await runFolder(beforeReboot, executables, { onEach });
      return failed.map(({ name, detail }) => `${name}: ${detail}`);
    },
  };
}
