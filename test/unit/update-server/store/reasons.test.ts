/** Every code of the closed list, reached the way a fleet reaches it: over the store, from polls and reports. */
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { REASON_CODES, REASONS, type Reason } from '../../../../protocol/reasons.ts';
import { USUAL_POLICY } from '../../../../update-server/core/credential-standing.ts';
import { rotated } from '../statements.ts';
import {
  claim,
  type Device,
  enrolFleet,
  type Lab,
  MINUTE_MS,
  openLab,
  pollAll,
  publish,
  reasonOf,
  release,
  START_UNIX_MS,
  start,
} from './fixture.ts';

let lab: Lab;
let fleet: Map<string, Device>;
const reached = new Set<Reason>();

beforeEach(async () => {
  lab = openLab();
  fleet = await enrolFleet(lab, 4);
  await publish(
    lab,
    release(2),
    release(3),
    release(4, { releasePath: 'releases/acme-hub/stable/4/release.suit', hardwareClass: 'acme-hub' }),
    release(5, { releasePath: 'releases/acme-cam/beta/5/release.suit', channel: 'beta' }),
  );
  lab.nowUnixMs += MINUTE_MS;
});
afterEach(() => lab.close());
afterAll(() => expect([...reached].sort()).toEqual([...REASON_CODES].sort()));

async function expectReason(deviceId: string, reason: Reason, detail: RegExp, sinceMinutes: number): Promise<void> {
  const found = await reasonOf(lab, deviceId);
  expect(found).toEqual({
    deviceId,
    reason,
    detail: expect.stringMatching(detail),
    sinceUnixMs: START_UNIX_MS + sinceMinutes * MINUTE_MS,
    next: REASONS[reason].next,
    cure: REASONS[reason].cure,
  });
  reached.add(reason);
}

/** The one device of the first wave, with its offer taken. */
async function canaryOf(sequence: number): Promise<Device> {
  await start(lab, sequence);
  const [canary] = await pollAll(fleet);
  if (canary === undefined) throw new Error('nobody was offered it');
  return canary;
}

const later = async (minutes: number): Promise<void> => {
  lab.nowUnixMs += minutes * MINUTE_MS;
  await lab.store.advanceRollouts(lab.nowUnixMs);
};

