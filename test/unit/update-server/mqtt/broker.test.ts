import { join } from 'node:path';
import { connect } from 'node:tls';
import { Encoder } from 'cbor-x';
import type { MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nodeDisk } from '../../../../platform/disk.ts';
import { DEVICE_PATHS } from '../../../../protocol/device-api.ts';
import { hintTopic, presenceTopic, statusTopic } from '../../../../protocol/mqtt-topics.ts';
import { base64url } from '../../../../trust/bytes.ts';
import { openServerCertificate } from '../../../../update-server/pki/server-certificate.ts';
import { makeDeviceKey, poll, Testbed, type TestDevice, until } from '../testbed.ts';

let bed: Testbed;
let device: TestDevice;
let id: string;
let count = 0;
beforeAll(async () => {
  bed = await Testbed.start();
  await bed.startApi();
  await bed.startBroker();
});
afterAll(() => bed.stop());

/** The next event of a client; rejects when the client emits an error first. */
const next = (client: MqttClient, event: 'connect' | 'close' | 'message') =>
  new Promise<unknown[]>((resolve, reject) => {
    client.once('error', reject);
    client.once(event, (...facts: unknown[]) => resolve(facts));
  });
const goneFrom = (client: MqttClient): Promise<unknown> => next(client, 'close');

async function fresh(): Promise<void> {
  count += 1;
  id = `cam-${String(count).padStart(4, '0')}`;
  device = await bed.enrolled(id);
}

async function connected(options: Parameters<Testbed['mqtt']>[1] = {}): Promise<MqttClient> {
  const client = bed.mqtt(device, { clientId: id, ...options });
  await next(client, 'connect');
  return client;
}

/** The newest refusal of this device in the audit log, once there is one. */
const refusalOf = (peer: string): Promise<string> =>
  until(async () => {
    const entries = await bed.store.listAudit({ limit: 20 });
    return entries.find((entry) => entry.action === 'mqtt-refused' && entry.actor === peer)?.subject;
  });
const refusal = (): Promise<string> => refusalOf(`device:${id}`);

const view = async () => (await bed.store.findDevice(id, { nowUnixMs: bed.clock.now, onlineWindowMs: 0 }))?.device;

describe('a device', () => {
  test('gets its hints, and nothing of them is kept', async () => {
    await fresh();
    const client = await connected();
    await client.subscribeAsync(hintTopic(id), { qos: 1 });
    const hint = next(client, 'message');
    bed.events.emit({ kind: 'hint', id });
    const [topic, payload, packet] = await hint;
    expect([topic, payload, packet]).toMatchObject([hintTopic(id), Buffer.alloc(0), { retain: false }]);
    await client.endAsync();
    bed.events.emit({ kind: 'hint', id });
    const again = await connected();
    let heard = 0;
    again.on('message', () => {
      heard += 1;
    });
    await again.subscribeAsync(hintTopic(id), { qos: 1 });
    bed.events.emit({ kind: 'hint', id });
    await next(again, 'message');
    expect(heard).toBe(1);
  });

  test('is here while it is connected, and gone after', async () => {
    await fresh();
    const client = await connected({
      will: { topic: presenceTopic(id), payload: Buffer.from('gone'), qos: 1, retain: false },
    });
    await until(async () => (await view())?.online === true);
    await client.publishAsync(presenceTopic(id), 'here', { qos: 1 });
    client.stream.destroy();
    await until(async () => (await view())?.online === false);
  });

  test('takes its own client id over, and stays here', async () => {
    await fresh();
    const will = { topic: presenceTopic(id), payload: Buffer.from('gone'), qos: 1, retain: false } as const;
    const first = await connected({ will });
    const ended = goneFrom(first);
    const second = await connected({ will });
    await ended;
    await second.publishAsync(presenceTopic(id), 'here', { qos: 1 });
    await until(async () => (await view())?.online === true);
    expect(bed.broker?.sessionCount).toBeGreaterThan(0);
    await second.endAsync();
    await until(async () => (await view())?.online === false);
  });

  test('tells its status, which moves the progress bar', async () => {
    await fresh();
    const client = await connected();
    await until(async () => (await view())?.online === true);
    bed.clock.now += 5000;
    const status = { state: 'downloading', slot: 'b', sequence: 2, doneBytes: 2 ** 33, totalBytes: 2 ** 34 };
    await client.publishAsync(statusTopic(id), new Encoder({ useRecords: false }).encode(status));
    const now = bed.clock.now;
    expect(await until(async () => (await view())?.lastSeenUnixMs === now)).toBe(true);
  });
});

