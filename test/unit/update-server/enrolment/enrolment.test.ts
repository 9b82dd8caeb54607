import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEVICE_PATHS } from '../../../../protocol/device-api.ts';
import { base64url } from '../../../../trust/bytes.ts';
import { type Answer, makeDeviceKey, Testbed } from '../testbed.ts';

let bed: Testbed;
beforeAll(async () => {
  bed = await Testbed.start();
  await bed.startApi();
});
afterAll(() => bed.stop());

const codeOf = (answer: Answer): string => `${answer.status} ${String(answer.body.code)}`;

describe('a device that proves its claim', () => {
  test('gets a certificate for its own name and key, and the address of the broker', async () => {
    const device = bed.device(await makeDeviceKey());
    const answer = await device.enrol(await bed.claim('cam-0001'));
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ deviceId: 'cam-0001', mqttUrl: 'mqtts://127.0.0.1:8883' });
    const certificate = new X509Certificate(String(answer.body.certificateChain));
    expect(certificate.subject).toBe('CN=cam-0001');
    expect(certificate.checkPrivateKey((await import('node:crypto')).createPrivateKey(device.keyPem))).toBe(true);
  });

  test('gets the very same certificate again with the same key, also when the claim has expired since', async () => {
    const claim = await bed.claim('cam-0002', 1);
    const device = bed.device(await makeDeviceKey());
    const first = await device.enrol(claim);
    bed.clock.now += 2 * 24 * 3600 * 1000;
    const second = await bed.device(device.key).enrol(claim);
    bed.clock.now -= 2 * 24 * 3600 * 1000;
    expect(second.body).toEqual(first.body);
  });

  test('is refused with another key, and the audit has an alarm', async () => {
    const claim = await bed.claim('cam-0003');
    expect((await bed.device(await makeDeviceKey()).enrol(claim)).status).toBe(200);
    expect(codeOf(await bed.device(await makeDeviceKey()).enrol(claim))).toBe('409 claim-used-by-another-key');
    const audit = await bed.store.listAudit({ limit: 5 });
    expect(audit.some((entry) => entry.action === 'enrol.alarm' && entry.subject === 'cam-0003')).toBe(true);
  });

  test('is refused with the key of another device', async () => {
    const key = await makeDeviceKey();
    expect((await bed.device(key).enrol(await bed.claim('cam-0004'))).status).toBe(200);
    expect(codeOf(await bed.device(key).enrol(await bed.claim('cam-0005')))).toBe('409 key-of-another-device');
  });

  test('is refused when the claim has expired unused', async () => {
    const claim = await bed.claim('cam-0006', 1);
    bed.clock.now += 2 * 24 * 3600 * 1000;
    expect(codeOf(await bed.device(await makeDeviceKey()).enrol(claim))).toBe('403 claim-expired');
    bed.clock.now -= 2 * 24 * 3600 * 1000;
  });

  test('is refused once it was revoked', async () => {
    const claim = await bed.claim('cam-0007');
    const device = bed.device(await makeDeviceKey());
    await device.enrol(claim);
    await bed.store.revokeDevice('cam-0007', 'tester', 'lost', bed.clock.now);
    expect(codeOf(await device.enrol(claim))).toBe('403 device-revoked');
  });
});

describe('a proof', () => {
  test('is worth nothing a second time', async () => {
    const claim = await bed.claim('cam-0010');
    const device = bed.device(await makeDeviceKey());
    const body = device.enrolBody(claim, await device.nonce('cam-0010'));
    expect((await device.send('POST', DEVICE_PATHS.enrol, body)).status).toBe(200);
    expect(codeOf(await device.send('POST', DEVICE_PATHS.enrol, body))).toBe('403 claim-nonce-unknown');
  });

  test('is worth nothing on another connection than the one it was made for', async () => {
    const claim = await bed.claim('cam-0011');
    const device = bed.device(await makeDeviceKey());
    const body = device.enrolBody(claim, await device.nonce('cam-0011'));
    expect(codeOf(await bed.device().send('POST', DEVICE_PATHS.enrol, body))).toBe('403 claim-proof-wrong');
  });

  test('is worth nothing for another claim, after a minute, or for another request', async () => {
    const [claim, other] = [await bed.claim('cam-0012'), await bed.claim('cam-0013')];
    const device = bed.device(await makeDeviceKey());
    const nonceOfOther = await device.nonce(other.claimId);
    const crossed = device.enrolBody(claim, nonceOfOther);
    expect(codeOf(await device.send('POST', DEVICE_PATHS.enrol, crossed))).toBe('403 claim-nonce-unknown');
    const late = device.enrolBody(claim, await device.nonce(claim.claimId));
    bed.clock.now += 60_000;
    expect(codeOf(await device.send('POST', DEVICE_PATHS.enrol, late))).toBe('403 claim-nonce-unknown');
    const swapped = device.enrolBody(claim, await device.nonce(claim.claimId));
    swapped.certificateRequest = base64url((await makeDeviceKey()).request);
    expect(codeOf(await device.send('POST', DEVICE_PATHS.enrol, swapped))).toBe('403 claim-proof-wrong');
  });

  test('with a wrong secret, and a claim that does not exist, get the same answer', async () => {
    const claim = await bed.claim('cam-0014');
    const wrong = { ...claim, secret: base64url(new Uint8Array(32)) };
    const unknown = { ...wrong, claimId: 'cam-9999' };
    const device = bed.device(await makeDeviceKey());
    const answers = [await device.enrol(wrong), await device.enrol(unknown)];
    expect(answers.map(codeOf)).toEqual(['403 claim-proof-wrong', '403 claim-proof-wrong']);
    expect(answers[0]?.body).toEqual(answers[1]?.body);
  });

  test('of a request that is not one is refused, after the proof', async () => {
    const claim = await bed.claim('cam-0015');
    const device = bed.device({ pem: '', request: new Uint8Array([48, 3, 2, 1, 1]) });
    expect(codeOf(await device.enrol(claim))).toBe('400 certificate-request-refused');
  });
});

test('a claim has at most sixteen live nonces: the oldest gives way', async () => {
  const claim = await bed.claim('cam-0020');
  const device = bed.device(await makeDeviceKey());
  const first = await device.nonce(claim.claimId);
  bed.clock.now += 1;
  for (let i = 0; i < 16; i += 1) await device.nonce(claim.claimId);
  expect(codeOf(await device.send('POST', DEVICE_PATHS.enrol, device.enrolBody(claim, first)))).toBe(
    '403 claim-nonce-unknown',
  );
  expect((await device.enrol(claim)).status).toBe(200);
});
