import { connect } from 'node:tls';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEVICE_BODY_CAP_BYTES, DEVICE_PATHS, ErrorAnswer, PROTOCOL_VERSION } from '../../../../protocol/device-api.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { type Answer, makeDeviceKey, poll, Testbed, type TestDevice } from '../testbed.ts';

let bed: Testbed;
let device: TestDevice;
beforeAll(async () => {
  bed = await Testbed.start();
  await bed.startApi();
  device = await bed.enrolled('cam-0001');
});
afterAll(() => bed.stop());

/** Status and code; also checks that the answer is an ErrorAnswer and nothing else. */
function refusal(answer: Answer): string {
  const parsed = v.parse(ErrorAnswer, answer.body);
  return `${answer.status} ${parsed.code}${parsed.where === undefined ? '' : ` ${parsed.where}`}`;
}

describe('who is asking', () => {
  const closed = [
    DEVICE_PATHS.poll,
    DEVICE_PATHS.report,
    `${DEVICE_PATHS.metadata}/timestamp.json`,
    `${DEVICE_PATHS.targets}/x`,
    '/',
    '/nothing',
  ];

  test('health answers without a certificate', async () => {
    expect(await bed.device().send('GET', DEVICE_PATHS.health)).toMatchObject({ status: 200, body: { ok: true } });
  });

  test.each(closed)('%s does not', async (path) => {
    expect(refusal(await bed.device().send('GET', path))).toBe('401 no-client-certificate');
  });

  test('a certificate of a stranger with the same name is refused', async () => {
    const other = await Testbed.start();
    await other.startApi();
    const foreign = await other.enrolled('cam-0001');
    const answer = await bed.device(foreign.key, foreign.certificate).send('POST', DEVICE_PATHS.poll, poll);
    expect(refusal(answer)).toBe('403 client-certificate-refused');
    await other.stop();
  });

  test("a certificate of the right authority that this server's database does not know is refused", async () => {
    const key = await makeDeviceKey();
    const { createPublicKey } = await import('node:crypto');
    const pem = await bed.deviceAuthority.issue({
      commonName: 'cam-0001',
      publicKey: createPublicKey(key.pem),
      notBeforeUnixMs: bed.clock.now - 1000,
      notAfterUnixMs: bed.clock.now + 100_000,
      usage: 'client',
      names: [],
    });
    expect(refusal(await bed.device(key, pem).send('POST', DEVICE_PATHS.poll, poll))).toBe(
      '403 client-certificate-refused',
    );
  });

  test('an expired certificate is refused, its twin before that is not', async () => {
    const expiring = await bed.enrolled('cam-0002');
    expect((await expiring.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
    const now = bed.clock.now;
    bed.clock.now += 366 * 24 * 3600 * 1000;
    expect(refusal(await expiring.send('POST', DEVICE_PATHS.poll, poll))).toBe('403 client-certificate-refused');
    bed.clock.now = now;
  });

  test('a live connection dies with the revocation', async () => {
    const revoked = await bed.enrolled('cam-0003');
    const before = await revoked.send('POST', DEVICE_PATHS.poll, poll);
    await bed.store.revokeDevice('cam-0003', 'tester', 'lost', bed.clock.now);
    bed.events.emit({ kind: 'revoked', id: 'cam-0003' });
    const after = await revoked.send('POST', DEVICE_PATHS.poll, poll);
    expect(before.status).toBe(200);
    expect(after.socket).toBe(before.socket);
    expect(refusal(after)).toBe('403 device-revoked');
    expect(after.headers.connection).toBe('close');
  });

  test('a transfer that is under way ends with the revocation', async () => {
    const revoked = await bed.enrolled('cam-0004');
    const bytes = new Uint8Array(64 * 1024 * 1024);
    const sha256 = sha256Hex(bytes);
    await bed.artifacts.put(sha256, one(bytes), bytes.length);
    // Said again until the transfer has begun; and no 64 MiB are shown when it came whole.
    const again = setInterval(() => bed.events.emit({ kind: 'revoked', id: 'cam-0004' }), 10);
    const transfer = revoked.send('GET', `${DEVICE_PATHS.targets}/x/${sha256}.img`).then(({ status }) => status);
    await expect(transfer).rejects.toThrow();
    clearInterval(again);
  });

  test('TLS 1.2 is not spoken', async () => {
    const socket = connect({ host: '127.0.0.1', port: bed.port, ca: bed.serverAuthority.pem, maxVersion: 'TLSv1.2' });
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
    expect(error.message).toMatch(/protocol version|alert/i);
  });
});

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

describe('a poll', () => {
  test('is stored and answered', async () => {
    const answer = await device.send('POST', DEVICE_PATHS.poll, poll);
    expect(answer).toMatchObject({
      status: 200,
      body: { protocol: PROTOCOL_VERSION, pollAfterMs: 1234, action: null, requests: [] },
    });
    const found = await bed.store.findDevice('cam-0001', { nowUnixMs: bed.clock.now, onlineWindowMs: 60_000 });
    expect(found?.device).toMatchObject({ channel: 'stable', installed: { sequence: 1 }, bootedSlot: 'a' });
  });

  const deep = `{"protocol":1,"a":${'['.repeat(20)}${']'.repeat(20)}}`;
  test.each<[string, unknown, string]>([
    ['nothing', undefined, '400 body-malformed'],
    ['garbage', Buffer.from('{"protocol":'), '400 body-malformed'],
    ['a key twice', Buffer.from('{"protocol":1,"protocol":1}'), '400 body-malformed'],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), '400 body-malformed'],
    ['too much depth', Buffer.from(deep), '400 body-malformed'],
    ['an unknown field', { ...poll, colour: 'red' }, '400 body-invalid colour'],
    ['a missing field', { ...poll, channel: undefined }, '400 body-invalid channel'],
    [
      'a field of the wrong type',
      { ...poll, installed: { sequence: '1', version: '1' } },
      '400 body-invalid installed.sequence',
    ],
    [
      'a list that is too long',
      { ...poll, quarantined: Array.from({ length: 17 }, () => ({ sequence: 1, reason: '' })) },
      '400 body-invalid quarantined',
    ],
    ['another protocol', { ...poll, protocol: 99 }, '400 protocol-unsupported protocol'],
    ['too many bytes', Buffer.alloc(DEVICE_BODY_CAP_BYTES + 1, 0x20), '413 body-too-large'],
  ])('with %s is refused', async (_name, body, expected) => {
    expect(refusal(await device.send('POST', DEVICE_PATHS.poll, body))).toBe(expected);
    expect((await device.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
  });

  test('to an address that is not there is refused', async () => {
    expect(refusal(await device.send('GET', '/device/v1/nothing'))).toBe('404 not-found');
    expect(refusal(await device.send('DELETE', DEVICE_PATHS.poll))).toBe('404 not-found');
  });

  test('that is not HTTP gets an answer of the same kind', async () => {
    const socket = connect({ host: '127.0.0.1', port: bed.port, ca: bed.serverAuthority.pem });
    socket.write('this is not HTTP\r\n\r\n');
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    const [, body] = Buffer.concat(pieces).toString().split('\r\n\r\n');
    expect(v.parse(ErrorAnswer, JSON.parse(body ?? '')).code).toBe('request-malformed');
  });
});

test('reports are kept once, and acknowledged', async () => {
  const report = (reportSequence: number) => ({
    reportSequence,
    bootId: 'boot-1',
    atUnixMs: null,
    event: { kind: 'notice', code: 'hello', detail: '' },
  });
  const send = (reports: unknown[]) => device.send('POST', DEVICE_PATHS.report, { protocol: 1, reports });
  expect((await send([report(1), report(2)])).body).toEqual({ acknowledged: 2 });
  expect((await send([report(2), report(3)])).body).toEqual({ acknowledged: 3 });
  expect(refusal(await send([]))).toBe('400 body-invalid reports');
});

describe('metadata', () => {
  test('is served as it is, and nothing else is', async () => {
    bed.metadata.set('timestamp.json', Buffer.from('{"a":1}'));
    const answer = await device.send('GET', `${DEVICE_PATHS.metadata}/timestamp.json`);
    expect([answer.status, answer.bytes.toString()]).toEqual([200, '{"a":1}']);
    for (const name of ['2.root.json', 'root.json', '0.root.json', '..%2fdb.sqlite', '%2e%2e', 'timestamp.json%00']) {
      expect(refusal(await device.send('GET', `${DEVICE_PATHS.metadata}/${name}`))).toBe('404 not-found');
    }
  });
});

describe('targets', () => {
  const bytes = new Uint8Array(10_000).map((_, index) => index % 251);
  const sha256 = sha256Hex(bytes);
  const path = `${DEVICE_PATHS.targets}/releases/acme-cam/stable/2/${sha256}.rootfs.img`;
  beforeAll(() => bed.artifacts.put(sha256, one(bytes), bytes.length));

  test('are served whole', async () => {
    const answer = await device.send('GET', path);
    expect([answer.status, sha256Hex(answer.bytes), answer.headers['accept-ranges']]).toEqual([200, sha256, 'bytes']);
    const head = await device.send('HEAD', path);
    expect([head.status, head.headers['content-length'], head.bytes.length]).toEqual([200, '10000', 0]);
  });

  test.each([
    ['bytes=0-0', 0, 0],
    ['bytes=100-199', 100, 199],
    ['bytes=9990-', 9990, 9999],
    ['bytes=9990-99999', 9990, 9999],
    ['bytes=-10', 9990, 9999],
  ])('in the range %s', async (range, first, last) => {
    const answer = await device.send('GET', path, undefined, { range });
    expect([answer.status, answer.headers['content-range']]).toEqual([206, `bytes ${first}-${last}/10000`]);
    expect(answer.bytes.equals(Buffer.from(bytes.subarray(first, last + 1)))).toBe(true);
  });

  test.each(['bytes=10000-', 'bytes=99999-100000', 'bytes=-0'])('not in the range %s', async (range) => {
    const answer = await device.send('GET', path, undefined, { range });
    expect(refusal(answer)).toBe('416 range-not-satisfiable');
    expect(answer.headers['content-range']).toBe('bytes */10000');
  });

  test.each(['lines=1-2', 'bytes=5-2', 'bytes=1-2,4-5', 'bytes=-'])('whole when the header is %s', async (range) => {
    expect((await device.send('GET', path, undefined, { range })).status).toBe(200);
  });

  test('that are not stored, or not named by digest, are not there', async () => {
    const wrong = ['releases/x.img', `${'0'.repeat(64)}.img`, `..%2f..%2fdb.sqlite`, `${sha256}`, `a/${sha256}.x/y`];
    for (const name of wrong) {
      expect(refusal(await device.send('GET', `${DEVICE_PATHS.targets}/${name}`))).toBe('404 not-found');
    }
  });
});