describe('is refused with its own code', () => {
  test('a connection without a certificate', async () => {
    const client = bed.mqtt(undefined, { clientId: 'cam-0001' });
    await goneFrom(client);
    expect(await refusalOf('address:127.0.0.1')).toBe('mqtt-no-certificate');
  });

  test('a certificate of another server', async () => {
    const other = await Testbed.start();
    await other.startApi();
    const foreign = await other.enrolled('cam-0001');
    await goneFrom(bed.mqtt(foreign, { clientId: 'cam-0001' }));
    expect(await until(async () => (await refusalOf('address:127.0.0.1')) === 'mqtt-certificate-refused')).toBe(true);
    await other.stop();
  });

  test("another's client id, and the one who has it keeps it", async () => {
    await fresh();
    const [victim, victimId] = [await connected(), id];
    await fresh();
    const attacker = bed.mqtt(device, { clientId: victimId });
    await expect(next(attacker, 'connect')).rejects.toThrow(/Identifier rejected/);
    expect(await refusal()).toBe('mqtt-client-id-mismatch');
    expect(victim.connected).toBe(true);
  });

  test.each<[string, (own: string) => string, string]>([
    ["another device's hints", () => hintTopic('cam-9999'), 'mqtt-topic-not-own'],
    ['its own status topic', statusTopic, 'mqtt-topic-not-own'],
    ['everything', () => '#', 'mqtt-wildcard'],
    ['all hints', () => 'holdfast/v1/devices/+/hint', 'mqtt-wildcard'],
    ['a wildcard below its own', (own) => `${hintTopic(own)}/#`, 'mqtt-wildcard'],
    ['$SYS', () => '$SYS/#', 'mqtt-sys-topic'],
    ['a shared subscription', (own) => `$share/all/${hintTopic(own)}`, 'mqtt-sys-topic'],
  ])('subscribing to %s', async (_name, topic, code) => {
    await fresh();
    const client = await connected();
    client.subscribe(topic(id), { qos: 1 }, () => undefined);
    expect(await refusal()).toBe(code);
    const heard: string[] = [];
    client.on('message', (name) => heard.push(name));
    bed.events.emit({ kind: 'hint', id: 'cam-9999' });
    if (client.connected) await client.subscribeAsync(hintTopic(id), { qos: 1 }).catch(() => undefined);
    expect(heard).toEqual([]);
  });

  test('subscribing with QoS 2', async () => {
    await fresh();
    const client = await connected();
    client.subscribe(hintTopic(id), { qos: 2 }, () => undefined);
    expect(await refusal()).toBe('mqtt-qos-refused');
  });

  const own = (topic: (device: string) => string) => topic;
  test.each<[string, (device: string) => string, Buffer, { qos?: 0 | 1 | 2; retain?: boolean }, string]>([
    ["another device's status", () => statusTopic('cam-9999'), Buffer.from('x'), {}, 'mqtt-topic-not-own'],
    ['its own hint', own(hintTopic), Buffer.alloc(0), { qos: 1 }, 'mqtt-topic-not-own'],
    ['$SYS', () => '$SYS/x/new/clients', Buffer.from('x'), {}, 'mqtt-sys-topic'],
    ['a retained presence', own(presenceTopic), Buffer.from('here'), { qos: 1, retain: true }, 'mqtt-retain-refused'],
    ['a retained hint', own(hintTopic), Buffer.alloc(0), { qos: 1, retain: true }, 'mqtt-retain-refused'],
    ['QoS 2', own(presenceTopic), Buffer.from('here'), { qos: 2 }, 'mqtt-qos-refused'],
    ['to a wildcard', () => 'holdfast/#', Buffer.from('x'), {}, 'mqtt-wildcard'],
    ['one byte too many', own(statusTopic), Buffer.alloc(1025), {}, 'mqtt-payload-too-large'],
    ['a megabyte', own(statusTopic), Buffer.alloc(1024 * 1024), {}, 'mqtt-payload-too-large'],
    ['another word for here', own(presenceTopic), Buffer.from('HERE'), { qos: 1 }, 'mqtt-payload-malformed'],
  ])('publishing %s, which ends the connection', async (_name, topic, payload, options, code) => {
    await fresh();
    const client = await connected();
    const ended = goneFrom(client);
    client.publish(topic(id), payload, options, () => undefined);
    await ended;
    expect(await refusal()).toBe(code);
  });

  test('a status that is not one', async () => {
    await fresh();
    const client = await connected();
    const status = { state: 'downloading', slot: 'b', sequence: 2, doneBytes: 1, totalBytes: 2, extra: 1 };
    await client.publishAsync(statusTopic(id), new Encoder({ useRecords: false }).encode(status));
    expect(await refusal()).toBe('mqtt-payload-malformed');
  });

  test.each<[string, (device: string) => { topic: string; payload: Buffer; qos: 1; retain: boolean }, string]>([
    [
      "on another's topic",
      () => ({ topic: presenceTopic('cam-9999'), payload: Buffer.from('gone'), qos: 1, retain: false }),
      'mqtt-topic-not-own',
    ],
    [
      'that would be retained',
      (self) => ({ topic: presenceTopic(self), payload: Buffer.from('gone'), qos: 1, retain: true }),
      'mqtt-retain-refused',
    ],
    [
      'that says here',
      (self) => ({ topic: presenceTopic(self), payload: Buffer.from('here'), qos: 1, retain: false }),
      'mqtt-payload-malformed',
    ],
  ])('a last will %s', async (_name, will, code) => {
    await fresh();
    const client = bed.mqtt(device, { clientId: id, will: will(id) });
    await expect(next(client, 'connect')).rejects.toThrow(/Not authorized/);
    expect(await refusal()).toBe(code);
  });

  test('a session whose certificate was revoked, at once, and every later one', async () => {
    await fresh();
    const client = await connected();
    const ended = goneFrom(client);
    await bed.store.revokeDevice(id, 'tester', 'lost', bed.clock.now);
    bed.events.emit({ kind: 'revoked', id });
    await ended;
    expect(await refusal()).toBe('mqtt-device-revoked');
    await goneFrom(bed.mqtt(device, { clientId: id }));
  });
});

