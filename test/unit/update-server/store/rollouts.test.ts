import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  certificate,
  claim,
  Device,
  enrolFleet,
  type Lab,
  MINUTE_MS,
  openLab,
  order,
  pollAll,
  publish,
  reasonOf,
  release,
  start,
  view,
} from './fixture.ts';

let lab: Lab;
let fleet: Map<string, Device>;

beforeEach(async () => {
  lab = openLab();
  fleet = await enrolFleet(lab, 8);
  await publish(lab, release(2), release(3));
});
afterEach(() => lab.close());

async function confirmAll(devices: readonly Device[], sequence: number): Promise<void> {
  for (const device of devices) await device.confirm(sequence, `${sequence}.0.0`);
}

/** Enrols after the fleet, and has not polled yet. */
async function joins(id: string, board = 'emulated'): Promise<Device> {
  await claim(lab, [id]);
  await lab.store.enrolDevice({ claimId: id, certificate: certificate(id), nowUnixMs: lab.nowUnixMs });
  return Object.assign(new Device(lab, id), { board });
}

describe('a good release', () => {
  it('goes to 1 device, 25 %, then 100 %, each wave opened by confirmed boots of the one before', async () => {
    const id = await start(lab, 2);
    const sizes: number[] = [];
    for (let wave = 0; wave < 3; wave += 1) {
      const offered = await pollAll(fleet);
      sizes.push(offered.length);
      expect((await view(lab, id)).state).toBe('running');
      await confirmAll(offered, 2);
    }
    expect(sizes).toEqual([1, 1, 6]);
    expect(await view(lab, id)).toMatchObject({
      state: 'complete',
      confirmed: 8,
      failed: 0,
      neverStarted: 0,
      reason: '8 of 8 devices confirmed, 0 failed, 0 never started',
    });
    for (const name of fleet.keys()) expect((await reasonOf(lab, name)).reason).toBe('on-target');
  });

  it('does not open the next wave for devices that only installed, or booted on trial', async () => {
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    for (const state of ['checking', 'downloading', 'verifying', 'staged', 'armed', 'trial'] as const)
      await canary?.enter(state);
    await canary?.report({ kind: 'booted', slot: 'b', trial: true, sequence: 2, version: '2.0.0' });
    expect(await pollAll(fleet)).toEqual([canary]);
    expect((await view(lab, id)).confirmed).toBe(0);
  });

  it('keeps the cohort of a wave when the same device polls twice', async () => {
    await start(lab, 2);
    const first = await pollAll(fleet);
    const again = await pollAll(fleet);
    expect(again.map((device) => device.id)).toEqual(first.map((device) => device.id));
  });

  it('waits out the soak time after the last confirmed boot', async () => {
    const id = await start(lab, 2, { waves: [{ devices: 1, soakMs: 5 * MINUTE_MS }, { percent: 100 }] });
    await confirmAll(await pollAll(fleet), 2);
    expect((await view(lab, id)).reason).toContain('soaking until 2026-01-01T00:05:00.000Z');
    lab.nowUnixMs += 4 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await pollAll(fleet)).toEqual([]);
    lab.nowUnixMs += MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await pollAll(fleet)).toHaveLength(7);
  });
});

