/**
 * One MQTT session over one finished connection: from CONNECT until the connection ends, one way or another. It never
 * reconnects; whoever opened it opens another (mqtt-link.ts).
 *
 *   - Clean session: nothing outlives the connection, so nothing is sent twice and no packet is kept.
 *   - One timer: a ping each `keepAliveMs`, which at the same time finds out whether the last one was answered. A silent
 *     broker is noticed within two of them, and no second timer wakes the device.
 *   - Every promise that it gave is settled when it ends.
 */
import type { Duplex } from 'node:stream';
import { errorText } from '../../platform/fault.ts';
import { type Clock, SourceUnreachable } from '../core/ports.ts';
import {
  type BrokerPacket,
  connectPacket,
  DISCONNECT,
  type Message,
  PacketReader,
  PINGREQ,
  pubackPacket,
  publishPacket,
  subscribePacket,
} from './mqtt-packets.ts';

/** A broker that sends and never reads: what waits for it may not grow for ever. */
const UNSENT_CAP_BYTES = 64 * 1024;
const LAST_PACKET_ID = 0xffff;

export interface SessionSettings {
  readonly clock: Pick<Clock, 'sleep'>;
  readonly clientId: string;
  /** Published by the broker when the connection ends without `goodbye`. */
  readonly will: Message;
  /** A whole number of seconds. */
  readonly keepAliveMs: number;
  readonly connectDeadlineMs: number;
  /** Of what the broker sends. */
  readonly packetCapBytes: number;
  readonly onMessage: (topic: string, retained: boolean) => void;
}

interface Awaited {
  readonly kind: BrokerPacket['kind'];
  readonly settle: (answer: BrokerPacket | SourceUnreachable) => void;
}

export class MqttSession {
  readonly #socket: Duplex;
  readonly #settings: SessionSettings;
  readonly #reader: PacketReader;
  /** What was asked and not answered yet, by packet id; CONNECT, which has none, by 0. */
  readonly #awaited = new Map<number, Awaited>();
  readonly #over = new AbortController();
  #lastId = 0;
  #pingUnanswered = false;
  /** Why it ended. Never rejects. */
  readonly ended: Promise<string>;

  private constructor(socket: Duplex, settings: SessionSettings) {
    this.#socket = socket;
    this.#settings = settings;
    this.#reader = new PacketReader(settings.packetCapBytes);
    this.ended = new Promise((resolve) => {
      this.#over.signal.addEventListener('abort', () => resolve(String(this.#over.signal.reason)));
    });
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end(errorText(error)));
    socket.on('close', () => this.#end('the connection closed'));
  }

  /** Throws SourceUnreachable when the broker does not take the session in time. The socket belongs to it from here on. */
  static async open(socket: Duplex, settings: SessionSettings): Promise<MqttSession> {
    const { clock, clientId, will, keepAliveMs, connectDeadlineMs } = settings;
    const session = new MqttSession(socket, settings);
    const answered = new AbortController();
    void clock.sleep(connectDeadlineMs, AbortSignal.any([answered.signal, session.#over.signal])).then(() => {
      if (!answered.signal.aborted) session.#end(`no CONNACK within ${connectDeadlineMs} ms`);
    });
    try {
      const answer = await session.#ask(0, 'connack', connectPacket(clientId, keepAliveMs / 1000, will));
      if (answer.kind === 'connack' && answer.returnCode !== 0) {
        session.#end(`the broker refuses this device, with code ${answer.returnCode}`);
        throw new SourceUnreachable(await session.ended);
      }
    } finally {
      answered.abort();
    }
    void session.#keepAlive();
    return session;
  }

  /** Hints, say. Throws SourceUnreachable when the broker refuses or the session ends. */
  async subscribe(topic: string): Promise<void> {
    const id = this.#nextId();
    const answer = await this.#ask(id, 'suback', subscribePacket(id, topic));
    if (answer.kind === 'suback' && answer.granted > 1) throw new SourceUnreachable('the subscription was refused');
  }

  /** Until the broker has it. Throws SourceUnreachable when the session ends before. */
  async publish(message: Message): Promise<void> {
    const id = this.#nextId();
    await this.#ask(id, 'puback', publishPacket(message, id));
  }

  /** At most once: whether it arrives is not known. */
  publishUnconfirmed(message: Message): void {
    this.#send(publishPacket(message));
  }

  /** Ends in order, so that the broker keeps the last will to itself. */
  async goodbye(): Promise<void> {
    if (this.#over.signal.aborted) return;
    this.#socket.end(DISCONNECT, () => this.abandon());
    await this.ended;
  }

  abandon(): void {
    this.#end('it was ended');
  }

  #ask(id: number, kind: BrokerPacket['kind'], bytes: Buffer): Promise<BrokerPacket> {
    return new Promise((resolve, reject) => {
      if (this.#over.signal.aborted) return reject(new SourceUnreachable(String(this.#over.signal.reason)));
      const settle: Awaited['settle'] = (answer) => (answer instanceof Error ? reject(answer) : resolve(answer));
      this.#awaited.set(id, { kind, settle });
      this.#send(bytes);
    });
  }

  #send(bytes: Buffer): void {
    if (this.#over.signal.aborted) return;
    this.#socket.write(bytes);
    if (this.#socket.writableLength > UNSENT_CAP_BYTES) this.#end('the broker reads nothing');
  }

  #receive(chunk: Buffer): void {
    if (this.#over.signal.aborted) return;
    const verdict = this.#reader.read(chunk);
    if (!verdict.ok) {
      this.#end(`${verdict.code}: ${verdict.detail}`);
      return;
    }
    for (const packet of verdict.value) {
      if (packet.kind === 'publish') this.#deliver(packet);
      else if (packet.kind === 'pingresp') this.#pingUnanswered = false;
      else this.#answer(packet);
    }
  }

  #deliver({ topic, retained, id }: Extract<BrokerPacket, { kind: 'publish' }>): void {
    this.#settings.onMessage(topic, retained);
    if (id !== undefined) this.#send(pubackPacket(id));
  }

  #answer(packet: Extract<BrokerPacket, { kind: 'connack' | 'suback' | 'puback' }>): void {
    const id = packet.kind === 'connack' ? 0 : packet.id;
    const awaited = this.#awaited.get(id);
    if (awaited?.kind === packet.kind) {
      this.#awaited.delete(id);
      awaited.settle(packet);
    } else {
      this.#end(`answer-malformed: a ${packet.kind} that nobody waits for`);
    }
  }

  async #keepAlive(): Promise<void> {
    const { clock, keepAliveMs } = this.#settings;
    const { signal } = this.#over;
    for (;;) {
      await clock.sleep(keepAliveMs, signal);
      if (signal.aborted) return;
      if (this.#pingUnanswered) return this.#end('the broker left a ping without an answer');
      this.#pingUnanswered = true;
      this.#send(PINGREQ);
    }
  }

  /** §2.3.1: from 1 to 65,535, and none that still waits for its answer. */
  #nextId(): number {
    do this.#lastId = (this.#lastId % LAST_PACKET_ID) + 1;
    while (this.#awaited.has(this.#lastId));
    return this.#lastId;
  }

  #end(why: string): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort(why);
    this.#socket.destroy();
    for (const { settle } of this.#awaited.values()) settle(new SourceUnreachable(why));
    this.#awaited.clear();
  }
}
