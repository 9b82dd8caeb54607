import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEVICE_PATHS } from '../../../../../protocol/device-api.ts';
import { base64url } from '../../../../../trust/bytes.ts';
import { sha256Hex } from '../../../../../trust/crypto.ts';
import { fingerprint, hostKey, rotated, sendStatement, state, statementNonce } from '../../statements.ts';
import { type Answer, type DeviceKey, makeDeviceKey, poll, Testbed, type TestDevice } from '../../testbed.ts';

let bed: Testbed;
beforeAll(async () => {
  bed = await Testbed.start();
  await bed.startApi();
});
afterAll(() => bed.stop());

const MINUTE_MS = 60_000;
const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body.code)}`;
const detailOf = async (id: string) => {
  const found = await bed.store.findDevice(id, { nowUnixMs: bed.clock.now, onlineWindowMs: MINUTE_MS });
  if (found === undefined) throw new Error(`no device ${id}`);
  return found;
};
const pollAs = (state: string, epoch: number) => ({ ...poll, protocol: 3, firstBoot: { state, epoch } });
const PROVEN = { verdict: 'proven', flags: [] };

describe('a statement of credentials', () => {
  test('with a fresh nonce and the key of the certificate proves rotation, and leaves an inventory', async () => {
    const device = await bed.enrolled('cam-0001');
    expect(await state(device, rotated('cam-0001'))).toMatchObject({ status: 200, body: PROVEN });
    await device.send('POST', DEVICE_PATHS.poll, pollAs('open', 1));
    const { device: view, credentials } = await detailOf('cam-0001');
    expect(view.credentials).toBe('proven');
    expect(credentials).toMatchObject({ standing: 'proven', epoch: 1, state: 'open', flags: [] });
    expect(credentials?.inventory.map(({ name }) => name)).toEqual(['password:root', 'ssh-host-key:ed25519']);
  });

  test('is taken once for each nonce', async () => {
    const device = await bed.enrolled('cam-0002');
    const statement = { ...rotated('cam-0002'), nonce: await statementNonce(device) };
    expect((await sendStatement(device, statement)).status).toBe(200);
    expect(codeOf(await sendStatement(device, statement))).toBe('403 statement-nonce-unknown');
  });

  test('is refused when its nonce is too old, or was given to another device', async () => {
    const [device, other] = [await bed.enrolled('cam-0003'), await bed.enrolled('cam-0004')];
    const nonce = await statementNonce(other);
    expect(codeOf(await sendStatement(device, { ...rotated('cam-0003'), nonce }))).toBe('403 statement-nonce-unknown');
    const late = await statementNonce(device);
    bed.clock.now += 3 * MINUTE_MS;
    expect(codeOf(await sendStatement(device, { ...rotated('cam-0003'), nonce: late }))).toBe(
      '403 statement-nonce-unknown',
    );
  });

  test('is refused when another key signed it, and proves nothing', async () => {
    const device = await bed.enrolled('cam-0005');
    const statement = { ...rotated('cam-0005'), nonce: await statementNonce(device) };
    const stranger = await makeDeviceKey();
    expect(codeOf(await sendStatement(device, statement, stranger.pem))).toBe('403 statement-signature-wrong');
    const { credentials, history } = await detailOf('cam-0005');
    expect(credentials).toMatchObject({ standing: 'factory', statedUnixMs: null, inventory: [] });
    expect(history[0]).toMatchObject({ kind: 'alarm', text: expect.stringContaining('statement-signature-wrong') });
  });

  test('is refused when it names another device', async () => {
    const device = await bed.enrolled('cam-0006');
    expect(codeOf(await state(device, rotated('cam-0001')))).toBe('403 statement-of-another-device');
  });

  test('that is no statement is told so', async () => {
    const device = await bed.enrolled('cam-0007');
    const body = { protocol: 3, statement: 'e30', signature: 'AAAA' };
    expect(codeOf(await device.send('POST', DEVICE_PATHS.credentialsStatement, body))).toBe('400 statement-malformed');
  });

  test('is not taken from anybody without a certificate', async () => {
    const answer = await bed.device().send('POST', DEVICE_PATHS.credentialsNonce, { protocol: 3 });
    expect(codeOf(answer)).toBe('401 no-client-certificate');
  });

  test('that shows a factory secret proves nothing', async () => {
    const device = await bed.enrolled('cam-0008');
    const credentials = [hostKey('cam-0008', 1, { state: 'factory', epoch: 0 })];
    const answer = await state(device, rotated('cam-0008', { credentials }));
    expect(answer.body).toEqual({ verdict: 'factory', flags: [] });
  });

  test('with a host key that another device has flags both, and rotating one clears both', async () => {
    const [first, second] = [await bed.enrolled('cam-0010'), await bed.enrolled('cam-0011')];
    const shared = [hostKey('of the image', 1)];
    expect((await state(first, rotated('cam-0010', { credentials: shared }))).body).toEqual(PROVEN);
    const answer = await state(second, rotated('cam-0011', { credentials: shared }));
    expect(answer.body).toEqual({ verdict: 'flagged', flags: ['fingerprint-shared'] });
    expect((await detailOf('cam-0010')).credentials).toMatchObject({
      standing: 'flagged',
      flags: [{ code: 'fingerprint-shared', detail: "ssh-host-key:ed25519 is also cam-0011's" }],
    });
    const audit = await bed.store.listAudit({ limit: 10 });
    const alarms = audit.filter(({ action }) => action === 'credentials.alarm').map(({ subject }) => subject);
    expect(alarms.sort()).toEqual(['cam-0010', 'cam-0011']);
    expect((await state(second, rotated('cam-0011', { epoch: 2 }))).body).toEqual(PROVEN);
    expect((await state(first, rotated('cam-0010', { credentials: shared }))).body).toEqual(PROVEN);
  });

  test('of an earlier epoch is flagged, and does not become the measure of the next', async () => {
    const device = await bed.enrolled('cam-0012');
    await state(device, rotated('cam-0012', { epoch: 3 }));
    for (const _again of [1, 2]) {
      const answer = await state(device, rotated('cam-0012', { epoch: 2 }));
      expect(answer.body).toEqual({ verdict: 'flagged', flags: ['epoch-went-back'] });
    }
    expect((await state(device, rotated('cam-0012', { epoch: 4 }))).body).toEqual(PROVEN);
  });

  test('of the same board under another key flags both devices', async () => {
    const [first, second] = [await bed.enrolled('cam-0013'), await bed.enrolled('cam-0014')];
    const hardwareId = fingerprint('one board');
    await state(first, rotated('cam-0013', { hardwareId }));
    const answer = await state(second, rotated('cam-0014', { hardwareId }));
    expect(answer.body).toEqual({ verdict: 'flagged', flags: ['hardware-on-two-devices'] });
    expect((await detailOf('cam-0013')).device.credentials).toBe('flagged');
  });

  test('of the same key on another board waits for a person', async () => {
    const device = await bed.enrolled('cam-0015');
    await state(device, rotated('cam-0015'));
    const answer = await state(device, rotated('cam-0015', { hardwareId: fingerprint('another board') }));
    expect(answer.body).toEqual({ verdict: 'flagged', flags: ['hardware-moved'] });
    expect((await detailOf('cam-0015')).device.credentials).toBe('awaiting-approval');
  });
});

describe('a poll', () => {
  const requestsOf = async (device: Awaited<ReturnType<typeof bed.enrolled>>, body: object) =>
    (await device.send('POST', DEVICE_PATHS.poll, body)).body.requests;

  test('of protocol 3 is asked for a statement until one of its epoch is there', async () => {
    const device = await bed.enrolled('cam-0020');
    expect(await requestsOf(device, pollAs('open', 1))).toEqual(['report-credentials']);
    await state(device, rotated('cam-0020'));
    expect(await requestsOf(device, pollAs('open', 1))).toEqual([]);
    expect(await requestsOf(device, pollAs('open', 2))).toEqual(['report-credentials']);
  });

  test.each([1, 2])(
    'of protocol %i is served as before, and asked for nothing that it does not know',
    async (protocol) => {
      const device = await bed.enrolled(`cam-003${protocol}`);
      const answer = await device.send('POST', DEVICE_PATHS.poll, { ...poll, protocol });
      expect(answer.status).toBe(200);
      expect(Object.keys(answer.body).sort()).toEqual(['action', 'pollAfterMs', 'protocol', 'requests']);
      expect(answer.body.requests).toEqual([]);
    },
  );

  test('proves nothing any more once its agent has no first boot, or another epoch', async () => {
    const device = await bed.enrolled('cam-0022');
    await state(device, rotated('cam-0022'));
    const standings: unknown[] = [];
    for (const body of [
      pollAs('open', 1),
      { ...poll, protocol: 2 },
      pollAs('open', 2),
      pollAs('blocked', 1),
      pollAs('reported', 1),
    ]) {
      await device.send('POST', DEVICE_PATHS.poll, body);
      standings.push((await detailOf('cam-0022')).device.credentials);
    }
    expect(standings).toEqual(['proven', 'factory', 'factory', 'factory', 'proven']);
  });
});

describe('a sealed blob', () => {
  const send = (device: TestDevice, words: string, epoch = 1, digestOf = words) => {
    const note = { sha256: sha256Hex(Buffer.from(digestOf)), owners: [fingerprint('owner')] };
    const body = { protocol: 3, epoch, note, blob: base64url(new Uint8Array(Buffer.from(words))) };
    return device.send('POST', DEVICE_PATHS.credentialsEscrow, body);
  };

  test('is kept once, taken again, and never replaced', async () => {
    const device = await bed.enrolled('cam-0060');
    const sha256 = sha256Hex(Buffer.from('one'));
    expect((await send(device, 'one')).body).toEqual({ epoch: 1, sha256 });
    expect((await send(device, 'one')).body).toEqual({ epoch: 1, sha256 });
    expect(codeOf(await send(device, 'other'))).toBe('409 escrow-other-bytes');
    expect(codeOf(await send(device, 'x', 2, 'y'))).toBe('400 escrow-digest-wrong');
    expect((await send(device, 'three', 3)).status).toBe(200);
    expect(codeOf(await send(device, 'two', 2))).toBe('409 escrow-epoch-went-back');
    expect((await detailOf('cam-0060')).credentials?.escrow).toMatchObject({ epoch: 3 });
  });

  test('has at most 32 KiB', async () => {
    const device = await bed.enrolled('cam-0061');
    expect((await send(device, 'x'.repeat(32 * 1024))).status).toBe(200);
    expect(codeOf(await send(device, 'x'.repeat(32 * 1024 + 1), 2))).toBe('400 body-invalid');
  });
});

describe('a key that comes with a claim which another has used', () => {
  test('waits for a person, and takes the place of the former once that one is approved', async () => {
    const [claim, first, second] = [await bed.claim('cam-0070'), await makeDeviceKey(), await makeDeviceKey()];
    const enrolled = await bed.device(first).enrol(claim);
    const device = bed.device(first, String(enrolled.body.certificateChain));
    await state(device, rotated('cam-0070', { epoch: 4 }));
    expect(codeOf(await bed.device(second).enrol(claim))).toBe('409 claim-used-by-another-key');
    expect(codeOf(await bed.device(second).enrol(claim))).toBe('409 claim-used-by-another-key');
    const alarms = (await bed.store.listAudit({ limit: 50 })).filter(
      ({ action, subject }) => action === 'enrol.alarm' && subject === 'cam-0070',
    );
    expect(alarms).toHaveLength(1);
    const waiting = (await detailOf('cam-0070')).credentials?.waitingKeys[0]?.keySha256 ?? '';
    const approve = (value: string) =>
      bed.store.approveDevice(
        { deviceId: 'cam-0070', what: 'key', value, why: 'board replaced' },
        'anna',
        bed.clock.now,
      );
    expect(await approve(fingerprint('another key'))).toBe('says-otherwise');
    expect(await approve(waiting)).toBe('approved');
    expect((await device.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    const anew = await bed.device(second).enrol(claim);
    expect(anew.status).toBe(200);
    expect(codeOf(await device.send('POST', DEVICE_PATHS.poll, poll))).toBe('403 device-revoked');
    const moved = bed.device(second, String(anew.body.certificateChain));
    const statement = rotated('cam-0070', {
      hardwareId: fingerprint('new board'),
      movedFrom: fingerprint('old board'),
    });
    expect((await state(moved, statement)).body).toEqual(PROVEN);
    expect(
      (await bed.store.listDevices({ nowUnixMs: 0, onlineWindowMs: 1 })).filter(
        ({ device: { deviceId } }) => deviceId === 'cam-0070',
      ),
    ).toHaveLength(1);
  });
});

describe('several keys that come with one claim, as of a card that was copied', () => {
  test('wait beside one another, and no later one takes the approval of another', async () => {
    const [claim, first, ...copies] = [
      await bed.claim('cam-0071'),
      ...(await Promise.all([1, 2, 3, 4].map(makeDeviceKey))),
    ] as const;
    if (first === undefined) throw new Error('no key');
    const enrolled = await bed.device(first).enrol(claim);
    const device = bed.device(first, String(enrolled.body.certificateChain));
    await state(device, rotated('cam-0071'));
    for (const copy of [...copies, ...copies]) {
      expect(codeOf(await bed.device(copy).enrol(claim))).toBe('409 claim-used-by-another-key');
    }
    const waiting = (await detailOf('cam-0071')).credentials?.waitingKeys.map(({ keySha256 }) => keySha256) ?? [];
    expect(new Set(waiting).size).toBe(3);
    const alarms = (await bed.store.listAudit({ limit: 50 })).filter(
      ({ action, subject }) => action === 'enrol.alarm' && subject === 'cam-0071',
    );
    expect(alarms).toHaveLength(3);
    const approval = { deviceId: 'cam-0071', what: 'key', value: waiting[1] ?? '', why: 'this one' } as const;
    expect(await bed.store.approveDevice(approval, 'anna', bed.clock.now)).toBe('approved');
    const answers: string[] = [];
    for (const copy of copies) answers.push(codeOf(await bed.device(copy).enrol(claim)).slice(0, 3));
    expect(answers).toEqual(['409', '200', '409']);
  });
});

describe('a renewed certificate', () => {
  const renew = async (device: TestDevice, key: DeviceKey) => {
    const body = { protocol: 3, certificateRequest: base64url(key.request) };
    return device.send('POST', DEVICE_PATHS.credentialsRenew, body);
  };

  test('stands beside the one in use until it is used itself; from then on the former is refused', async () => {
    const device = await bed.enrolled('cam-0040');
    const key = await makeDeviceKey();
    const answer = await renew(device, key);
    expect(answer.status).toBe(200);
    expect((await device.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    const renewed = bed.device(key, String(answer.body.certificateChain));
    expect((await renewed.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    expect(codeOf(await device.send('POST', DEVICE_PATHS.poll, poll))).toBe('403 client-certificate-refused');
    expect((await renewed.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    expect((await bed.store.listAudit({ limit: 1 }))[0]).toMatchObject({ action: 'certificate.renew' });
  });

  test('is given again to the same key while nobody has used it, and the lost one of another key is refused', async () => {
    const device = await bed.enrolled('cam-0041');
    const [lost, kept] = [await makeDeviceKey(), await makeDeviceKey()];
    const first = await renew(device, lost);
    expect((await renew(device, lost)).body).toEqual(first.body);
    const second = await renew(device, kept);
    const late = bed.device(lost, String(first.body.certificateChain));
    expect(codeOf(await late.send('POST', DEVICE_PATHS.poll, poll))).toBe('403 client-certificate-refused');
    const good = bed.device(kept, String(second.body.certificateChain));
    expect((await good.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
  });

  test('ends its predecessor a week later, though nobody came with it', async () => {
    const device = await bed.enrolled('cam-0042');
    await renew(device, await makeDeviceKey());
    const before = bed.clock.now;
    bed.clock.now += 8 * 24 * 60 * MINUTE_MS;
    expect(codeOf(await device.send('POST', DEVICE_PATHS.poll, poll))).toBe('403 client-certificate-refused');
    bed.clock.now = before;
  });

  test('is asked for until it arrives, and a device that never got it enrols again with claim and key', async () => {
    const [claim, key] = [await bed.claim('cam-0046'), await makeDeviceKey()];
    const enrolled = await bed.device(key).enrol(claim);
    const device = bed.device(key, String(enrolled.body.certificateChain));
    await renew(device, await makeDeviceKey());
    const answer = await device.send('POST', DEVICE_PATHS.poll, { ...poll, protocol: 3 });
    expect(answer.body.requests).toEqual(['renew-certificate']);
    const before = bed.clock.now;
    bed.clock.now += 8 * 24 * 60 * MINUTE_MS;
    const again = await bed.device(key).enrol(claim);
    const back = bed.device(key, String(again.body.certificateChain));
    expect((await back.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    bed.clock.now = before;
  });

  test('with a new key takes the claim along: the former key has no way back', async () => {
    const [claim, former, next] = [await bed.claim('cam-0047'), await makeDeviceKey(), await makeDeviceKey()];
    const enrolled = await bed.device(former).enrol(claim);
    const device = bed.device(former, String(enrolled.body.certificateChain));
    await device.send('POST', DEVICE_PATHS.poll, poll);
    const renewed = await renew(device, next);
    await bed.device(next, String(renewed.body.certificateChain)).send('POST', DEVICE_PATHS.poll, poll);
    expect(codeOf(await bed.device(former).enrol(claim))).toBe('409 claim-used-by-another-key');
    expect((await bed.device(next).enrol(claim)).body.certificateChain).toBe(renewed.body.certificateChain);
  });

  test('is not given for the key of another device', async () => {
    const [device, other] = [await bed.enrolled('cam-0043'), await bed.enrolled('cam-0044')];
    if (other.key === undefined) throw new Error('no key');
    expect(codeOf(await renew(device, other.key))).toBe('409 key-of-another-device');
  });

  test('is asked for after two thirds of the life of the one in use', async () => {
    const device = await bed.enrolled('cam-0045');
    const requests = async () => (await device.send('POST', DEVICE_PATHS.poll, { ...poll, protocol: 3 })).body.requests;
    expect(await requests()).toEqual([]);
    const before = bed.clock.now;
    bed.clock.now += 244 * 24 * 60 * MINUTE_MS;
    expect(await requests()).toEqual(['renew-certificate']);
    bed.clock.now = before;
  });
});

describe('a device on another board', () => {
  test('gets metadata, and neither images nor a certificate', async () => {
    const device = await bed.enrolled('cam-0050');
    await state(device, rotated('cam-0050'));
    await state(device, rotated('cam-0050', { hardwareId: fingerprint('elsewhere') }));
    const ask = async (method: string, path: string) => codeOf(await device.send(method, path));
    expect(await ask('GET', `${DEVICE_PATHS.targets}/x/y.img`)).toBe('403 awaiting-approval');
    expect(await ask('GET', `${DEVICE_PATHS.transport}/x/blocks`)).toBe('403 awaiting-approval');
    expect(await ask('POST', DEVICE_PATHS.credentialsRenew)).toBe('403 awaiting-approval');
    expect(await ask('GET', `${DEVICE_PATHS.metadata}/timestamp.json`)).toBe('404 not-found');
    expect((await device.send('POST', DEVICE_PATHS.poll, pollAs('open', 1))).status).toBe(200);
  });
});

describe('where the gate is enforced', () => {
  test('a certificate is short until rotation is proven; then a full one is asked for and given', async () => {
    const strict = await Testbed.start({ gate: 'enforce', factoryCertificateMs: 60 * MINUTE_MS });
    await strict.startApi();
    const device = await strict.enrolled('cam-0001');
    const hoursOf = (pem: unknown) =>
      Math.round((Date.parse(new X509Certificate(String(pem)).validTo) - strict.clock.now) / (60 * MINUTE_MS));
    expect(hoursOf(device.certificate)).toBe(1);
    await state(device, rotated('cam-0001'));
    const answer = await device.send('POST', DEVICE_PATHS.poll, pollAs('open', 1));
    expect(answer.body.requests).toEqual(['renew-certificate']);
    const key = await makeDeviceKey();
    const body = { protocol: 3, certificateRequest: base64url(key.request) };
    const renewed = await device.send('POST', DEVICE_PATHS.credentialsRenew, body);
    expect(hoursOf(renewed.body.certificateChain)).toBe(365 * 24);
    await strict.stop();
  });

  test('a device that was away for longer than its short certificate enrols again with claim and key', async () => {
    const strict = await Testbed.start({ gate: 'enforce', factoryCertificateMs: 60 * MINUTE_MS });
    await strict.startApi();
    const [claim, key] = [await strict.claim('cam-0001'), await makeDeviceKey()];
    const first = await strict.device(key).enrol(claim);
    strict.clock.now += 61 * MINUTE_MS;
    const second = await strict.device(key).enrol(claim);
    expect([second.status, second.body.certificateChain === first.body.certificateChain]).toEqual([200, false]);
    const device = strict.device(key, String(second.body.certificateChain));
    expect((await device.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    await strict.stop();
  });
});