describe('a bad release', () => {
  it('halts at the canary, says why, and nobody else ever takes it', async () => {
    const id = await start(lab, 3);
    const [canary] = await pollAll(fleet);
    await canary?.rollBack(3);
    const halted = await view(lab, id);
    expect(halted).toMatchObject({ state: 'halted', confirmed: 0, failed: 1, neverStarted: 7 });
    expect(halted.reason).toBe(
      `1 of 1 device that attempted it failed in wave 1 (1 device) (100 %, more than the 20 % allowed): ${canary?.id} rolled back (health-check-failed: 10-app)`,
    );
    expect(halted.waves.map((wave) => wave.state)).toEqual(['halted', 'waiting', 'waiting']);
    lab.nowUnixMs += 1000 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await pollAll(fleet)).toEqual([]);
    expect((await reasonOf(lab, canary?.id ?? '')).reason).toBe('rolled-back');
    const others = [...fleet.keys()].filter((name) => name !== canary?.id);
    for (const name of others) expect((await reasonOf(lab, name)).reason).toBe('rollout-halted');
  });

  it('halts in the very transaction that takes the failure in, so that a kill right after changes nothing', async () => {
    const id = await start(lab, 3);
    const [canary] = await pollAll(fleet);
    await canary?.rollBack(3);
    await lab.reopen();
    expect((await view(lab, id)).state).toBe('halted');
    expect(await pollAll(fleet)).toEqual([]);
  });

  it('does not hide failures of a wave behind the good devices of the waves before it', async () => {
    const id = await start(lab, 3, { waves: [{ devices: 5 }, { percent: 100 }], minSample: 2 });
    await confirmAll(await pollAll(fleet), 3);
    const second = await pollAll(fleet);
    expect(second).toHaveLength(3);
    await second[0]?.enter('downloading');
    await second[1]?.enter('downloading');
    await second[0]?.rollBack(3);
    expect((await view(lab, id)).reason).toContain('1 of 2 devices that attempted it failed in wave 2 (100 %)');
  });

  it('does not halt below the minimum sample while others may still attempt it', async () => {
    const id = await start(lab, 3, { waves: [{ devices: 4 }, { percent: 100 }], minSample: 3, maxFailedPercent: 40 });
    const first = await pollAll(fleet);
    await first[0]?.rollBack(3);
    expect((await view(lab, id)).state).toBe('running');
    await first[1]?.confirm(3, '3.0.0');
    expect((await view(lab, id)).state).toBe('running');
    await first[2]?.rollBack(3);
    expect((await view(lab, id)).state).toBe('halted');
  });

  it('goes on after a person resumed, without counting the failures that the person has seen', async () => {
    const id = await start(lab, 3);
    const [canary] = await pollAll(fleet);
    await canary?.rollBack(3);
    expect((await lab.store.commandRollout(id, 'resume', 'tester', lab.nowUnixMs)).outcome).toBe('done');
    const resumed = await view(lab, id);
    expect(resumed).toMatchObject({ state: 'running', failed: 1 });
    const second = await pollAll(fleet);
    expect(second).toHaveLength(1);
    await second[0]?.rollBack(3);
    expect((await view(lab, id)).state).toBe('halted');
  });

  it('halts a complete rollout when a late comer fails', async () => {
    const id = await start(lab, 3, { waves: [{ devices: 7 }, { percent: 100 }] });
    const late = [...fleet.values()];
    const first = await pollAll(fleet);
    await confirmAll(first, 3);
    lab.nowUnixMs += 11 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect((await view(lab, id)).state).toBe('complete');
    const straggler = late.find((device) => !first.includes(device));
    expect(await straggler?.accept()).not.toBeNull();
    await straggler?.rollBack(3);
    expect((await view(lab, id)).state).toBe('halted');
  });
});

