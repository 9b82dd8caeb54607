/**
 * MQTT 3.1.1 (OASIS, 29 October 2014) as bytes: the six packets that a device sends, and the five that a broker may send
 * to it. Pure. A broker is not trusted: a packet that is longer than the cap is refused before it is gathered, and one
 * that is not listed here, or not exactly as the standard has it, ends the connection.
 *
 * May not: look at what a message carries. A hint carries nothing that counts.
 */
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';

/** §2.2.1, in the upper four bits of the first byte; the lower four are the flags that the standard fixes. */
const TYPE = { connack: 2, publish: 3, puback: 4, suback: 9, pingresp: 13 } as const;
const FIRST_BYTE = { connect: 0x10, publish: 0x30, puback: 0x40, subscribe: 0x82 } as const;
const LENGTH_BYTES_MOST = 4;
const QOS_AT_LEAST_ONCE = 1;

export const PINGREQ = Buffer.of(0xc0, 0);
export const DISCONNECT = Buffer.of(0xe0, 0);

export interface Message {
  readonly topic: string;
  readonly payload: string | Uint8Array;
}

export type BrokerPacket =
  | { readonly kind: 'connack'; readonly returnCode: number }
  | { readonly kind: 'suback'; readonly id: number; readonly granted: number }
  | { readonly kind: 'puback'; readonly id: number }
  | { readonly kind: 'publish'; readonly topic: string; readonly retained: boolean; readonly id: number | undefined }
  | { readonly kind: 'pingresp' };

/** §3.1. A clean session with a last will (at least once, not retained), no user name, no password. */
export function connectPacket(clientId: string, keepAliveS: number, will: Message): Buffer {
  const flags = { cleanSession: 0x02, will: 0x04, willQos: QOS_AT_LEAST_ONCE << 3 };
  return packet(
    FIRST_BYTE.connect,
    withLength('MQTT'),
    Buffer.of(4, flags.cleanSession | flags.will | flags.willQos),
    number16(keepAliveS),
    withLength(clientId),
    withLength(will.topic),
    withLength(will.payload),
  );
}

/** §3.8. One topic, at least once. */
export function subscribePacket(id: number, topic: string): Buffer {
  return packet(FIRST_BYTE.subscribe, number16(id), withLength(topic), Buffer.of(QOS_AT_LEAST_ONCE));
}

/** §3.3. Never retained; with an id at least once, without one at most once. */
export function publishPacket({ topic, payload }: Message, id?: number): Buffer {
  const content = Buffer.from(payload);
  if (id === undefined) return packet(FIRST_BYTE.publish, withLength(topic), content);
  return packet(FIRST_BYTE.publish | (QOS_AT_LEAST_ONCE << 1), withLength(topic), number16(id), content);
}

export function pubackPacket(id: number): Buffer {
  return packet(FIRST_BYTE.puback, number16(id));
}

/** Cuts what arrives into packets, however the network cut it. Useless after the first refusal. */
export class PacketReader {
  readonly #capBytes: number;
  #held = Buffer.alloc(0);

  /** `capBytes`: of a packet's body (§2.2.3, the remaining length). */
  constructor(capBytes: number) {
    this.#capBytes = capBytes;
  }

  /** The packets that are whole now. Refuses `input-too-large` and `answer-malformed`. */
  read(chunk: Buffer): Verdict<readonly BrokerPacket[]> {
    const packets: BrokerPacket[] = [];
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    for (;;) {
      const length = remainingLength(rest);
      if (length === 'malformed') return refuse('answer-malformed', 'a length that does not end');
      if (length === 'unfinished') break;
      if (length.value > this.#capBytes)
        return refuse('input-too-large', `a packet of ${length.value} bytes, and ${this.#capBytes} are permitted`);
      const end = length.bodyAt + length.value;
      if (rest.length < end) break;
      const decoded = decodeBody(rest[0] ?? 0, rest.subarray(length.bodyAt, end));
      if (decoded === undefined) return refuse('answer-malformed', `packet ${rest.subarray(0, 8).toString('hex')}`);
      packets.push(decoded);
      rest = rest.subarray(end);
    }
    // A copy: a few bytes must not keep the whole chunk alive.
    this.#held = Buffer.from(rest);
    return accept(packets);
  }
}

function decodeBody(firstByte: number, body: Buffer): BrokerPacket | undefined {
  const flags = firstByte & 0x0f;
  const type = firstByte >> 4;
  if (type === TYPE.publish) return decodePublish(flags, body);
  if (flags !== 0) return undefined;
  if (type === TYPE.pingresp && body.length === 0) return { kind: 'pingresp' };
  if (type === TYPE.connack && body.length === 2 && body.readUInt8(0) <= 1)
    return { kind: 'connack', returnCode: body.readUInt8(1) };
  if (type === TYPE.puback && body.length === 2) return { kind: 'puback', id: body.readUInt16BE(0) };
  if (type === TYPE.suback && body.length === 3)
    return { kind: 'suback', id: body.readUInt16BE(0), granted: body.readUInt8(2) };
  return undefined;
}

/** §3.3. More than "at least once" was never granted. */
function decodePublish(flags: number, body: Buffer): BrokerPacket | undefined {
  const qos = (flags >> 1) & 3;
  if (qos > QOS_AT_LEAST_ONCE || body.length < 2) return undefined;
  const topicEnd = 2 + body.readUInt16BE(0);
  if (topicEnd + 2 * qos > body.length) return undefined;
  const id = qos === 0 ? undefined : body.readUInt16BE(topicEnd);
  if (id === 0) return undefined;
  return { kind: 'publish', topic: body.toString('utf8', 2, topicEnd), retained: (flags & 1) === 1, id };
}

/** §2.2.3: seven bits a byte, the lowest first. */
function remainingLength(bytes: Buffer): { value: number; bodyAt: number } | 'unfinished' | 'malformed' {
  let value = 0;
  for (let index = 0; index < LENGTH_BYTES_MOST; index += 1) {
    const byte = bytes[1 + index];
    if (byte === undefined) return 'unfinished';
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, bodyAt: 2 + index };
  }
  return 'malformed';
}

function packet(firstByte: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const header = [firstByte];
  let left = body.length;
  do {
    header.push((left % 128) | (left > 127 ? 0x80 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.concat([Buffer.from(header), body]);
}

/** Throws a RangeError above 65,535: whoever builds a packet knows what goes into it. */
function number16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function withLength(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([number16(bytes.length), bytes]);
}
