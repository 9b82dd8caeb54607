import fc from 'fast-check';
import { generate, type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import {
  type BrokerPacket,
  connectPacket,
  DISCONNECT,
  PacketReader,
  PINGREQ,
  pubackPacket,
  publishPacket,
  subscribePacket,
} from '../../../../agent/transport/mqtt-packets.ts';

const Topic = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 });
const Id = fc.integer({ min: 1, max: 0xffff });
const Payload = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const MQTT_3_1_1 = { protocolVersion: 4 } as const;

/** What the reference implementation makes of the bytes that we send. */
function referenceReads(bytes: Buffer): Packet[] {
  const found: Packet[] = [];
  const reader = parser(MQTT_3_1_1);
  reader.on('packet', (packet) => found.push(packet));
  reader.on('error', (error) => {
    throw error;
  });
  expect(reader.parse(bytes)).toBe(0);
  return found;
}

/** What we make of the bytes, handed over in pieces of `step`. A string is the code of a refusal. */
function read(bytes: Buffer, step = bytes.length, capBytes = 2000): readonly BrokerPacket[] | string {
  const reader = new PacketReader(capBytes);
  const found: BrokerPacket[] = [];
  for (let at = 0; at < bytes.length; at += step) {
    const verdict = reader.read(bytes.subarray(at, at + step));
    if (!verdict.ok) return verdict.code;
    found.push(...verdict.value);
  }
  return found;
}

describe('what a device sends, as mqtt-packet reads it', () => {
  it('connects with a clean session and a last will', () => {
    fc.assert(
      fc.property(Topic, Topic, Payload, fc.nat(0xffff), (clientId, topic, payload, keepalive) => {
        const will = { topic, payload, qos: 1, retain: false };
        expect(referenceReads(connectPacket(clientId, keepalive, { topic, payload }))).toEqual([
          expect.objectContaining({ cmd: 'connect', protocolVersion: 4, clean: true, clientId, keepalive, will }),
        ]);
      }),
    );
  });

  it('publishes with an id at least once, without one at most once, never retained', () => {
    fc.assert(
      fc.property(Topic, Payload, fc.option(Id, { nil: undefined }), (topic, payload, id) => {
        const [packet, ...more] = referenceReads(publishPacket({ topic, payload }, id));
        expect(packet).toMatchObject({ cmd: 'publish', topic, payload, qos: id === undefined ? 0 : 1, retain: false });
        expect([packet?.messageId, more]).toEqual([id, []]);
      }),
    );
  });

  it('subscribes, acknowledges, pings and says goodbye', () => {
    expect(
      referenceReads(Buffer.concat([subscribePacket(7, 'a/hint'), pubackPacket(8), PINGREQ, DISCONNECT])),
    ).toMatchObject([
      { cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'a/hint', qos: 1 }] },
      { cmd: 'puback', messageId: 8 },
      { cmd: 'pingreq' },
      { cmd: 'disconnect' },
    ]);
  });
});

const FromBroker: fc.Arbitrary<readonly [Packet, BrokerPacket]> = fc.oneof(
  fc.tuple(Id, fc.constantFrom(0, 1, 0x80)).map(([id, granted]) => {
    return [{ cmd: 'suback', messageId: id, granted: [granted] } as Packet, { kind: 'suback', id, granted }] as const;
  }),
  fc.tuple(fc.boolean(), fc.nat(5)).map(([sessionPresent, returnCode]) => {
    return [{ cmd: 'connack', sessionPresent, returnCode } as Packet, { kind: 'connack', returnCode }] as const;
  }),
  Id.map((id) => [{ cmd: 'puback', messageId: id } as Packet, { kind: 'puback', id }] as const),
  fc.constant([{ cmd: 'pingresp' }, { kind: 'pingresp' }] as const),
  fc.tuple(Topic, Payload, fc.boolean(), fc.option(Id, { nil: undefined })).map(([topic, payload, retain, id]) => {
    const qos = id === undefined ? 0 : 1;
    const packet = { cmd: 'publish', topic, payload, retain, qos, dup: false, messageId: id } as Packet;
    return [packet, { kind: 'publish', topic, retained: retain, id }] as const;
  }),
);

describe('what a broker sends, as mqtt-packet writes it', () => {
  it('is read as it was meant, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(FromBroker, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 40 }),
        (all, step) => {
          const bytes = Buffer.concat(all.map(([packet]) => generate(packet, MQTT_3_1_1)));
          const meant = all.map(([, packet]) => packet);
          expect(read(bytes, step)).toEqual(meant);
          expect(read(bytes)).toEqual(meant);
        },
      ),
    );
  });

  it('ends in a refusal or in packets, whatever it is', () => {
    fc.assert(
      fc.property(Payload, (bytes) => {
        const found = read(bytes, 3, 100);
        if (typeof found === 'string') expect(['answer-malformed', 'input-too-large']).toContain(found);
      }),
      { numRuns: 2000 },
    );
  });

  it('is refused at its announcement when it is longer than the cap', () => {
    const announced = (length: number) => Buffer.of(0x30, (length & 0x7f) | 0x80, length >> 7);
    expect(read(announced(1000), 3, 1000)).toEqual([]);
    expect(read(announced(1001), 3, 1000)).toBe('input-too-large');
  });

  it.each([
    ['a length that does not end', '3080808080'],
    ['a reserved packet type', '0000'],
    ['a packet that only devices send', 'c000'],
    ['flags where none are permitted', 'd100'],
    ['a ping answer with a body', 'd00100'],
    ['a CONNACK with reserved bits', '20020200'],
    ['a CONNACK that is too short', '200100'],
    ['a PUBACK that is too long', '4003000100'],
    ['a SUBACK for two topics', '900400010101'],
    ['a message at quality 2, which was never granted', '34070001610001782a'],
    ['a message at quality 3', '36070001610001782a'],
    ['a message whose topic is longer than the packet', '3003000561'],
    ['a message without room for its id', '3203000161'],
    ['a message with the id 0', '32050001610000'],
  ])('is refused: %s', (_what, hex) => {
    expect(read(Buffer.from(hex, 'hex'))).toBe('answer-malformed');
  });
});
