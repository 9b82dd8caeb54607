/** Devices that wait for a reason of their own: not failed, and nobody waits for them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Device,
  enrolFleet,
  type Lab,
  MINUTE_MS,
  openLab,
  pollAll,
  publish,
  release,
  start,
  view,
} from './fixture.ts';

let lab: Lab;
let fleet: Map<string, Device>;
let canary: Device;

beforeEach(async () => {
  lab = openLab();
  fleet = await enrolFleet(lab, 4);
  await publish(lab, release(2), release(3));
  await start(lab, 2);
  const [first] = await pollAll(fleet);
  if (first === undefined) throw new Error('nobody was offered it');
  canary = first;
});
afterEach(() => lab.close());

/** Polls once a minute, as an agent does, and says each time that it waits. */
async function waitFor(minutes: number): Promise<void> {
  for (let minute = 0; minute < minutes; minute += 1) {
    expect(await canary.accept()).toMatchObject({ sequence: 2 });
    lab.nowUnixMs += MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
  }
}

describe('a device that waits beyond the deadline of its action', () => {
  it('has not failed, keeps its offer, and gives its place to the next', async () => {
    Object.assign(canary, { state: 'armed', waiting: 'in-use' });
    await canary.report({ kind: 'state', state: 'armed', actionId: canary.actionId });
    await waitFor(30);
    expect(await view(lab, 'r1')).toMatchObject({ state: 'running', failed: 0 });
    const [next] = (await pollAll(fleet)).filter(({ id }) => id !== canary.id);
    expect(next).toBeDefined();
  });

  it('has a whole deadline once it gets on, and then counts like any other', async () => {
    Object.assign(canary, { state: 'armed', waiting: 'in-use' });
    await waitFor(30);
    canary.waiting = null;
    await canary.enter('armed');
    lab.nowUnixMs += 9 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await view(lab, 'r1')).toMatchObject({ failed: 0 });
    lab.nowUnixMs += 2 * MINUTE_MS;
    await lab.store.advanceRollouts(lab.nowUnixMs);
    expect(await view(lab, 'r1')).toMatchObject({ failed: 1 });
    await canary.confirm(2, '2.0.0');
    expect(await view(lab, 'r1')).toMatchObject({ failed: 0, confirmed: 1 });
  });

  it('is called off by a halt like any other', async () => {
    Object.assign(canary, { state: 'armed', waiting: 'in-use' });
    await waitFor(2);
    await lab.store.commandRollout('r1', 'cancel', 'tester', lab.nowUnixMs);
    expect(await canary.poll()).toBeNull();
  });
});