describe('the reason is', () => {
  it('no-rollout while nobody named the device', () => expectReason('cam-0001', 'no-rollout', /^runs 1\.0\.0/, 0));

  it('no-slots where the board has none, whatever a rollout says', async () => {
    const device = fleet.get('cam-0001') ?? expect.fail('no such device');
    device.board = 'none';
    await device.poll();
    await expectReason(
      device.id,
      'no-slots',
      /^no updates and no rollback: its board is none; runs 1\.0\.0 \(sequence 1\)$/,
      0,
    );
    await start(lab, 2);
    await expectReason(device.id, 'no-slots', /its board is none/, 0);
  });

  it('on-target after a confirmed boot', async () => {
    const canary = await canaryOf(2);
    lab.nowUnixMs += MINUTE_MS;
    await canary.confirm(2, '2.0.0');
    await expectReason(canary.id, 'on-target', /^runs 2\.0\.0 \(sequence 2\)$/, 2);
  });

  it('not-enrolled before the first contact, and says when the claim expires', async () => {
    await claim(lab, ['cam-0009']);
    await expectReason('cam-0009', 'not-enrolled', /good until 2026/, 1);
    lab.nowUnixMs += 1001 * MINUTE_MS;
    await expectReason('cam-0009', 'not-enrolled', /expired at 2026/, 1);
  });

  it('revoked after a revocation, whatever else holds', async () => {
    const canary = await canaryOf(2);
    lab.nowUnixMs += MINUTE_MS;
    await lab.store.revokeDevice(canary.id, 'tester', 'stolen', lab.nowUnixMs);
    await expectReason(canary.id, 'revoked', /^$/, 2);
  });

  it('other-class when a rollout named it and its release is for another class', async () => {
    await claim(lab, ['hub-0001'], 'acme-hub');
    const releasePath = 'releases/acme-hub/stable/4/release.suit';
    await start(lab, 4, { releasePath, deviceIds: ['cam-0001', 'hub-0001'] });
    await expectReason('cam-0001', 'other-class', /is for class acme-hub, rollout r1/, 1);
  });

  it('other-channel when the newer release is on another channel', async () => {
    const other = fleet.get('cam-0004');
    if (other !== undefined) other.channel = 'beta';
    await other?.poll();
    await start(lab, 5, { releasePath: 'releases/acme-cam/beta/5/release.suit' });
    await expectReason('cam-0001', 'other-channel', /is for channel beta, rollout r1/, 1);
  });

  it('waiting-for-wave while an earlier wave is being proven', async () => {
    const canary = await canaryOf(2);
    const waiting = [...fleet.keys()].find((name) => name !== canary.id) ?? '';
    await expectReason(waiting, 'waiting-for-wave', /^wave [23] of 2\.0\.0 \(sequence 2\), rollout r1$/, 1);
  });

  it('rollout-paused after a person paused it', async () => {
    const canary = await canaryOf(2);
    await lab.store.commandRollout('r1', 'pause', 'tester', lab.nowUnixMs);
    const waiting = [...fleet.keys()].find((name) => name !== canary.id) ?? '';
    await expectReason(waiting, 'rollout-paused', /rollout r1$/, 1);
  });

  it('rollout-halted for everybody whom a halt spared', async () => {
    const canary = await canaryOf(3);
    await canary.rollBack(3);
    const spared = [...fleet.keys()].find((name) => name !== canary.id) ?? '';
    await expectReason(spared, 'rollout-halted', /^3\.0\.0/, 1);
  });

  it('not-seen while the wave is open and the device does not poll', async () => {
    await start(lab, 2, { waves: [{ percent: 100 }] });
    lab.nowUnixMs += MINUTE_MS;
    await expectReason('cam-0001', 'not-seen', /^2\.0\.0/, 1);
  });

  it('installing while it fetches, checks or writes', async () => {
    const canary = await canaryOf(2);
    lab.nowUnixMs += MINUTE_MS;
    await canary.enter('downloading');
    await expectReason(canary.id, 'installing', /^2\.0\.0 \(sequence 2\), rollout r1$/, 2);
  });

  it('waiting-for-reboot once it is staged, or armed', async () => {
    const canary = await canaryOf(2);
    await canary.enter('staged');
    await expectReason(canary.id, 'waiting-for-reboot', /^2\.0\.0/, 1);
    await canary.enter('armed');
    await expectReason(canary.id, 'waiting-for-reboot', /^2\.0\.0/, 1);
  });

  it.each([
    ['in-use', 'armed'],
    ['link-metered', 'downloading'],
    ['budget-spent', 'downloading'],
  ] as const)('%s while the device says so, and no more once it gets on', async (waiting, state) => {
    const canary = await canaryOf(2);
    lab.nowUnixMs += MINUTE_MS;
    Object.assign(canary, { state, waiting });
    expect(await canary.accept()).toMatchObject({ sequence: 2 });
    lab.nowUnixMs += MINUTE_MS;
    expect(await canary.accept()).toMatchObject({ sequence: 2 });
    await expectReason(canary.id, waiting, /^2\.0\.0 \(sequence 2\), rollout r1$/, 2);
    lab.nowUnixMs += MINUTE_MS;
    await canary.enter('armed');
    await expectReason(canary.id, 'waiting-for-reboot', /^2\.0\.0/, 4);
  });

  it('on-trial until its checks have finished', async () => {
    const canary = await canaryOf(2);
    await canary.enter('trial');
    await expectReason(canary.id, 'on-trial', /^2\.0\.0/, 1);
  });

  it('silent-after-reboot when nothing was heard after it', async () => {
    const canary = await canaryOf(2);
    await canary.enter('armed');
    await later(10);
    await expectReason(canary.id, 'silent-after-reboot', /^2\.0\.0/, 11);
  });

  it('rolled-back, with what failed', async () => {
    const canary = await canaryOf(3);
    await canary.rollBack(3);
    await expectReason(canary.id, 'rolled-back', /rollout r1: health-check-failed: 10-app$/, 1);
  });

  it('release-refused, with the code', async () => {
    const canary = await canaryOf(3);
    const code = 'author-unknown';
    await canary.report({ kind: 'refused', actionId: canary.actionId, sequence: 3, code, detail: 'key 12' });
    await expectReason(canary.id, 'release-refused', /rollout r1: author-unknown: key 12$/, 1);
  });

  it('install-failed while it tries again, and when the deadline ends that', async () => {
    const canary = await canaryOf(2);
    const failed = { kind: 'failed', actionId: canary.actionId, sequence: 2, code: 'disk-full', detail: '' } as const;
    await canary.report(failed);
    await expectReason(canary.id, 'install-failed', /rollout r1: disk-full$/, 1);
    await later(10);
    await expectReason(canary.id, 'install-failed', /rollout r1: disk-full$/, 11);
  });

  it('deadline-passed when it neither finished nor said why', async () => {
    const canary = await canaryOf(2);
    await canary.enter('downloading');
    await later(10);
    await expectReason(canary.id, 'deadline-passed', /^2\.0\.0/, 11);
  });

  it('factory-credentials where the gate is enforced and an update is meant for a device that proved nothing', async () => {
    await lab.close();
    lab = openLab({ ...USUAL_POLICY, gate: 'enforce' });
    fleet = await enrolFleet(lab, 1);
    await publish(lab, release(2));
    await start(lab, 2);
    await fleet.get('cam-0001')?.poll();
    await expectReason('cam-0001', 'factory-credentials', /^2\.0\.0 .* is an update: it has stated nothing/, 0);
  });

  it('rotation-owed while an update waits for a device that was asked to rotate', async () => {
    const device = fleet.get('cam-0001');
    await device?.testify(rotated('cam-0001'));
    await device?.poll();
    const rotation = { deviceIds: ['cam-0001'], waves: [{ devices: 1 }], maxFailedPercent: 0, minSample: 1 };
    await lab.store.startRotation({ ...rotation, timeoutMs: MINUTE_MS, why: 'test' }, 'tester', lab.nowUnixMs);
    await start(lab, 2, { waves: [{ percent: 100 }] });
    await expectReason('cam-0001', 'rotation-owed', /^2\.0\.0 \(sequence 2\), rollout r1$/, 1);
  });

  it('awaiting-approval while its card is on another board', async () => {
    const device = fleet.get('cam-0002');
    await device?.testify(rotated('cam-0002'));
    lab.nowUnixMs += MINUTE_MS;
    await device?.testify(rotated('cam-0002', { hardwareId: 'b'.repeat(64) }));
    await expectReason('cam-0002', 'awaiting-approval', /^hardware-moved: board bbbbbbbbbbbb after board/, 2);
  });

  it('held when it booted below its floor', async () => {
    const device = fleet.get('cam-0002');
    if (device !== undefined) device.state = 'held';
    await device?.poll();
    await expectReason('cam-0002', 'held', /^runs sequence 1, floor 0$/, 1);
  });
});
