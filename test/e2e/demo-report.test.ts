import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PROJECT_DIRECTORY } from '../../scripts/images/demo-images.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-e2e-demo-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('the demo', () => {
  it('says that it failed, and ends with another status than 0, when the server is killed by hand', async () => {
    const report = join(directory, 'report.json');
    const words = ['scripts/demo/main.ts', '--devices', '3', '--rootfs-mib', '8', '--dir', directory, '--json', report];
    const demo = spawn(process.execPath, words, { cwd: PROJECT_DIRECTORY, stdio: ['ignore', 'pipe', 'pipe'] });
    demo.stderr.resume();
    let said = '';
    demo.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = new Promise<number | null>((resolve) => demo.once('exit', (code) => resolve(code)));
    while (!said.includes('rollout start') && demo.exitCode === null) await sleep(20);
    const [run = ''] = readdirSync(directory).filter((name) => name.startsWith('holdfast-demo-'));
    const endpoints = join(directory, run, 'server/endpoints.json');
    expect(existsSync(endpoints)).toBe(true);
    process.kill(JSON.parse(readFileSync(endpoints, 'utf8')).pid, 'SIGKILL');
    expect(await ended).toBe(1);
    const { ok, steps } = JSON.parse(await readFile(report, 'utf8'));
    expect(ok).toBe(false);
    expect(JSON.stringify(steps)).toContain('holdfast-server ended, and nobody asked it to');
  });
});