test('a session ends when its device comes with a renewed certificate, which takes the place', async () => {
  await fresh();
  const former = await connected();
  const key = await makeDeviceKey();
  const body = { protocol: 3, certificateRequest: base64url(key.request) };
  const answer = await device.send('POST', DEVICE_PATHS.credentialsRenew, body);
  const gone = goneFrom(former);
  const renewed = bed.device(key, String(answer.body.certificateChain));
  expect((await renewed.send('POST', DEVICE_PATHS.poll, poll)).status).toBe(200);
  await gone;
  expect(await refusal()).toBe('mqtt-certificate-refused');
  await goneFrom(bed.mqtt(device, { clientId: id }));
  device = renewed;
  (await connected()).end();
});

test('a renewed certificate is served, and still TLS 1.2 is not spoken', async () => {
  const files = { disk: nodeDisk, directory: join(bed.directory, 'pki'), nowUnixMs: () => Date.now() };
  bed.broker?.renewIdentity(
    await openServerCertificate(files, bed.serverAuthority, ['localhost', '127.0.0.1', 'renewed.example']),
  );
  const options = { host: '127.0.0.1', port: bed.broker?.port ?? 0, ca: bed.serverAuthority.pem };
  const modern = connect(options);
  await new Promise((resolve) => modern.once('secureConnect', resolve));
  expect(modern.getPeerCertificate().subjectaltname).toContain('renewed.example');
  modern.destroy();
  const old = connect({ ...options, maxVersion: 'TLSv1.2' });
  const error = await new Promise<Error>((resolve) => old.once('error', resolve));
  expect(error.message).toMatch(/protocol version|alert/i);
  await fresh();
  await connected();
});

test('TLS 1.2 is not spoken', async () => {
  const socket = connect({
    host: '127.0.0.1',
    port: bed.broker?.port ?? 0,
    ca: bed.serverAuthority.pem,
    maxVersion: 'TLSv1.2',
  });
  const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
  expect(error.message).toMatch(/protocol version|alert/i);
});

test('a device gone mad does not fill the audit log', async () => {
  await fresh();
  const client = await connected();
  for (let i = 0; i < 50; i += 1) await client.subscribeAsync('#').catch(() => undefined);
  const entries = await bed.store.listAudit({ limit: 200 });
  expect(entries.filter((entry) => entry.actor === `device:${id}` && entry.action === 'mqtt-refused')).toHaveLength(5);
  bed.clock.now += 30_000;
  await client.subscribeAsync('#').catch(() => undefined);
  await until(async () => {
    const [newest] = await bed.store.listAudit({ limit: 1 });
    return newest?.detail.includes('45 more like it were left out');
  });
});

test('every connection can be dropped, and devices come back', async () => {
  await fresh();
  const client = await connected();
  const ended = goneFrom(client);
  bed.broker?.dropAllConnections();
  await ended;
  await until(() => bed.broker?.sessionCount === 0);
  await connected();
});
