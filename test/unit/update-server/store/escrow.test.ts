/** Sealed blobs: kept as they are, never replaced, given out by two people. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { base64url } from '../../../../trust/bytes.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { fingerprint, rotated } from '../statements.ts';
import { certificate, claim, type Device, enrolFleet, type Lab, openLab } from './fixture.ts';

let lab: Lab;
let device: Device;
const OWNERS = [fingerprint('owner 1'), fingerprint('owner 2')];
const bytesOf = (words: string) => new Uint8Array(Buffer.from(words));

beforeEach(async () => {
  lab = openLab();
  device = (await enrolFleet(lab, 2)).get('cam-0001') ?? expect.fail();
});
afterEach(() => lab.close());

const keep = (epoch: number, words: string, deviceId = 'cam-0001', owners = OWNERS) => {
  const blob = bytesOf(words);
  return lab.store.keepEscrow({ deviceId, epoch, sha256: sha256Hex(blob), owners, blob }, lab.nowUnixMs);
};
const person = (name: string, role: 'operator' | 'approver' | 'admin') =>
  lab.store.createToken(
    { tokenId: name, name, role, tokenSha256: fingerprint(name), kind: 'lasting', expiresUnixMs: null },
    'server',
    lab.nowUnixMs,
  );
const ask = async (actor: string) => {
  const asked = await lab.store.requestEscrow('cam-0001', 'locked out', actor, lab.nowUnixMs);
  return asked.outcome === 'done' ? asked.request.requestId : expect.fail(asked.outcome);
};
const approve = async (id: string, actor: string) => (await lab.store.approveEscrow(id, actor, lab.nowUnixMs)).outcome;
const get = (id: string, actor: string) => lab.store.fetchEscrow(id, actor, lab.nowUnixMs);

describe('a sealed blob', () => {
  it('is kept once, taken again, never replaced, and never followed by an earlier epoch', async () => {
    await device.testify(rotated('cam-0001'));
    expect(await keep(1, 'one')).toBe('kept');
    expect(await keep(1, 'one')).toBe('same');
    expect(await keep(1, 'other')).toBe('other-bytes');
    const { credentials } = (await lab.store.findDevice('cam-0001', { nowUnixMs: 0, onlineWindowMs: 1 })) ?? {};
    expect(credentials).toMatchObject({
      standing: 'flagged',
      flags: [{ code: 'escrow-differs' }],
      escrow: { epoch: 1, sha256: sha256Hex(bytesOf('one')), owners: OWNERS },
    });
    expect(await keep(3, 'three')).toBe('kept');
    expect(await keep(2, 'two')).toBe('epoch-went-back');
  });

  it('that is not the one stated speaks against the device', async () => {
    await keep(1, 'one');
    const escrow = { sha256: fingerprint('another'), owners: OWNERS };
    expect(await device.testify(rotated('cam-0001', { escrow }))).toMatchObject({
      verdict: 'flagged',
      flags: [{ code: 'escrow-differs' }],
    });
  });

  it('of a former life stays, and the epochs of the new one count from one', async () => {
    await keep(5, 'five');
    await lab.store.revokeDevice('cam-0001', 'anna', 'flashed', lab.nowUnixMs);
    await claim(lab, ['cam-0001']);
    const key = 'f'.repeat(64);
    const nowUnixMs = lab.nowUnixMs;
    await lab.store.enrolDevice({ claimId: 'cam-0001', certificate: certificate('cam-0001', key), nowUnixMs });
    expect(await keep(1, 'new one')).toBe('kept');
    const [newest] = await lab.store.escrowOutstanding(OWNERS[0] ?? '');
    expect(newest).toMatchObject({ epoch: 1, sha256: sha256Hex(bytesOf('new one')) });
  });

  it('is outstanding for an owner while it is the newest of its device', async () => {
    await keep(1, 'one');
    await keep(1, 'of the other', 'cam-0002', OWNERS.slice(1));
    const of = async (owner: string | undefined) =>
      (await lab.store.escrowOutstanding(owner ?? '')).map(({ deviceId }) => deviceId);
    expect([await of(OWNERS[0]), await of(OWNERS[1])]).toEqual([['cam-0001'], ['cam-0001', 'cam-0002']]);
    await keep(2, 'two', 'cam-0001', OWNERS.slice(1));
    expect(await of(OWNERS[0])).toEqual([]);
  });
});

describe('giving it out', () => {
  beforeEach(async () => {
    await device.testify(rotated('cam-0001'));
    await device.poll();
    await keep(1, 'sealed');
    await person('anna', 'admin');
  });

  it('takes a second person once two people may approve, and the audit has every step', async () => {
    await person('bert', 'approver');
    const id = await ask('anna');
    expect((await get(id, 'anna')).outcome).toBe('not-approved');
    expect(await approve(id, 'anna')).toBe('same-person');
    expect(await approve(id, 'bert')).toBe('done');
    expect(await approve(id, 'bert')).toBe('approved-before');
    expect((await get(id, 'bert')).outcome).toBe('not-who-asked');
    const given = await get(id, 'anna');
    expect(given).toMatchObject({
      outcome: 'given',
      answer: { epoch: 1, owners: OWNERS, blob: base64url(bytesOf('sealed')) },
    });
    const audit = (await lab.store.listAudit({ limit: 10 })).map(({ action, actor }) => `${actor} ${action}`);
    expect(audit).toEqual(expect.arrayContaining(['anna escrow.request', 'bert escrow.approve', 'anna escrow.fetch']));
  });

  it('is one person’s to approve while there is no second, and the audit says so', async () => {
    await person('otto', 'operator');
    const id = await ask('anna');
    expect(await approve(id, 'anna')).toBe('done');
    expect((await lab.store.listAudit({ limit: 1 }))[0]?.detail).toContain('nobody else may approve');
  });

  it('is good for a day', async () => {
    const id = await ask('anna');
    await approve(id, 'anna');
    lab.nowUnixMs += 24 * 3600 * 1000;
    expect((await get(id, 'anna')).outcome).toBe('approval-expired');
  });

  it('has the device rotate afterwards, once', async () => {
    const id = await ask('anna');
    await approve(id, 'anna');
    expect((await device.ask()).requests).toEqual([]);
    expect(await get(id, 'anna')).toMatchObject({ touched: { hints: ['cam-0001'] } });
    await get(id, 'anna');
    expect((await device.ask()).requests).toEqual(['rotate-credentials']);
    expect((await lab.store.listRotations(lab.nowUnixMs)).map(({ why }) => why)).toEqual([
      'its escrow was given out (e1)',
    ]);
  });

  it('is refused for devices and requests that are not there, and for a device without a blob', async () => {
    const outcome = async (deviceId: string) =>
      (await lab.store.requestEscrow(deviceId, 'why', 'anna', lab.nowUnixMs)).outcome;
    expect([await outcome('cam-9'), await outcome('cam-0002')]).toEqual(['device-unknown', 'no-blob']);
    expect([await approve('e99', 'anna'), await approve('nonsense', 'anna')]).toEqual([
      'request-unknown',
      'request-unknown',
    ]);
    expect((await get('e99', 'anna')).outcome).toBe('request-unknown');
  });
});
