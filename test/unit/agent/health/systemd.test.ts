import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkSystemd, systemdBaseline } from '../../../../agent/health/systemd.ts';
import { ProgramsOnPath, SYSTEMCTL } from '../programs-on-path.ts';

let programs: ProgramsOnPath;
const OLD = 'old.service  loaded failed failed An old wound\n';
const NEW = 'camera.service loaded failed failed The camera\n';

beforeEach(async () => {
  programs = await ProgramsOnPath.make();
  await programs.put('systemctl', SYSTEMCTL);
  await programs.say('state', 'running');
  await programs.say('failed', '');
  await programs.say('active', '');
});
afterEach(() => programs.remove());

const settings = (more: { units?: string[]; startDeadlineMs?: number; settleMs?: number } = {}) => ({
  units: [],
  startDeadlineMs: 60_000,
  settleMs: 20,
  ...more,
});

describe('systemd, in a trial', () => {
  it('passes what had failed before the update, and fails by name what had not', async () => {
    await programs.say('state', 'degraded');
    await programs.say('failed', OLD);
    const baseline = await systemdBaseline();
    expect(baseline).toEqual({ failedUnits: ['old.service'] });
    expect(await checkSystemd(settings(), baseline)).toBeUndefined();
    await programs.say('failed', `${OLD}${NEW}net.service loaded failed failed x\n`);
    expect(await checkSystemd(settings(), baseline)).toMatchObject({
      name: 'unit camera.service',
      detail: 'failed, and had not before the update; net.service',
    });
  });

  it('blames no failed unit when nobody noted how it was before', async () => {
    await programs.say('failed', NEW);
    expect(await checkSystemd(settings(), undefined)).toBeUndefined();
  });

  it('gives a unit that is starting until the deadline, and then fails it', async () => {
    await programs.say('active', 'active\nactivating\n');
    const units = ['a.service', 'b.service'];
    const late = await checkSystemd(settings({ units, startDeadlineMs: 300 }), undefined);
    expect(late).toMatchObject({ name: 'unit b.service', detail: 'is activating' });
    const inTime = checkSystemd(settings({ units }), undefined);
    await pause(200);
    await programs.say('active', 'active\nactive\n');
    expect(await inTime).toBeUndefined();
  });

  it.each(['failed', 'inactive', 'unknown'])('fails a named unit that is %s at once', async (state) => {
    await programs.say('active', `${state}\n`);
    const found = await checkSystemd(settings({ units: ['app.service'] }), undefined);
    expect(found).toMatchObject({ name: 'unit app.service', detail: `is ${state}` });
  });

  it('does not take a unit for good that falls over while it settles', async () => {
    await programs.say('active', 'active\n');
    const check = checkSystemd(settings({ units: ['app.service'], settleMs: 60_000, startDeadlineMs: 0 }), undefined);
    await pause(200);
    await programs.say('active', 'failed\n');
    expect(await check).toMatchObject({ name: 'unit app.service' });
  });

  it('waits for a machine that is starting, and blames the release for nothing but a unit', async () => {
    await programs.say('state', 'starting');
    await programs.say('active', 'inactive\n');
    const units = { units: ['app.service'], startDeadlineMs: 300 };
    expect(await checkSystemd(settings(units), undefined)).toMatchObject({ detail: 'is inactive' });
    expect(await checkSystemd(settings({ startDeadlineMs: 300 }), undefined)).toBeUndefined();
  });

  it('passes where systemd does not run the machine, unless units are named', async () => {
    await programs.say('state', 'offline');
    await programs.say('failed', NEW);
    expect(await systemdBaseline()).toBeUndefined();
    expect(await checkSystemd(settings(), { failedUnits: [] })).toBeUndefined();
    const named = settings({ units: ['app.service'], startDeadlineMs: 0 });
    expect(await checkSystemd(named, undefined)).toMatchObject({ name: 'unit app.service' });
  });

  it('ends a systemctl that prints without end, and fails the trial that needs its answer', async () => {
    await writeFile(join(programs.directory, 'failed'), 'x.service loaded failed failed x\n'.repeat(4000));
    const found = await checkSystemd(settings({ startDeadlineMs: 0 }), { failedUnits: [] });
    expect(found).toMatchObject({ name: 'systemd', detail: 'systemctl gives no answer' });
  });
});
