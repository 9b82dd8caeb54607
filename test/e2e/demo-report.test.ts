import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PROJECT_DIRECTORY } from '../../scripts/images/demo-images.ts';

let directory: string;
let demo: ChildProcess;
let said: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-e2e-demo-'));
  const report = join(directory, 'report.json');
  const words = ['scripts/demo/main.ts', '--devices', '3', '--rootfs-mib', '8', '--dir', directory, '--json', report];
  demo = spawn(process.execPath, words, { cwd: PROJECT_DIRECTORY, stdio: ['ignore', 'pipe', 'ignore'] });
  said = '';
  demo.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
});

afterEach(async () => {
  if (demo.exitCode === null && demo.signalCode === null) {
    const gone = new Promise((resolve) => demo.once('exit', resolve));
    demo.kill('SIGTERM');
    await gone;
  }
  await rm(directory, { recursive: true, force: true });
});

/** The folder of the run, once the demo has said `text`. */
async function runThatSaid(text: string): Promise<string> {
  while (!said.includes(text)) {
    if (demo.exitCode !== null) throw new Error(`the demo ended before it said "${text}": ${said.slice(-500)}`);
    await sleep(10);
  }
  const [name = ''] = readdirSync(directory).filter((entry) => entry.startsWith('holdfast-demo-'));
  return join(directory, name);
}

async function outcome(): Promise<{ status: number | null; ok: boolean; text: string }> {
  if (demo.exitCode === null) await new Promise((resolve) => demo.once('exit', resolve));
  const text = await readFile(join(directory, 'report.json'), 'utf8');
  return { status: demo.exitCode, ok: JSON.parse(text).ok, text };
}

describe('the demo says that it failed, and ends with another status than 0,', () => {
  it('when the server is killed by hand', async () => {
    const run = await runThatSaid('rollout start');
    process.kill(JSON.parse(readFileSync(join(run, 'server/endpoints.json'), 'utf8')).pid, 'SIGKILL');
    const { status, ok, text } = await outcome();
    expect({ status, ok }).toEqual({ status: 1, ok: false });
    expect(text).toContain('holdfast-server ended, and nobody asked it to');
  });

  it('when an image is corrupted on the server after it was published', async () => {
    const run = await runThatSaid('published:');
    const artifacts = readdirSync(join(run, 'server/artifacts'), { recursive: true, encoding: 'utf8' });
    for (const file of artifacts.map((name) => join(run, 'server/artifacts', name))) {
      if (!statSync(file).isFile() || statSync(file).size < 4 * 1024 * 1024) continue;
      const bytes = readFileSync(file);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    }
    const { status, ok, text } = await outcome();
    expect({ status, ok }).toEqual({ status: 1, ok: false });
    expect(text).toContain('block-digest-mismatch');
  });
});

describe('the demo', () => {
  it('leaves nothing running when it is interrupted', async () => {
    const run = await runThatSaid('devices enrolled');
    demo.kill('SIGINT');
    await new Promise((resolve) => demo.once('exit', resolve));
    expect(demo.exitCode).toBe(130);
    const left = (): string[] =>
      readdirSync('/proc').flatMap((name) => {
        try {
          const words = /^\d+$/.test(name) ? readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') : '';
          return words.includes(run) ? [words] : [];
        } catch {
          return [];
        }
      });
    // A program that another one started, such as mke2fs, ends a moment after it.
    await expect.poll(left, { timeout: 10_000 }).toEqual([]);
  });
});