describe('nothing is ever stuck', () => {
  it('gives the place of a device that never polls to the next one, so that the wave is still proven', async () => {
    const id = await start(lab, 2);
    const offline = (await pollAllBut(new Set())).at(0);
    // Start again with a rollout in which that very device is dead.
    await lab.store.commandRollout(id, 'cancel', 'tester', lab.nowUnixMs);
    const dead = new Set<string>();
    const second = await start(lab, 3);
    const canary = (await view(lab, second)).waves[0];
    expect(canary?.offered).toBe(0);
    expect(offline).toBeDefined();
    for (let round = 0; round < 2; round += 1) {
      lab.nowUnixMs += 10 * MINUTE_MS;
      await lab.store.advanceRollouts(lab.nowUnixMs);
    }
    const offered = await pollAllBut(dead);
    // Three hold or held the first place: two out of reach, and the one whose turn it is; all three are offered it now.
    expect(offered).toHaveLength(3);
    await offered[0]?.confirm(3, '3.0.0');
    await offered[1]?.confirm(3, '3.0.0');
    await offered[2]?.confirm(3, '3.0.0');
    expect((await view(lab, second)).waves[0]?.state).toBe('passed');
  });

  async function pollAllBut(dead: ReadonlySet<string>): Promise<Device[]> {
    const living = new Map([...fleet].filter(([name]) => !dead.has(name)));
    return pollAll(living);
  }

  it('completes a rollout whose devices are all switched off, and counts them as never started', async () => {
    const id = await start(lab, 2);
    for (let hour = 0; hour < 20; hour += 1) {
      lab.nowUnixMs += 10 * MINUTE_MS;
      await lab.store.advanceRollouts(lab.nowUnixMs);
    }
    expect(await view(lab, id)).toMatchObject({ state: 'complete', confirmed: 0, failed: 0, neverStarted: 8 });
    expect(await pollAll(fleet)).toHaveLength(8);
  });

  it('counts silence after the reboot as a failure once the deadline has passed', async () => {
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    for (const state of ['downloading', 'staged', 'armed'] as const) await canary?.enter(state);
    lab.nowUnixMs += 10 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect((await view(lab, id)).reason).toContain(`${canary?.id} was silent after its reboot`);
    expect((await reasonOf(lab, canary?.id ?? '')).reason).toBe('silent-after-reboot');
  });

  it('believes a confirmed boot that is reported after the deadline', async () => {
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    await canary?.enter('armed');
    lab.nowUnixMs += 10 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    await canary?.confirm(2, '2.0.0');
    expect(await view(lab, id)).toMatchObject({ state: 'halted', confirmed: 1, failed: 0 });
  });

  it('counts an offer that was taken and never heard of again as failed', async () => {
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    lab.nowUnixMs += 10 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await view(lab, id)).toMatchObject({ state: 'halted', failed: 1 });
    expect((await reasonOf(lab, canary?.id ?? '')).reason).toBe('deadline-passed');
  });

  it('gives the place of a revoked device to the next one at once, and does not count it as failed', async () => {
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    await canary?.enter('downloading');
    await lab.store.revokeDevice(canary?.id ?? '', 'tester', 'stolen', lab.nowUnixMs);
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await view(lab, id)).toMatchObject({ state: 'running', failed: 0 });
    const next = await pollAll(fleet);
    expect(next).toHaveLength(1);
    await next[0]?.confirm(2, '2.0.0');
    expect((await view(lab, id)).waves[0]?.state).toBe('passed');
  });

  it('counts no device without slots, whether it was heard of before the start, joins later, or says so only then', async () => {
    const known = fleet.get('cam-0001') ?? expect.fail('no such device');
    known.board = 'none';
    await known.poll();
    const id = await start(lab, 2, { waves: [{ percent: 100 }] });
    expect((await view(lab, id)).devices).toBe(7);
    const late = await joins('cam-0100', 'none');
    const changed = fleet.get('cam-0002') ?? expect.fail('no such device');
    changed.board = 'none';
    expect(await pollAll(new Map([...fleet, [late.id, late]]))).toHaveLength(6);
    for (const device of fleet.values()) if (device.board !== 'none') await device.confirm(2, '2.0.0');
    expect(await view(lab, id)).toMatchObject({ state: 'complete', devices: 7, confirmed: 6, failed: 0 });
    const alone = order(3, { deviceIds: ['cam-0001', 'cam-0002'] });
    expect(await lab.store.startRollout(alone, 'tester', lab.nowUnixMs)).toEqual({ outcome: 'no-devices' });
  });

  it('cancels at once, whatever devices are doing', async () => {
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    await canary?.enter('downloading');
    await lab.store.commandRollout(id, 'cancel', 'tester', lab.nowUnixMs);
    expect((await view(lab, id)).state).toBe('cancelled');
    expect(await canary?.poll()).toBeNull();
    expect(await lab.store.commandRollout(id, 'resume', 'tester', lab.nowUnixMs)).toMatchObject({
      outcome: 'not-in-this-state',
    });
  });
});

