import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FACTORY_RECORD, firstBootRecord } from '../../../../agent/first-boot/first-boot-record.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { runProgram } from '../../../../scripts/programs.ts';

const ROOT = join(import.meta.dirname, '../../../..');
let device: string;
let config: string;

beforeEach(async () => {
  device = await mkdtemp(join(tmpdir(), 'first-boot-'));
  await mkdir(join(device, 'data'));
  config = join(device, 'agent.json');
  await configure({});
});
afterEach(() => rm(device, { recursive: true }));

async function configure(firstBoot: unknown): Promise<void> {
  const content = {
    format: 'holdfast-agent-1',
    deviceId: 'cam-0001',
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    board: { kind: 'none' },
    dataDirectory: 'data',
    factoryRoot: 'root.json',
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    claimFile: 'claim.json',
    server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: 'server-ca.pem' },
    ...(firstBoot === undefined ? {} : { firstBoot }),
  };
  await writeFile(config, JSON.stringify(content));
}

const command = (...words: string[]) =>
  runProgram(process.execPath, [join(ROOT, 'agent/first-boot-main.ts'), 'firstboot', ...words]);

/**
 * Only what ends before anything is applied: the command's providers change the machine that it runs on. What it does is
 * tested on the simulated disk (first-boot.test.ts), and in a root of its own.
 */
describe('holdfast-agent firstboot', () => {
  it('ends with 3, the field and a cure where agent.json says nothing of a first boot', async () => {
    await configure(undefined);
    const { status, stdout, stderr } = await command('--config', config, '--json');
    expect(status).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, code: 'first-boot-not-configured' });
    expect(stderr).toContain('field firstBoot');
    expect(await readdir(join(device, 'data'))).toEqual([]);
  });

  it.each([
    ['firstBoot.hardware.0.source', { hardware: [{ source: 'mac', path: '/sys' }] }],
    ['firstBoot.providers.machineId', { providers: { machineId: 'yes' } }],
    ['firstBoot.passwords', { passwords: [] }],
    ['firstBoot.applicationData.1', { applicationData: ['app', 'data/app'] }],
    ['firstBoot.applicationData.0', { applicationData: ['.'] }],
  ])('ends with 3 and names the field %s', async (field, firstBoot) => {
    await configure(firstBoot);
    const { status, stderr } = await command('--config', config);
    expect(status).toBe(3);
    expect(stderr).toContain(`field ${field}`);
  });

  it('says state, epoch and trouble, and changes nothing, unless it is told that this is the boot', async () => {
    const fresh = await command('--config', config);
    expect(fresh).toMatchObject({ status: 0 });
    expect(fresh.stdout).toContain('factory · epoch 0 · record absent');
    expect(await readdir(join(device, 'data'))).toEqual([]);

    await mkdir(join(device, 'data/first-boot'));
    const trouble = { provider: 'ssh', code: 'old-accepted', detail: 'pi' };
    const record = { ...FACTORY_RECORD, state: 'blocked', resume: 'applied', epoch: 3, trouble } as const;
    await firstBootRecord(nodeDisk, join(device, 'data/first-boot')).write(record);
    const { status, stdout } = await command('--config', config, '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, state: 'blocked', epoch: 3, trouble });
    expect((await command('--config', config)).stdout).toContain('ssh: pi [old-accepted]');
  });

  it('asks the next boot for new secrets with --rotate, and does nothing else', async () => {
    expect(await command('--rotate', '--config', config)).toMatchObject({ status: 0 });
    expect(await readdir(join(device, 'data/first-boot'))).toEqual(['request']);
  });

  it('ends with 2 for words that it does not know, and 0 for --help', async () => {
    expect(await command('--config', config, '--open')).toMatchObject({ status: 2 });
    expect(await command()).toMatchObject({ status: 2 });
    expect(await command('--rotate', '--boot', '--config', config)).toMatchObject({ status: 2 });
    expect(await command('--help')).toMatchObject({ status: 0 });
  });
});
