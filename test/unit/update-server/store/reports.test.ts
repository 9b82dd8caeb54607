import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Report } from '../../../../protocol/device-api.ts';
import { fingerprint, rotated } from '../statements.ts';
import {
  certificate,
  claim,
  type Device,
  enrolFleet,
  type Lab,
  openLab,
  pollAll,
  publish,
  release,
  start,
  view,
} from './fixture.ts';

let lab: Lab;
let fleet: Map<string, Device>;
beforeEach(async () => {
  lab = openLab();
  fleet = await enrolFleet(lab, 2);
});
afterEach(() => lab.close());

const notice = (reportSequence: number, detail = `notice ${reportSequence}`, bootId = 'boot-1'): Report => ({
  reportSequence,
  bootId,
  atUnixMs: null,
  event: { kind: 'notice', code: 'test', detail },
});
const send = async (...reports: Report[]): Promise<number> =>
  (await lab.store.acceptReports('cam-0001', reports, lab.nowUnixMs)).acknowledged;
const history = async (): Promise<string[]> => {
  const found = await lab.store.findDevice('cam-0001', { nowUnixMs: lab.nowUnixMs, onlineWindowMs: 1 });
  return (found?.history ?? [])
    .filter((event) => event.kind !== 'enrolled')
    .map((event) => event.text)
    .reverse();
};

describe('reports', () => {
  it('are kept once, however often they come', async () => {
    expect(await send(notice(1), notice(2))).toBe(2);
    expect(await send(notice(1), notice(2), notice(3))).toBe(3);
    expect(await send(notice(2))).toBe(3);
    expect(await history()).toEqual(['test: notice 1', 'test: notice 2', 'test: notice 3']);
  });

  it('survive a restart of the server with their acknowledgement', async () => {
    await send(notice(1), notice(2));
    await lab.reopen();
    expect(await send(notice(2))).toBe(2);
    expect(await history()).toHaveLength(2);
  });

  it('that never arrived are noted, and do not hold the device up', async () => {
    await send(notice(1));
    expect(await send(notice(4), notice(5))).toBe(5);
    expect(await history()).toEqual([
      'test: notice 1',
      'reports 2 to 3 never arrived',
      'test: notice 4',
      'test: notice 5',
    ]);
  });

  it('count anew after a wiped data partition: an old number with another content is not taken for a repetition', async () => {
    await send(notice(1), notice(2), notice(3));
    expect(await send(notice(1, 'after the reset', 'boot-9'))).toBe(1);
    expect(await send(notice(1, 'after the reset', 'boot-9'), notice(2, 'more', 'boot-9'))).toBe(2);
    expect((await history()).slice(3)).toEqual(['test: after the reset', 'test: more']);
  });

  describe('of a device that has proven its credentials', () => {
    const flags = async () => {
      const { credentials } =
        (await lab.store.findDevice('cam-0001', { nowUnixMs: lab.nowUnixMs, onlineWindowMs: 1 })) ?? {};
      return credentials?.flags.map(({ code }) => code);
    };
    const device = (): Device => fleet.get('cam-0001') ?? expect.fail();
    beforeEach(async () => {
      await device().testify(rotated('cam-0001'));
      await send(notice(1, 'a', 'first'), notice(2, 'b', 'first'));
    });

    it('say nothing against it as long as its boots follow one another, also when answers get lost', async () => {
      await send(notice(2, 'b', 'first'), notice(3, 'c', 'second'));
      await send(notice(3, 'c', 'second'));
      await send(notice(3, 'c', 'second'), notice(4, 'd', 'second'), notice(5, 'e', 'third'));
      await send(notice(1, 'its queue was lost', 'fourth'), notice(2, 'goes on', 'fourth'));
      expect(await flags()).toEqual([]);
    });

    it('flag it when a number comes again that another report had, until a person has decided', async () => {
      await send(notice(3, 'of the original', 'second'));
      await send(notice(3, 'of the copy', 'third'));
      expect(await flags()).toEqual(['reports-went-back']);
      await device().testify(rotated('cam-0001', { epoch: 2 }));
      expect(await flags()).toEqual(['reports-went-back']);
      const hardwareId = fingerprint('board of', 'cam-0001');
      const approval = { deviceId: 'cam-0001', what: 'hardware', value: hardwareId, why: 'a backup' } as const;
      expect(await lab.store.approveDevice(approval, 'anna', lab.nowUnixMs)).toBe('approved');
      await device().testify(rotated('cam-0001', { epoch: 2 }));
      expect(await flags()).toEqual([]);
    });

    it('flag it when a boot speaks again after a later one, with one alarm however long that goes on', async () => {
      await send(notice(3, 'of the copy', 'second'));
      for (const at of [4, 6, 8]) {
        await send(notice(at, 'of the original', 'first'));
        await send(notice(at + 1, 'of the copy', 'second'));
      }
      expect(await flags()).toEqual(['two-boots-at-once']);
      const audit = await lab.store.listAudit({ limit: 20 });
      expect(audit.filter(({ action }) => action === 'credentials.alarm')).toHaveLength(1);
    });
  });

  it('count anew after the device enrolled with a new claim', async () => {
    await send(notice(1), notice(2));
    await lab.store.revokeDevice('cam-0001', 'tester', 'lost', lab.nowUnixMs);
    await claim(lab, ['cam-0001']);
    const fresh = certificate('cam-0001', 'f'.repeat(64));
    expect(
      (await lab.store.enrolDevice({ claimId: 'cam-0001', certificate: fresh, nowUnixMs: lab.nowUnixMs })).outcome,
    ).toBe('enrolled');
    expect(await send(notice(1))).toBe(1);
  });

  it('of one device say nothing about an action of another', async () => {
    await publish(lab, release(2));
    const id = await start(lab, 2, { waves: [{ percent: 100 }] });
    const [first, second] = await pollAll(fleet);
    const actionId = second?.actionId ?? null;
    // The right action of the wrong device, and then its own action with the wrong release.
    if (first !== undefined)
      await first.report({ kind: 'rolled-back', actionId, sequence: 9, reason: 'x', quarantined: true, detail: '' });
    await second?.report({ kind: 'confirmed', actionId, sequence: 9, slot: 'b', version: '9' });
    expect(await view(lab, id)).toMatchObject({ state: 'running', confirmed: 0, failed: 0 });
  });

  it('keep a rollback without quarantine open: the device tries again, and nothing halts', async () => {
    await publish(lab, release(2));
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    const reason = 'server-unreachable';
    await canary?.report({
      kind: 'rolled-back',
      actionId: canary.actionId,
      sequence: 2,
      reason,
      quarantined: false,
      detail: '',
    });
    expect(await view(lab, id)).toMatchObject({ state: 'running', failed: 0 });
    expect(await canary?.poll()).not.toBeNull();
    await canary?.confirm(2, '2.0.0');
    expect(await view(lab, id)).toMatchObject({ confirmed: 1 });
  });

  it('lost with their queue are made up for by an idle poll that names the release as installed', async () => {
    await publish(lab, release(2));
    const id = await start(lab, 2);
    const [canary] = await pollAll(fleet);
    if (canary === undefined) throw new Error('nobody was offered it');
    Object.assign(canary, { installed: { sequence: 2, version: '2.0.0' }, state: 'trial' });
    await canary.poll();
    expect(await view(lab, id)).toMatchObject({ confirmed: 0 });
    Object.assign(canary, { state: 'idle', actionId: null });
    await canary.poll();
    expect(await view(lab, id)).toMatchObject({ confirmed: 1 });
  });
});
