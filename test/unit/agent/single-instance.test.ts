import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { holdDataDirectory, isHeld } from '../../../agent/single-instance.ts';

let directory: string;
let boot: string;
const running = new Set<ReturnType<typeof spawn>>();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'held-'));
  boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
});
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
  await rm(directory, { recursive: true });
});

/** Another process that holds the folder until it is killed. */
async function otherHolder(): Promise<ReturnType<typeof spawn>> {
  const module = new URL('../../../agent/single-instance.ts', import.meta.url);
  const program = `import { holdDataDirectory } from ${JSON.stringify(module.href)};
    holdDataDirectory(${JSON.stringify(directory)}); console.log('held'); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  await once(child.stdout, 'data');
  return child;
}

describe('the hold on a data directory', () => {
  it('is refused while another process has it, and leaves that one its own', async () => {
    await otherHolder();
    const before = await readdir(directory);
    expect(isHeld(directory)).toBe(true);
    expect(() => holdDataDirectory(directory)).toThrow(expect.objectContaining({ code: 'agent-running' }));
    expect(await readdir(directory)).toEqual(before);
  });

  it('is free once that process was killed, which leaves its file', async () => {
    const child = await otherHolder();
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await readdir(directory)).toHaveLength(1);
    expect(isHeld(directory)).toBe(false);
    const held = holdDataDirectory(directory);
    expect(await readdir(directory)).toHaveLength(1);
    held.close();
    expect(await readdir(directory)).toEqual([]);
  });

  it('is free after a reboot, though a process of that number lives', async () => {
    const stat = await readFile(`/proc/${process.ppid}/stat`, 'utf8');
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const before = boot.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
    await writeFile(join(directory, `running.${before}.${process.ppid}.${started}`), '');
    expect(isHeld(directory)).toBe(false);
    holdDataDirectory(directory).close();
  });

  it('is free when the number went to a process that started at another time', async () => {
    await writeFile(join(directory, `running.${boot}.${process.ppid}.1`), '');
    expect(isHeld(directory)).toBe(false);
    holdDataDirectory(directory).close();
  });

  it('is not given twice to one process', () => {
    const held = holdDataDirectory(directory);
    expect(() => holdDataDirectory(directory)).toThrow(expect.objectContaining({ code: 'agent-running' }));
    held.close();
    holdDataDirectory(directory).close();
  });

  it('makes the folder, and asking makes nothing', () => {
    const inner = join(directory, 'data');
    expect(isHeld(inner)).toBe(false);
    expect(existsSync(inner)).toBe(false);
    holdDataDirectory(inner).close();
    expect(existsSync(inner)).toBe(true);
  });
});
