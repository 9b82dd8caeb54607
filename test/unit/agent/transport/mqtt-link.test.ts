import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { Aedes, type AedesPublishPacket } from 'aedes';
import { Decoder } from 'cbor-x';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLog } from '../../../../agent/log.ts';
import { systemClock, systemRandom } from '../../../../agent/system-clock.ts';
import { MqttLink } from '../../../../agent/transport/mqtt-link.ts';
import { hintTopic, presenceTopic, statusTopic } from '../../../../protocol/mqtt-topics.ts';
import { authority, deviceCertificate, type IssuedCertificate, serverCertificate } from '../test-authority.ts';

const ID = 'cam-0001';
let broker: Aedes;
let server: Server;
let ca: IssuedCertificate;
let device: IssuedCertificate;
let port: number;
const links: MqttLink[] = [];

async function listen(leaf: IssuedCertificate, at = 0): Promise<number> {
  server = createServer(
    {
      key: leaf.privateKeyPem,
      cert: leaf.certificatePem,
      ca: ca.certificatePem,
      requestCert: true,
      rejectUnauthorized: true,
    },
    (socket) => void broker.handle(socket),
  );
  server.on('tlsClientError', () => {});
  server.listen(at, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

beforeEach(async () => {
  ca = await authority();
  device = await deviceCertificate(ca, ID);
  broker = await Aedes.createBroker();
  port = await listen(await serverCertificate(ca));
});
afterEach(async () => {
  for (const link of links.splice(0)) await link.stop();
  await new Promise<void>((resolve) => broker.close(() => resolve()));
  server.close();
});

function linkTo(name = 'localhost') {
  const seen = { hints: 0, notices: [] as string[] };
  const link = new MqttLink(
    {
      clock: systemClock('host'),
      random: systemRandom,
      log: silentLog,
      deviceId: ID,
      identity: () => ({ privateKeyPem: device.privateKeyPem, certificateChainPem: device.certificatePem }),
      server: () => ({ mqttUrl: `mqtts://${name}:${port}`, anchors: [ca.certificatePem] }),
      onHint: () => {
        seen.hints += 1;
      },
      onNotice: (code) => {
        seen.notices.push(code);
      },
    },
    { baseMs: 20, capMs: 50 },
  );
  links.push(link);
  link.start();
  return { link, seen };
}

const publish = (packet: Partial<AedesPublishPacket>) =>
  new Promise<void>((resolve) =>
    broker.publish(
      { cmd: 'publish', qos: 0, retain: false, dup: false, topic: '', payload: '', ...packet } as AedesPublishPacket,
      () => resolve(),
    ),
  );
const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 20_000, interval: 20 });
const published = (topic: string): Buffer[] => {
  const found: Buffer[] = [];
  broker.on('publish', (packet) => {
    if (packet.topic === topic) found.push(Buffer.from(packet.payload));
  });
  return found;
};

describe('the MQTT link', () => {
  it('says that it is here, and takes a hint whatever it carries', async () => {
    const presence = published(presenceTopic(ID));
    const { seen } = linkTo();
    await until(() => presence.length === 1);
    expect(presence[0]?.toString()).toBe('here');
    await publish({ topic: hintTopic(ID), payload: Buffer.from('{"run":"rm -rf /"}'), qos: 1 });
    await until(() => seen.hints === 1);
    expect(seen.notices).toEqual([]);
  });

  it('refuses a hint that the broker had kept, and does not poll for it', async () => {
    await publish({ topic: hintTopic(ID), payload: Buffer.from('x'), retain: true });
    const { seen } = linkTo();
    await until(() => seen.notices.length === 1);
    expect(seen.notices).toEqual(['hint-retained']);
    expect(seen.hints).toBe(0);
    await publish({ topic: hintTopic(ID) });
    await until(() => seen.hints === 1);
  });

  it('sends its status as one plain CBOR map', async () => {
    const presence = published(presenceTopic(ID));
    const status = published(statusTopic(ID));
    const { link } = linkTo();
    await until(() => presence.length === 1);
    const message = {
      state: 'downloading',
      slot: 'a',
      sequence: 2,
      doneBytes: 5_000_000_000,
      totalBytes: 9_000_000_000,
    } as const;
    link.publishStatus(message);
    await until(() => status.length === 1);
    expect(
      new Decoder({ mapsAsObjects: true, useRecords: false, int64AsNumber: true } as object).decode(
        status[0] ?? Buffer.alloc(0),
      ),
    ).toEqual(message);
  });

  it('comes back after the broker dropped it, and polls, because hints may have been missed', async () => {
    const presence = published(presenceTopic(ID));
    const { seen } = linkTo();
    await until(() => presence.length === 1);
    for (const client of Object.values(
      (broker as unknown as { clients: Record<string, { conn: { destroy(): void } }> }).clients,
    ))
      client.conn.destroy();
    await until(() => presence.length === 3);
    expect(presence.map(String)).toEqual(['here', 'gone', 'here']);
    await until(() => seen.hints === 1);
  });

  it('comes back after the broker was away', async () => {
    const { link } = linkTo();
    await until(() => link.connected);
    const leaf = await serverCertificate(ca);
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    server.close();
    await until(() => !link.connected);
    broker = await Aedes.createBroker();
    await listen(leaf, port);
    await until(() => link.connected);
  });

  it('sends nothing to a broker that is not ours, and says why', async () => {
    server.close();
    const connected: unknown[] = [];
    broker.on('client', (client) => connected.push(client));
    port = await listen(await serverCertificate(ca, { dns: ['other.example'] }));
    const { seen } = linkTo();
    await until(() => seen.notices.length > 1);
    expect(new Set(seen.notices)).toEqual(new Set(['server-name-mismatch']));
    expect(connected).toEqual([]);
  });

  it('says goodbye when it is stopped', async () => {
    const presence = published(presenceTopic(ID));
    const { link } = linkTo();
    await until(() => presence.length === 1);
    await link.stop();
    expect(presence.map(String)).toEqual(['here', 'gone']);
  });

  it('leaves a broker that announces a packet larger than any of ours', async () => {
    const { link, seen } = linkTo();
    await until(() => link.connected);
    await publish({ topic: hintTopic(ID), payload: Buffer.alloc(100_000), qos: 0 });
    await until(() => !link.connected);
    expect(seen.hints).toBe(0);
    await until(() => link.connected);
  });
});
