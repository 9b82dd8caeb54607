import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FirstBootSettings } from '../../../../agent/health/first-boot-check.ts';
import { localHealth } from '../../../../agent/health/local-health.ts';
import { nodeDisk } from '../../../../platform/disk.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'health-'));
  await mkdir(join(directory, 'health.d'));
});
afterEach(() => rm(directory, { recursive: true }));

async function script(name: string, body: string, permissions = 0o755): Promise<void> {
  const path = join(directory, 'health.d', name);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, permissions);
}

const check = (
  changes: {
    minFreeBytes?: number;
    minAvailableMemoryBytes?: number;
    directory?: string | null;
    deadlineMs?: number;
    firstBoot?: FirstBootSettings;
  } = {},
) =>
  localHealth({
    directory: changes.directory === undefined ? join(directory, 'health.d') : changes.directory,
    dataDirectory: directory,
    minFreeBytes: changes.minFreeBytes ?? 1,
    minAvailableMemoryBytes: changes.minAvailableMemoryBytes ?? 1,
    systemd: null,
    firstBoot: changes.firstBoot,
    executables: {
      deadlineMs: changes.deadlineMs ?? 30_000,
      workingDirectory: directory,
      environment: { HOLDFAST_SLOT: 'b' },
    },
  }).check();

describe('local health', () => {
  it('is good when every check is', async () => {
    await script('10-good', 'exit 0');
    expect(await check()).toEqual({ healthy: true, failedCheck: '', detail: '' });
  });

  it('fails first of all where the image has a first boot that did not open', async () => {
    await script('10-bad', 'exit 1');
    const firstBoot = {
      disk: nodeDisk,
      directory: join(directory, 'first-boot'),
      bootId: async () => 'now',
      waitMs: 0,
    };
    expect(await check({ firstBoot })).toMatchObject({ healthy: false, failedCheck: 'first-boot record-missing' });
  });

  it('names the first check that failed, in order of name, with the last line it printed', async () => {
    await script('20-second', 'echo never; exit 1');
    await script('10-first', 'echo starting; echo the sensor is silent >&2; exit 3');
    expect(await check()).toEqual({ healthy: false, failedCheck: '10-first', detail: 'the sensor is silent' });
  });

  it('runs checks in the folder and environment that it was given, and in no other', async () => {
    await script('10-env', `pwd > seen; echo "$HOLDFAST_SLOT $SECRET_OF_AGENT" >> seen`);
    process.env.SECRET_OF_AGENT = 'secret';
    expect((await check()).healthy).toBe(true);
    expect(await readFile(join(directory, 'seen'), 'utf8')).toBe(`${directory}\nb \n`);
  });

  it('fails a check that misses its deadline, and kills its whole group', async () => {
    await script('10-slow', `(sleep 1; touch "${directory}/left-behind") & sleep 60`);
    expect(await check({ deadlineMs: 200 })).toMatchObject({
      healthy: false,
      failedCheck: '10-slow',
      detail: 'no answer within 200 ms',
    });
    await pause(1200);
    expect(existsSync(join(directory, 'left-behind'))).toBe(false);
  });

  it('does not wait for a child that a good check left behind, and ends it', async () => {
    await script('10-daemon', `(sleep 1; touch "${directory}/left-behind") &\nexit 0`);
    expect((await check()).healthy).toBe(true);
    await pause(1200);
    expect(existsSync(join(directory, 'left-behind'))).toBe(false);
  });

  it('keeps only the end of endless output, on one line, without control characters', async () => {
    await script('10-loud', `head -c 3000000 /dev/zero | tr '\\0' x; printf '\\n\\033[31mred\\tline\\n'; exit 1`);
    expect(await check()).toMatchObject({ healthy: false, detail: '[31mred line' });
  });

  it('fails a file that is not executable, a folder, and a program that cannot start', async () => {
    await script('10-plain', 'exit 0', 0o644);
    expect(await check()).toMatchObject({ failedCheck: '10-plain', detail: 'it is not an executable file' });
    await rm(join(directory, 'health.d/10-plain'));
    await mkdir(join(directory, 'health.d/10-folder'));
    expect(await check()).toMatchObject({ failedCheck: '10-folder', detail: 'it is not an executable file' });
    await rm(join(directory, 'health.d/10-folder'), { recursive: true });
    await writeFile(join(directory, 'health.d/10-broken'), '#!/no/such/interpreter\n', { mode: 0o755 });
    expect(await check()).toMatchObject({ healthy: false, failedCheck: '10-broken' });
  });

  it('says how a silent check ended', async () => {
    await script('10-silent', 'exit 7');
    expect(await check()).toMatchObject({ detail: 'exit status 7' });
    await script('10-silent', 'kill -SEGV $$');
    expect(await check()).toMatchObject({ detail: 'ended by SIGSEGV' });
  });

  it('fails when the folder of checks is missing, and asks for none when there is none to be', async () => {
    expect(await check({ directory: join(directory, 'gone') })).toMatchObject({
      healthy: false,
      failedCheck: 'health-directory',
    });
    expect(await check({ directory: null })).toMatchObject({ healthy: true });
  });

  it('fails for want of space, and of memory', async () => {
    expect(await check({ minFreeBytes: Number.MAX_SAFE_INTEGER })).toMatchObject({ failedCheck: 'free-space' });
    expect(await check({ minAvailableMemoryBytes: Number.MAX_SAFE_INTEGER })).toMatchObject({ failedCheck: 'memory' });
  });
});
