/** Rotations of credentials over the store: waves, deadlines, halts, and devices that were away. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RotationRequest } from '../../../../protocol/operator-api.ts';
import { hostKey, rotated } from '../statements.ts';
import {
  certificate,
  claim,
  type Device,
  enrolFleet,
  type Lab,
  MINUTE_MS,
  openLab,
  publish,
  reasonOf,
  release,
  start,
} from './fixture.ts';

let lab: Lab;
let fleet: Map<string, Device>;

beforeEach(async () => {
  lab = openLab();
  fleet = await enrolFleet(lab, 4);
  for (const device of fleet.values()) {
    await device.testify(rotated(device.id));
    await device.poll();
  }
});
afterEach(() => lab.close());

const HOUR_MS = 60 * MINUTE_MS;
const all: RotationRequest = {
  waves: [{ devices: 1 }, { percent: 100 }],
  maxFailedPercent: 20,
  minSample: 1,
  timeoutMs: HOUR_MS,
  why: 'yearly',
};

async function rotate(more: Partial<RotationRequest> = {}): Promise<string> {
  const outcome = await lab.store.startRotation({ ...all, ...more }, 'tester', lab.nowUnixMs);
  if (outcome.outcome !== 'started') throw new Error(outcome.outcome);
  return outcome.rotationId;
}
const find = async (rotationId: string) =>
  (await lab.store.findRotation(rotationId, lab.nowUnixMs)) ?? expect.fail('no such rotation');
const partOf = async (rotationId: string, deviceId: string) =>
  (await find(rotationId)).parts.find((part) => part.deviceId === deviceId);
const later = async (ms: number): Promise<void> => {
  lab.nowUnixMs += ms;
  await lab.store.advanceRollouts(lab.nowUnixMs);
};
/** Polls all; those that are asked. */
async function asked(): Promise<Device[]> {
  const found: Device[] = [];
  for (const device of fleet.values()) {
    if ((await device.ask()).requests.includes('rotate-credentials')) found.push(device);
  }
  return found;
}
const deviceOf = (id: string): Device => fleet.get(id) ?? expect.fail(`no ${id}`);

/** Asked, and then without a way on: its rotation halts. */
async function isBlocked(device: Device): Promise<void> {
  await device.ask();
  device.firstBoot = { state: 'blocked', epoch: 2 };
  await device.ask();
}

/** Its board comes back with a new key, and counts its epochs from one. */
async function flashAnew(device: Device): Promise<void> {
  await lab.store.revokeDevice(device.id, 'anna', 'flashed anew', lab.nowUnixMs);
  await claim(lab, [device.id]);
  const anew = certificate(device.id, 'f'.repeat(64));
  await lab.store.enrolDevice({ claimId: device.id, certificate: anew, nowUnixMs: lab.nowUnixMs });
  device.firstBoot = { state: 'enrolled', epoch: 1 };
}

