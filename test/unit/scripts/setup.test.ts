import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ProgramResult, runProgram } from '../../../scripts/programs.ts';

const SETUP = join(import.meta.dirname, '../../../scripts/setup.sh');
/** What a small system has; no node, no npm, no mtools. */
const SYSTEM = ['sh', 'dirname', 'cat', 'find', 'cksum', 'mktemp', 'tail', 'head', 'rm', 'uname'];

let project: string;
let programs: string;

beforeEach(async () => {
  project = await mkdtemp(join(tmpdir(), 'holdfast-setup-'));
  programs = join(project, 'programs');
  await mkdir(join(project, 'scripts'));
  await mkdir(programs);
  await copyFile(SETUP, join(project, 'scripts/setup.sh'));
  await writeFile(join(project, 'package-lock.json'), '{}\n');
  for (const name of SYSTEM) {
    await symlink(await pathOf(name), join(programs, name));
  }
});
afterEach(() => rm(project, { recursive: true, force: true }));

async function pathOf(name: string): Promise<string> {
  return (await runProgram('sh', ['-c', `command -v ${name}`])).stdout.trim();
}

async function program(name: string, text: string): Promise<void> {
  await writeFile(join(programs, name), `#!/bin/sh\n${text}\n`);
  await chmod(join(programs, name), 0o755);
}

const setup = (...options: string[]): Promise<ProgramResult> =>
  runProgram('/bin/sh', ['scripts/setup.sh', ...options], { cwd: project, env: { PATH: programs } });

/** As if everything had been installed. */
async function installed(): Promise<void> {
  await mkdir(join(project, 'node_modules/.bin'), { recursive: true });
  await writeFile(join(project, 'node_modules/.bin/node'), '');
  await chmod(join(project, 'node_modules/.bin/node'), 0o755);
  await writeFile(join(project, 'node_modules/.package-lock.json'), '{}\n');
}

describe('setup.sh', () => {
  it('says nothing and does nothing when everything stands', async () => {
    await installed();
    expect(await setup()).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('refuses an option that it does not know', async () => {
    expect(await setup('--colour')).toMatchObject({ status: 2, stderr: expect.stringContaining('--colour') });
  });

  it('says that there is no node', async () => {
    expect(await setup()).toMatchObject({ status: 5, stderr: expect.stringContaining('cure:') });
  });

  it('says that node is too old', async () => {
    await program('node', 'if [ "$1" = --version ]; then echo v18.20.0; else echo 18; fi');
    await program('npm', 'exit 1');
    expect(await setup()).toMatchObject({ status: 5, stderr: expect.stringContaining('v18.20.0') });
  });

  it('installs with npm ci, without install scripts, when the packages are missing', async () => {
    await program('node', 'echo 20');
    const makeNode =
      '/bin/mkdir -p node_modules/.bin; : > node_modules/.bin/node; /bin/chmod +x node_modules/.bin/node';
    await program('npm', `echo "$@" > asked; ${makeNode}`);
    expect((await setup()).status).toBe(0);
    expect(await readdir(project)).toContain('asked');
    expect((await runProgram('cat', [join(project, 'asked')])).stdout).toContain('ci --ignore-scripts');
    await program('npm', 'exit 1');
    expect((await setup()).status).toBe(0);
  });

  it('tells what npm said, and stops, when the packages cannot be installed', async () => {
    await program('node', 'echo 20');
    await program('npm', 'echo "no such registry" >&2; exit 1');
    const { status, stderr } = await setup();
    expect(status).toBe(5);
    expect(stderr).toContain('no such registry');
  });

  it('prints the one command to run, and installs nothing, when image programs are missing and it is not root', async () => {
    await installed();
    await program('id', 'echo 1000');
    await program('apt-get', ': > apt-get-ran');
    const { status, stderr } = await setup('--images');
    expect(status).toBe(5);
    expect(stderr).toMatch(/cure: sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends .*mtools/);
    expect(await readdir(project)).not.toContain('apt-get-ran');
  });
});
