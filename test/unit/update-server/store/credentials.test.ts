/** The fleet gate over the store: who is offered what, as it stands with its credentials. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { USUAL_POLICY } from '../../../../update-server/core/credential-standing.ts';
import { fingerprint, rotated } from '../statements.ts';
import {
  type Device,
  enrolFleet,
  type Lab,
  MINUTE_MS,
  openLab,
  publish,
  reasonOf,
  release,
  start,
  view,
} from './fixture.ts';

let lab: Lab;
let device: Device;

async function open(gate: 'off' | 'report' | 'enforce'): Promise<void> {
  lab = openLab({ ...USUAL_POLICY, gate });
  const fleet = await enrolFleet(lab, 1);
  device = fleet.get('cam-0001') ?? expect.fail();
  await publish(lab, release(2));
}
const standing = async () =>
  (await lab.store.findDevice('cam-0001', { nowUnixMs: lab.nowUnixMs, onlineWindowMs: MINUTE_MS }))?.device.credentials;

afterEach(() => lab.close());

describe('under enforce a device that has proven nothing', () => {
  beforeEach(() => open('enforce'));

  it('is not offered an update, and is once it proves rotation', async () => {
    await start(lab, 2);
    expect(await device.poll()).toBeNull();
    await device.testify(rotated('cam-0001'));
    expect(await device.poll()).toMatchObject({ sequence: 2 });
    expect(await standing()).toBe('proven');
  });

  it.each(['repair', 'security'] as const)(
    'is offered a rollout of purpose %s, which says so wherever it is shown',
    async (purpose) => {
      const rolloutId = await start(lab, 2, { purpose });
      expect(await device.poll()).toMatchObject({ sequence: 2 });
      expect(await view(lab, rolloutId)).toMatchObject({ purpose });
      const started = (await lab.store.listAudit({ limit: 9 })).find(({ action }) => action === 'rollout.start');
      expect(started?.detail).toContain(`(${purpose})`);
    },
  );

  it('is called off when it loses its proof before it has armed', async () => {
    await device.testify(rotated('cam-0001'));
    await start(lab, 2);
    expect(await device.accept()).toMatchObject({ sequence: 2 });
    device.firstBoot = { state: 'blocked', epoch: 2 };
    expect(await device.poll()).toBeNull();
  });
});

describe('under report', () => {
  beforeEach(() => open('report'));

  it('a device that has proven nothing is offered everything, and shown as one with factory secrets', async () => {
    await start(lab, 2);
    expect(await device.poll()).toMatchObject({ sequence: 2 });
    expect(await standing()).toBe('factory');
  });

  it('a card on another board gets nothing until a person approved just that board', async () => {
    await start(lab, 2);
    await device.testify(rotated('cam-0001'));
    const hardwareId = fingerprint('the other board');
    await device.testify(rotated('cam-0001', { hardwareId }));
    expect(await device.poll()).toBeNull();
    expect(await lab.store.serviceOf('cam-0001')).toBe('none');
    const approve = (board: string) =>
      lab.store.approveDevice(
        { deviceId: 'cam-0001', what: 'hardware', value: board, why: 'moved' },
        'anna',
        lab.nowUnixMs,
      );
    expect(await approve(fingerprint('a third one'))).toBe('says-otherwise');
    expect(await approve(hardwareId)).toBe('approved');
    expect(await approve(hardwareId)).toBe('nothing-to-approve');
    expect(await device.poll()).toMatchObject({ sequence: 2 });
    const again = await device.testify(
      rotated('cam-0001', { hardwareId, movedFrom: fingerprint('board of', 'cam-0001') }),
    );
    expect(again).toMatchObject({ outcome: 'judged', verdict: 'proven' });
    expect((await lab.store.listAudit({ limit: 5 }))[0]).toMatchObject({ action: 'device.approve', actor: 'anna' });
  });

  it('a card and its copy that take turns stay on hold, and fill the audit with one alarm for each board', async () => {
    await device.testify(rotated('cam-0001'));
    const copy = rotated('cam-0001', { hardwareId: fingerprint('the copy') });
    for (const _turn of [1, 2, 3]) {
      await device.testify(copy);
      await device.testify(copy);
      expect(await lab.store.serviceOf('cam-0001')).toBe('none');
      await device.testify(rotated('cam-0001'));
      expect(await lab.store.serviceOf('cam-0001')).toBe('none');
    }
    await lab.store.approveDevice(
      { deviceId: 'cam-0001', what: 'hardware', value: fingerprint('board of', 'cam-0001'), why: 'the original' },
      'anna',
      lab.nowUnixMs,
    );
    expect(await lab.store.serviceOf('cam-0001')).toBe('all');
    expect(await device.testify(copy)).toMatchObject({ flags: [{ code: 'hardware-moved' }] });
  });

  it('an epoch that goes back again and again is one alarm', async () => {
    await device.testify(rotated('cam-0001', { epoch: 3 }));
    for (const _again of [1, 2, 3]) await device.testify(rotated('cam-0001', { epoch: 2 }));
    const alarms = (await lab.store.listAudit({ limit: 20 })).filter(({ action }) => action === 'credentials.alarm');
    expect(alarms).toHaveLength(1);
  });

  it('a board that was flashed anew goes on under its id, with new epochs, after a new claim', async () => {
    await device.testify(rotated('cam-0001', { epoch: 7 }));
    await lab.store.revokeDevice('cam-0001', 'anna', 'flashed anew', lab.nowUnixMs);
    const { claim, certificate } = await import('./fixture.ts');
    await claim(lab, ['cam-0001']);
    const key = 'f'.repeat(64);
    await lab.store.enrolDevice({
      claimId: 'cam-0001',
      certificate: certificate('cam-0001', key),
      nowUnixMs: lab.nowUnixMs,
    });
    expect(await standing()).toBe('factory');
    expect(await device.testify(rotated('cam-0001', { epoch: 1 }))).toMatchObject({ verdict: 'proven', flags: [] });
    expect((await reasonOf(lab, 'cam-0001')).reason).toBe('no-rollout');
  });
});

it('with the gate off nothing is shown, and nothing withheld from a card on another board', async () => {
  await open('off');
  await start(lab, 2);
  await device.testify(rotated('cam-0001'));
  await device.testify(rotated('cam-0001', { hardwareId: fingerprint('the other board') }));
  expect(await device.poll()).toMatchObject({ sequence: 2 });
  expect(await standing()).toBeNull();
});