describe('what people command', () => {
  it('pauses new offers, and lets a device that is at work finish', async () => {
    const id = await start(lab, 2, { waves: [{ devices: 2 }, { percent: 100 }] });
    const [first] = [...fleet.values()].slice(0);
    const offered: Device[] = [];
    for (const device of fleet.values()) {
      if (offered.length === 0 && (await device.accept()) !== null) offered.push(device);
    }
    expect(first).toBeDefined();
    await lab.store.commandRollout(id, 'pause', 'tester', lab.nowUnixMs);
    expect(await pollAll(fleet)).toEqual(offered);
    await offered[0]?.confirm(2, '2.0.0');
    expect(await pollAll(fleet)).toEqual([]);
    await lab.store.commandRollout(id, 'resume', 'tester', lab.nowUnixMs);
    expect(await pollAll(fleet)).toHaveLength(1);
  });

  it('calls an offer off that a device has not rebooted for, when the rollout halts', async () => {
    const id = await start(lab, 3, { waves: [{ devices: 4 }, { percent: 100 }], minSample: 1 });
    const first = await pollAll(fleet);
    const [bad, downloading, trial] = first;
    await downloading?.enter('downloading');
    await trial?.enter('trial');
    await bad?.rollBack(3);
    // One of three that attempted it.
    expect((await view(lab, id)).state).toBe('halted');
    expect(await downloading?.poll()).toBeNull();
    if (downloading !== undefined) Object.assign(downloading, { state: 'idle', actionId: null });
    expect(await downloading?.poll()).toBeNull();
    await trial?.confirm(3, '3.0.0');
    expect(await view(lab, id)).toMatchObject({ confirmed: 1, failed: 1 });
    await lab.store.commandRollout(id, 'resume', 'tester', lab.nowUnixMs);
    expect((await downloading?.accept())?.deadlineUnixMs).toBe(lab.nowUnixMs + 10 * MINUTE_MS);
  });

  it('gives a device the newest release when two rollouts want it, and does not count the older one as failed', async () => {
    const older = await start(lab, 2, { waves: [{ percent: 100 }] });
    const offered = await pollAll(fleet);
    expect(offered).toHaveLength(8);
    await start(lab, 3, { waves: [{ percent: 100 }] });
    for (const device of fleet.values()) expect((await device.accept())?.sequence).toBe(3);
    expect(await view(lab, older)).toMatchObject({ failed: 0, state: 'complete' });
  });

  it('takes a device in that enrols after the start, in the last wave', async () => {
    const id = await start(lab, 2, { waves: [{ devices: 1 }, { percent: 100 }] });
    const late = await joins('cam-9999');
    expect(await late.poll()).toBeNull();
    expect(await view(lab, id)).toMatchObject({ devices: 9 });
    expect((await reasonOf(lab, 'cam-9999')).reason).toBe('waiting-for-wave');
    await confirmAll(await pollAll(fleet), 2);
    expect(await late.poll()).toMatchObject({ sequence: 2 });
  });

  it('refuses a release that is not published, unknown devices, and a fleet that has it already', async () => {
    const at = lab.nowUnixMs;
    expect((await lab.store.startRollout(order(9), 'tester', at)).outcome).toBe('release-unknown');
    const unknown = await lab.store.startRollout(order(2, { deviceIds: ['cam-0001', 'cam-7777'] }), 'tester', at);
    expect(unknown).toEqual({ outcome: 'devices-unknown', deviceIds: ['cam-7777'] });
    await publish(lab, release(1), release(2));
    expect((await lab.store.startRollout(order(1), 'tester', at)).outcome).toBe('no-devices');
  });

  it('does not offer a release any more that the signed targets no longer list', async () => {
    await start(lab, 2);
    await publish(lab, release(3));
    expect(await pollAll(fleet)).toEqual([]);
  });
});
