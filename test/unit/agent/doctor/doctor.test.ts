import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UBootBoard } from '../../../../agent/boards/u-boot.ts';
import { doctorCommand } from '../../../../agent/commands/doctor.ts';
import { readConfig } from '../../../../agent/config.ts';
import { checkBoard } from '../../../../agent/doctor/board-checks.ts';
import { checkMachine, checkNode } from '../../../../agent/doctor/machine-checks.ts';
import { selfTest } from '../../../../agent/doctor/self-test.ts';
import { FIRST_JOURNAL, journalRecord } from '../../../../agent/storage/journal.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { TestMaker } from '../../../sim/release-fixture.ts';
import { FwEnvironment, HAS_FW_TOOLS } from '../boards/fw-environment.ts';
import { authority } from '../test-authority.ts';

const CANARY = 'c0ffee';
let environment: FwEnvironment;
let configPath: string;

const CONFIG = {
  format: 'holdfast-agent-1',
  vendor: 'acme.example',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  environment: 'rehearsal',
  dataDirectory: 'data',
  factoryRoot: 'root.json',
  factoryInstalled: { sequence: 1, version: '1.0.0' },
  claimFile: 'claim.json',
  clock: 'host',
  server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: 'server-ca.pem' },
};

const BOARD = {
  kind: 'u-boot',
  slots: { a: { rootfs: 'slot-a' }, b: { rootfs: 'slot-b' } },
  environmentConfig: 'fw_env.config',
  defaultEnvironment: 'defaults',
  goodSlotFile: 'medium/holdfast.good',
  procDirectory: 'proc',
};

async function writeConfig(changes: object = {}): Promise<void> {
  await writeFile(configPath, JSON.stringify({ ...CONFIG, board: BOARD, ...changes }));
}

async function parts() {
  const config = await readConfig(nodeDisk, configPath);
  if (config.board.kind !== 'u-boot') throw new Error('this test has U-Boot');
  return { config, board: new UBootBoard(nodeDisk, config.board, environment.run) };
}

const boardRows = async () => {
  const { config, board } = await parts();
  return checkBoard(config, board, nodeDisk);
};

beforeEach(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'doctor-'));
  if (HAS_FW_TOOLS) environment = new FwEnvironment({ BOOT_ORDER: 'a b', holdfast_canary: CANARY }, directory);
  else return;
  environment.set({ again: '1' });
  environment.commandLine(`holdfast.slot=a holdfast.trial=0 holdfast.canary=${CANARY}`);
  configPath = environment.path('agent.json');
  await mkdir(environment.path('data'));
  for (const slot of ['slot-a', 'slot-b']) {
    await writeFile(environment.path(slot), '');
    await truncate(environment.path(slot), 1 << 20);
  }
  await writeFile(environment.path('medium/holdfast.good'), 'holdfast_good=a\n');
  await writeFile(environment.path('root.json'), new TestMaker().factoryRoot);
  await writeFile(environment.path('server-ca.pem'), (await authority()).certificatePem);
  await writeConfig();
});
afterEach(async () => {
  if (HAS_FW_TOOLS) await rm(environment.directory, { recursive: true });
});