describe('a rotation', () => {
  it('is done by the first proof of a board that was flashed anew, whatever epoch it had reached before', async () => {
    const device = deviceOf('cam-0001');
    await device.testify(rotated(device.id, { epoch: 7 }));
    const id = await rotate({ waves: [{ percent: 100 }] });
    await asked();
    await flashAnew(device);
    expect((await device.ask()).requests).not.toContain('rotate-credentials');
    await device.testify(rotated(device.id, { epoch: 1 }));
    expect(await partOf(id, device.id)).toMatchObject({ state: 'rotated' });
    expect((await device.ask()).requests).not.toContain('rotate-credentials');
  });

  it.each(['pause', 'halt'])('takes the first proof of a board that was flashed anew during a %s', async (stop) => {
    const device = deviceOf('cam-0001');
    const id = await rotate({ waves: [{ percent: 100 }] });
    if (stop === 'halt') await isBlocked(deviceOf('cam-0002'));
    else await lab.store.commandRotation(id, 'pause', 'tester', lab.nowUnixMs);
    expect((await find(id)).rotation.state).toBe(stop === 'halt' ? 'halted' : 'paused');
    expect(await partOf(id, device.id)).toMatchObject({ state: 'waiting' });
    await flashAnew(device);
    expect((await device.ask()).requests).not.toContain('rotate-credentials');
    await device.testify(rotated(device.id, { epoch: 1 }));
    expect(await partOf(id, device.id)).toMatchObject({ state: 'rotated', detail: 'epoch 1 after 0' });
  });

  it('that was halted by one device takes the proof of another that was at it, and does not ask it again', async () => {
    const id = await rotate({ waves: [{ percent: 100 }] });
    const device = deviceOf('cam-0001');
    expect((await device.ask()).requests).toContain('rotate-credentials');
    await isBlocked(deviceOf('cam-0002'));
    await device.testify(rotated(device.id, { epoch: 2 }));
    expect((await find(id)).rotation.state).toBe('halted');
    await lab.store.commandRotation(id, 'resume', 'tester', lab.nowUnixMs);
    expect(await asked()).not.toContain(device);
    await later(2 * HOUR_MS);
    expect(await partOf(id, device.id)).toMatchObject({ state: 'rotated' });
  });

  it('asks the first wave, and the next once a later epoch was proven', async () => {
    const id = await rotate();
    const [first, ...others] = await asked();
    expect(others).toEqual([]);
    if (first === undefined) throw new Error('nobody was asked');
    expect(await partOf(id, first.id)).toMatchObject({ state: 'asked', wave: 0 });
    await first.testify(rotated(first.id, { epoch: 2 }));
    expect(await partOf(id, first.id)).toMatchObject({ state: 'rotated', detail: 'epoch 2 after 1' });
    const rest = await asked();
    expect(rest.map((device) => device.id)).toEqual([...fleet.keys()].filter((name) => name !== first.id));
    for (const device of rest) await device.testify(rotated(device.id, { epoch: 2 }));
    expect((await find(id)).rotation).toMatchObject({ state: 'complete', rotated: 4, failed: 0, devices: 4 });
  });

  it('goes on asking until a later epoch is heard of, and then for the statement only', async () => {
    await rotate({ deviceIds: ['cam-0001'], waves: [{ devices: 1 }] });
    const device = deviceOf('cam-0001');
    expect((await device.ask()).requests).toEqual(['rotate-credentials']);
    expect((await device.ask()).requests).toEqual(['rotate-credentials']);
    device.firstBoot = { state: 'applied', epoch: 2 };
    expect((await device.ask()).requests).toEqual(['report-credentials']);
  });

  it('is not satisfied by the epoch that it started from', async () => {
    const id = await rotate({ deviceIds: ['cam-0001'], waves: [{ devices: 1 }] });
    await deviceOf('cam-0001').ask();
    await deviceOf('cam-0001').testify(rotated('cam-0001'));
    expect(await partOf(id, 'cam-0001')).toMatchObject({ state: 'asked' });
  });

  it.each([
    [
      'is blocked',
      async (device: Device) => {
        device.firstBoot = { state: 'blocked', epoch: 2 };
        await device.ask();
      },
      /blocked in epoch 2/,
    ],
    [
      'states a copied key',
      async (device: Device) => {
        const other = [...fleet.keys()].find((id) => id !== device.id) ?? '';
        await device.testify(rotated(device.id, { epoch: 2, credentials: [hostKey(other, 1)] }));
      },
      /fingerprint-shared/,
    ],
    ['says nothing in time', async () => later(HOUR_MS), /no later epoch in time/],
  ] as const)('halts when its first device %s, and a person can resume it', async (_what, fail, detail) => {
    const id = await rotate();
    const [first] = await asked();
    if (first === undefined) throw new Error('nobody was asked');
    await fail(first);
    expect(await partOf(id, first.id)).toMatchObject({ state: 'failed', detail: expect.stringMatching(detail) });
    expect((await find(id)).rotation).toMatchObject({ state: 'halted', failed: 1 });
    expect(await asked()).toEqual([]);
    const resumed = await lab.store.commandRotation(id, 'resume', 'tester', lab.nowUnixMs);
    expect(resumed.outcome).toBe('done');
    expect((await asked()).length).toBeGreaterThan(0);
    const actions = (await lab.store.listAudit({ limit: 20 })).map(({ action }) => action);
    expect(actions).toEqual(expect.arrayContaining(['rotation.start', 'rotation.halt', 'rotation.resume']));
  });

  it('asks a device that was away when it comes back, before it is offered an update, but not before a repair', async () => {
    const id = await rotate({ waves: [{ percent: 100 }] });
    for (const device of await asked()) {
      if (device.id !== 'cam-0004') await device.testify(rotated(device.id, { epoch: 2 }));
    }
    await lab.store.commandRotation(id, 'cancel', 'tester', lab.nowUnixMs);
    const second = await rotate({ deviceIds: ['cam-0004'], waves: [{ devices: 1 }] });
    await later(2 * HOUR_MS);
    expect((await find(second)).rotation.state).toBe('complete');
    await publish(lab, release(2), release(3));
    await start(lab, 2, { deviceIds: ['cam-0004'], waves: [{ devices: 1 }] });
    const device = deviceOf('cam-0004');
    const answer = await device.ask();
    expect([answer.action, answer.requests]).toEqual([null, ['rotate-credentials']]);
    expect((await reasonOf(lab, 'cam-0004')).reason).toBe('rotation-owed');
    await start(lab, 3, { deviceIds: ['cam-0004'], waves: [{ devices: 1 }], purpose: 'repair' });
    expect((await device.ask()).action).toMatchObject({ sequence: 3 });
    await device.testify(rotated('cam-0004', { epoch: 2 }));
    expect((await device.ask()).action).not.toBeNull();
    expect(await partOf(second, 'cam-0004')).toMatchObject({ state: 'rotated' });
  });

  it('does not call off what a device works on', async () => {
    await publish(lab, release(2));
    await start(lab, 2, { waves: [{ percent: 100 }] });
    const device = deviceOf('cam-0001');
    expect(await device.accept()).toMatchObject({ sequence: 2 });
    await rotate({ deviceIds: ['cam-0001'], waves: [{ devices: 1 }] });
    const answer = await device.ask();
    expect([answer.action?.sequence, answer.requests]).toEqual([2, ['rotate-credentials']]);
  });

  it('lets another device take the place of one that is out of reach', async () => {
    const id = await rotate();
    const order = (await find(id)).parts.map(({ deviceId }) => deviceId);
    await later(HOUR_MS);
    expect((await partOf(id, order[1] ?? ''))?.wave).toBe(0);
  });

  it('leaves out agents without a first boot, and says so when nobody is left', async () => {
    const old = deviceOf('cam-0003');
    old.protocol = 2;
    old.firstBoot = undefined;
    await old.poll();
    expect((await find(await rotate())).rotation.devices).toBe(3);
    const alone = await lab.store.startRotation({ ...all, deviceIds: ['cam-0003'] }, 'tester', lab.nowUnixMs);
    expect(alone.outcome).toBe('no-devices');
    const unknown = await lab.store.startRotation({ ...all, deviceIds: ['cam-9'] }, 'tester', lab.nowUnixMs);
    expect(unknown).toEqual({ outcome: 'devices-unknown', deviceIds: ['cam-9'] });
    expect(await lab.store.startRotation({ ...all, hardwareClass: 'other' }, 'tester', lab.nowUnixMs)).toEqual({
      outcome: 'no-devices',
    });
  });

  it('that is paused lets those go on who were asked, and cancelled asks nobody', async () => {
    const id = await rotate();
    const [first] = await asked();
    await lab.store.commandRotation(id, 'pause', 'tester', lab.nowUnixMs);
    expect(await asked()).toEqual([first]);
    await lab.store.commandRotation(id, 'cancel', 'tester', lab.nowUnixMs);
    expect(await asked()).toEqual([]);
    expect((await lab.store.commandRotation(id, 'resume', 'tester', lab.nowUnixMs)).outcome).toBe('not-in-this-state');
    expect((await lab.store.listRotations(lab.nowUnixMs)).map(({ state }) => state)).toEqual(['cancelled']);
  });
});
