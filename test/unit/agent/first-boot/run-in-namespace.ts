/** Scripts of this folder that mount: each in a mount namespace of its own, so that nothing of the machine is changed. */
import { readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { runProgram } from '../../../../agent/boards/board-program.ts';

/** Starts `script FOLDER NAMESPACE WORDS…`, with an empty folder; answers the one line of JSON that it prints. */
export async function runInNamespace<T>(
  script: string,
  words: readonly string[],
  how: Parameters<typeof runProgram>[2] = {},
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-namespace-'));
  try {
    const started = [join(import.meta.dirname, script), folder, readlinkSync('/proc/self/ns/mnt'), ...words];
    const end = await runProgram('unshare', ['--mount', '--propagation', 'private', process.execPath, ...started], how);
    expect(end.status, end.said).toBe(0);
    return JSON.parse(end.stdout);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
