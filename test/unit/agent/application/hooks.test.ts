import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applicationOf } from '../../../../agent/application/hooks.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hooks-'));
  await mkdir(join(directory, 'before'));
});
afterEach(() => rm(directory, { recursive: true }));

const script = (name: string, body: string) =>
  writeFile(join(directory, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });

function application(more: { program?: string; file?: string; deadlineMs?: number; beforeReboot?: string } = {}) {
  const at = (name: string | undefined) => (name === undefined ? null : join(directory, name));
  const found = applicationOf({
    beforeReboot: at(more.beforeReboot),
    program: at(more.program),
    file: at(more.file),
    executables: { deadlineMs: more.deadlineMs ?? 30_000, workingDirectory: directory, environment: {} },
  });
  if (found === undefined) throw new Error('no hooks');
  return found;
}

describe('an application', () => {
  it('has no say where its maker gave it none', () => {
    const executables = { deadlineMs: 1, workingDirectory: '/', environment: {} };
    expect(applicationOf({ beforeReboot: null, program: null, file: null, executables })).toBeUndefined();
  });

  it('is in use while its program ends with 0, and free when it ends with 1', async () => {
    await script('in-use', `echo "2 patients"; cat answer >/dev/null; exit "$(cat answer)"`);
    await writeFile(join(directory, 'answer'), '0');
    expect(await application({ program: 'in-use' }).inUse()).toBe('2 patients');
    await writeFile(join(directory, 'answer'), '1');
    expect(await application({ program: 'in-use' }).inUse()).toBeUndefined();
  });

  it.each([
    ['exit 2', 'exit status 2'],
    ['kill -SEGV $$', 'ended by SIGSEGV'],
    ['sleep 60', 'no answer within 200 ms'],
  ])('counts as in use when its program cannot say (%s)', async (body, says) => {
    await script('in-use', body);
    expect(await application({ program: 'in-use', deadlineMs: 200 }).inUse()).toBe(says);
  });

  it('counts as in use when its program is not there, and by a file while that is', async () => {
    expect(await application({ program: 'gone' }).inUse()).toMatch(/ENOENT/);
    expect(await application({ file: 'flag' }).inUse()).toBeUndefined();
    await writeFile(join(directory, 'flag'), '');
    expect(await application({ file: 'flag' }).inUse()).toBe(`${join(directory, 'flag')} is there`);
  });

  it('runs every executable before a reboot, in order, and tells which failed: none stops the others', async () => {
    await script('before/10-fails', 'echo no room >&2; exit 1');
    await script('before/20-hangs', `(sleep 1; touch "${directory}/left-behind") & sleep 60`);
    await script('before/30-saves', 'echo saved > saved');
    await writeFile(join(directory, 'before/40-plain'), '');
    expect(await application({ beforeReboot: 'before', deadlineMs: 300 }).beforeReboot()).toEqual([
      '10-fails: no room',
      '20-hangs: no answer within 300 ms',
      '40-plain: it is not an executable file',
    ]);
    expect(await readFile(join(directory, 'saved'), 'utf8')).toBe('saved\n');
    expect(existsSync(join(directory, 'left-behind'))).toBe(false);
    expect(await application({ beforeReboot: 'gone' }).beforeReboot()).toEqual([
      'directory: the folder cannot be read (ENOENT)',
    ]);
  });
});
