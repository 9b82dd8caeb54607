/** Executables for the tests of the exec board, and a board that calls one. */
import { chmodSync, writeFileSync } from 'node:fs';
import { ExecBoard } from '../../../../agent/boards/exec.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import type { FwEnvironment } from './fw-environment.ts';

export function script(path: string, text: string): string {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

export function boardOn(
  environment: FwEnvironment,
  executable: string,
  attempts: number,
  deadlineMs = 20_000,
): ExecBoard {
  const slots = { a: { rootfs: environment.path('rootfs-a') }, b: { rootfs: environment.path('rootfs-b') } };
  const procDirectory = environment.path('proc');
  return new ExecBoard(
    nodeDisk,
    { slots, executable, trialAttempts: attempts, deadlineMs, procDirectory },
    environment.run,
  );
}
