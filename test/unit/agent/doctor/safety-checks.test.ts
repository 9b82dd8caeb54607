import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../../../agent/config.ts';
import { checkSafety } from '../../../../agent/doctor/safety-checks.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { ProgramsOnPath, SYSTEMCTL } from '../programs-on-path.ts';

let directory: string;
let programs: ProgramsOnPath;

const CONFIG = {
  format: 'holdfast-agent-1',
  vendor: 'acme.example',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  environment: 'rehearsal',
  board: { kind: 'none' },
  dataDirectory: 'data',
  factoryRoot: 'root.json',
  factoryInstalled: { sequence: 1, version: '1.0.0' },
  claimFile: 'claim.json',
  server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: 'ca.pem' },
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'doctor-'));
  programs = await ProgramsOnPath.make();
  await programs.put('systemctl', SYSTEMCTL);
  await programs.put('busctl', 'echo "u 2"');
  await programs.say('state', 'running');
  await programs.say('failed', '');
  await programs.say('active', '');
});
afterEach(async () => {
  await programs.remove();
  await rm(directory, { recursive: true });
});

async function rows(changes: object = {}) {
  const path = join(directory, 'agent.json');
  await writeFile(path, JSON.stringify({ ...CONFIG, ...changes }));
  const config = await readConfig(nodeDisk, path);
  return checkSafety(config, join(directory, 'watchdog'), join(directory, 'sys'));
}

async function row(check: string, changes: object = {}) {
  const found = (await rows(changes)).find((each) => each.check === check);
  if (found?.state === 'ok') expect(found.cure).toBe('');
  else if (found !== undefined) expect(found.cure).not.toBe('');
  return found;
}

async function watchdog(facts: Record<string, string>): Promise<void> {
  const folder = join(directory, 'sys/class/watchdog/watchdog0');
  await mkdir(folder, { recursive: true });
  await writeFile(join(directory, 'watchdog'), '');
  for (const [name, text] of Object.entries(facts)) await writeFile(join(folder, name), `${text}\n`);
}

describe('the doctor, on the watchdog', () => {
  const device = () => ({ trial: { watchdogDevice: join(directory, 'watchdog') } });

  it('misses one, and says what follows; one that agent.json names must be there', async () => {
    expect(await row('watchdog')).toMatchObject({ state: 'advice', says: expect.stringContaining('cuts the power') });
    expect(await row('watchdog', device())).toMatchObject({ state: 'missing' });
  });

  it('finds one that nobody arms, and is content when systemd does, or the agent will', async () => {
    await watchdog({ timeout: '60', nowayout: '0', state: 'inactive' });
    expect(await row('watchdog')).toMatchObject({ state: 'advice', says: expect.stringContaining('nobody arms') });
    expect(await row('watchdog', device())).toMatchObject({ state: 'ok', says: expect.stringContaining('in trials') });
    await watchdog({ state: 'active' });
    expect(await row('watchdog')).toMatchObject({ state: 'ok', says: expect.stringContaining('60 s, armed') });
  });

  it('refuses to have trials held by one that could not be disarmed', async () => {
    await watchdog({ timeout: '60', nowayout: '1', state: 'inactive' });
    expect(await row('watchdog', device())).toMatchObject({ state: 'missing' });
  });
});

describe('the doctor, on systemd', () => {
  const units = { health: { builtin: { units: ['app.service', 'net.service'] } } };

  it('names failed units, and demanded ones that are not active', async () => {
    expect(await row('systemd')).toMatchObject({ state: 'ok' });
    await programs.say('failed', 'old.service loaded failed failed x\n');
    await programs.say('active', 'active\ninactive\n');
    expect(await row('systemd')).toMatchObject({ state: 'advice', says: 'failed: old.service' });
    expect(await row('units', units)).toMatchObject({ state: 'missing', says: 'net.service is not active' });
  });

  it('says that units are not looked at where it does not run, which is wrong only if some are demanded', async () => {
    await programs.say('state', 'offline');
    expect(await row('systemd')).toMatchObject({ state: 'ok', says: expect.stringContaining('not looked at') });
    expect(await row('systemd', units)).toMatchObject({ state: 'missing' });
    expect(await row('systemd', { health: { builtin: { systemd: false } } })).toBeUndefined();
  });
});

describe('the doctor, on hooks and link', () => {
  it('misses hooks that are not there', async () => {
    const hooks = { beforeReboot: 'before.d', inUse: { program: 'in-use' } };
    expect(await row('before-reboot', { hooks })).toMatchObject({ state: 'missing' });
    expect(await row('in-use', { hooks })).toMatchObject({ state: 'missing' });
    await mkdir(join(directory, 'before.d'));
    await writeFile(join(directory, 'in-use'), '#!/bin/sh\n', { mode: 0o755 });
    expect((await rows({ hooks })).map(({ check }) => check)).toEqual(['watchdog', 'systemd', 'link']);
  });

  it('says what is known of the link, and what it allows', async () => {
    expect(await row('link')).toMatchObject({ says: 'not metered' });
    await programs.put('busctl', 'echo "u 3"');
    expect(await row('link')).toMatchObject({ says: 'metered: images wait' });
    const budget = { network: { budget: { bytes: 50_000_000, per: 'month' } } };
    expect(await row('link', budget)).toMatchObject({ says: 'metered: 50000000 bytes a month for images' });
    await programs.put('busctl', 'exit 1');
    expect(await row('link')).toMatchObject({ says: 'not known to be metered' });
  });
});