describe.skipIf(!HAS_FW_TOOLS)('the doctor, on a device with U-Boot', () => {
  it('finds nothing missing on a board as it should be', async () => {
    const rows = await boardRows();
    expect(rows.filter(({ state }) => state !== 'ok')).toEqual([]);
    expect(rows.map(({ check }) => check)).toEqual([
      'boot-flags',
      'slot-b-rootfs',
      'boot-environment',
      'boot-canary',
      'boot-defaults',
      'boot-good-slot',
    ]);
  });

  const at = (name: string) => environment.path(name);
  const cases: [string, string, 'missing' | 'advice', () => Promise<unknown> | unknown][] = [
    ['no slot named by the boot script', 'boot-flags', 'missing', () => environment.commandLine('quiet')],
    ['a slot that runs and is not in the order', 'boot-flags', 'missing', () => environment.set({ BOOT_ORDER: 'b' })],
    ['a slot that is not there', 'slot-b-rootfs', 'missing', () => rm(at('slot-b'))],
    ['a slot that is smaller than the other', 'slot-b-rootfs', 'missing', () => truncate(at('slot-b'), 4096)],
    [
      'a slot that is a folder',
      'slot-b-rootfs',
      'missing',
      async () => {
        await rm(at('slot-b'));
        await mkdir(at('slot-b'));
      },
    ],
    [
      'a slot that is the other one by another name',
      'slot-b-rootfs',
      'missing',
      async () => {
        await rm(at('slot-b'));
        await symlink(at('slot-a'), at('slot-b'));
      },
    ],
    ['one damaged copy', 'boot-environment', 'advice', () => environment.damage(1)],
    ['two damaged copies', 'boot-environment', 'missing', () => environment.damage(0, 1)],
    [
      'one copy only',
      'boot-environment',
      'missing',
      async () => {
        const [line] = (await readFile(environment.config, 'utf8')).split('\n');
        await writeFile(environment.config, `# one\n${line}\n`);
      },
    ],
    [
      'another canary at the bootloader',
      'boot-canary',
      'missing',
      () => environment.commandLine('holdfast.slot=a holdfast.canary=x'),
    ],
    ['no canary', 'boot-canary', 'missing', () => environment.set({ holdfast_canary: '' })],
    ['no defaults', 'boot-defaults', 'missing', () => rm(at('defaults'))],
    ['defaults without bootcmd', 'boot-defaults', 'missing', () => writeFile(at('defaults'), 'bootdelay=2\n')],
    ['no slot marked good', 'boot-good-slot', 'missing', () => rm(at('medium/holdfast.good'))],
    [
      'a slot marked good that is out of the order',
      'boot-good-slot',
      'missing',
      () => environment.set({ BOOT_ORDER: 'b' }),
    ],
  ];
  it.each(cases)('finds %s, with a cure', async (_, check, state, spoil) => {
    await spoil();
    const found = (await boardRows()).find((row) => row.check === check);
    // A board that cannot say what runs cannot be asked for its slots either.
    expect(found).toMatchObject({ check, state });
    expect(found?.cure).not.toBe('');
  });

  it('looks, and writes nothing', async () => {
    const before = environment.fingerprint();
    await boardRows();
    expect(environment.fingerprint()).toBe(before);
  });

  it('tells of the machine: data, root, identity, server', async () => {
    const { config } = await parts();
    const rows = new Map((await checkMachine(config, nodeDisk, '/nonexistent')).map((row) => [row.check, row.state]));
    expect(Object.fromEntries(rows)).toEqual({
      node: 'ok',
      'data-directory': 'ok',
      'free-space': 'ok',
      clock: 'ok',
      watchdog: 'advice',
      systemd: 'ok',
      link: 'ok',
      'trusted-root': 'ok',
      identity: 'missing',
      server: 'missing',
    });
  });

  it('ends with 4 when something is missing, and says everything as JSON', async () => {
    const program = join(import.meta.dirname, '../../../../agent/setup-main.ts');
    const run = () =>
      execFileSync(process.execPath, [program, 'doctor', '--config', configPath, '--json'], { encoding: 'utf8' });
    expect(run).toThrow(expect.objectContaining({ status: 4 }));
    const text = (() => {
      try {
        return run();
      } catch (error) {
        return String((error as { stdout: string }).stdout);
      }
    })();
    expect(JSON.parse(text)).toMatchObject({ ok: false, board: 'u-boot' });
    expect(doctorCommand).toBeTypeOf('function');
  });
});

describe.skipIf(!HAS_FW_TOOLS)('the self-test of a board', () => {
  it('takes the flags through an update without one, and keeps a report', async () => {
    const { config, board } = await parts();
    const [row] = await selfTest(config, board, nodeDisk, []);
    expect(row).toMatchObject({ check: 'self-test', state: 'ok' });
    const report = JSON.parse(await readFile(environment.path('data/self-test.json'), 'utf8'));
    expect(report).toMatchObject({ format: 'holdfast-self-test-1', board: 'u-boot', booted: { slot: 'a' } });
    expect(report.steps.map(({ step }: { step: string }) => step)).toEqual(['retire', 'arm', 'disarm', 'disarm again']);
    expect(report.steps[1].flags.trial).toEqual({ slot: 'b', attemptsLeft: 3 });
    expect(await board.bootFlags()).toEqual({ order: ['a'], trial: null });
  });

  it('sets a canary where there is none, which the next boot proves', async () => {
    environment.set({ holdfast_canary: '' });
    const { config, board } = await parts();
    const [row] = await selfTest(config, board, nodeDisk, []);
    expect(row).toMatchObject({ check: 'self-test', state: 'missing' });
    const { here } = await board.canaries();
    expect(here).not.toBe('');
    environment.commandLine(`holdfast.slot=a holdfast.canary=${here}`);
    expect(await selfTest(config, board, nodeDisk, [])).toMatchObject([{ state: 'ok' }]);
  });

  it('refuses while an update is under way, and touches nothing', async () => {
    const { config, board } = await parts();
    const refusal = { code: 'self-test-not-now', exitStatus: 4 };
    environment.set({ BOOT_B_LEFT: '2' });
    const before = environment.fingerprint();
    await expect(selfTest(config, board, nodeDisk, [])).rejects.toMatchObject(refusal);
    expect(environment.fingerprint()).toBe(before);
    environment.set({ BOOT_B_LEFT: '' });
    await journalRecord(nodeDisk, config.dataDirectory).write({ ...FIRST_JOURNAL, state: 'downloading' });
    await expect(selfTest(config, board, nodeDisk, [])).rejects.toMatchObject(refusal);
  });
});

describe('the oldest Node that will do', () => {
  it.each([
    ['22.14.0', 'missing'],
    ['20.19.5', 'missing'],
    ['22.15.0', 'ok'],
    ['24.0.0', 'ok'],
  ])('%s: %s', (version, state) => {
    expect(checkNode(version)).toMatchObject({ state });
  });
});
