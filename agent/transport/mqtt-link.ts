/**
 * The fast path: a hint makes the agent poll now, its status and presence go up. Losing it costs latency and nothing
 * else: no decision hangs on anything received or not received here, and no error of it reaches the run loop.
 *
 * The connection is dialled and decided as every other (secure-connection.ts); the session (mqtt-session.ts) gets the
 * finished socket. One session per connection; this file reconnects by itself, with growing pauses and jitter.
 */
import { errorText } from '../../platform/fault.ts';
import {
  hintTopic,
  MQTT_PAYLOAD_CAP_BYTES,
  PRESENCE,
  presenceTopic,
  type StatusMessage,
  statusTopic,
} from '../../protocol/mqtt-topics.ts';
import { equalBytes } from '../../trust/bytes.ts';
import { encodeCbor } from '../../trust/cbor.ts';
import { Backoff } from '../backoff.ts';
import type { Clock, Log, Random } from '../core/ports.ts';
import { addressOf } from './https-channel.ts';
import type { Message } from './mqtt-packets.ts';
import { MqttSession, type SessionSettings } from './mqtt-session.ts';
import { type ClientIdentity, connectSecurely } from './secure-connection.ts';

/** A topic and a payload; nothing that a broker sends us is larger. */
const PACKET_CAP_BYTES = MQTT_PAYLOAD_CAP_BYTES + 512;
/**
 * Each ping wakes device and radio. Below the five minutes after which the impatient ones among routers and load
 * balancers forget a connection; the broker notices a device that vanished after one and a half of it.
 */
const KEEP_ALIVE_MS = 240_000;
const CONNACK_DEADLINE_MS = 15_000;
/** A connection that stood this long was a good one: the next pause is short again. */
const STEADY_MS = 10_000;

export interface MqttLinkPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly deviceId: string;
  readonly identity: () => ClientIdentity | undefined;
  /** Asked before every connection; undefined when there is no broker to talk to. */
  readonly server: () => { readonly mqttUrl: string; readonly anchors: readonly string[] } | undefined;
  /** Poll now. Also called after a reconnection, because hints may have been missed. */
  readonly onHint: () => void;
  /** Something was refused, or is worth telling: a code and words. */
  readonly onNotice: (code: string, detail: string) => void;
}

export class MqttLink {
  readonly #ports: MqttLinkPorts;
  readonly #backoff: Backoff;
  readonly #stopping = new AbortController();
  #session: MqttSession | undefined;
  #greeted = false;
  #status: Uint8Array | undefined;
  #running: Promise<void> | undefined;
  #connections = 0;

  constructor(ports: MqttLinkPorts, retry: { readonly baseMs: number; readonly capMs: number }) {
    this.#ports = ports;
    this.#backoff = new Backoff(ports.random, retry);
  }

  /** A hint would arrive. */
  get connected(): boolean {
    return this.#greeted;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Says goodbye, so that the broker does not send the last will, and ends. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const session = this.#session;
    await session?.publish({ topic: presenceTopic(this.#ports.deviceId), payload: PRESENCE.gone }).catch(() => {});
    await session?.goodbye();
    await this.#running;
  }

  /** Sent when it is news to this connection; without one, at the next. */
  publishStatus(status: StatusMessage): void {
    const payload = encodeStatus(status);
    if (this.#status !== undefined && equalBytes(payload, this.#status)) return;
    this.#status = payload;
    if (this.#greeted) this.#session?.publishUnconfirmed(this.#statusMessage(payload));
  }

  #statusMessage(payload: Uint8Array): Message {
    return { topic: statusTopic(this.#ports.deviceId), payload };
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#ports;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const startedMs = clock.monotonicMs();
      try {
        await this.#oneConnection();
      } catch (error) {
        log.info('mqtt is away', { why: errorText(error) });
      }
      if (clock.monotonicMs() - startedMs > STEADY_MS) this.#backoff.succeeded();
      if (!signal.aborted) await clock.sleep(this.#backoff.nextPauseMs(), signal);
    }
  }

  /** Ends when the connection ends, one way or another. */
  async #oneConnection(): Promise<void> {
    const { server, identity, log, onNotice } = this.#ports;
    const broker = server();
    if (broker === undefined) return;
    const verdict = await connectSecurely(addressOf(new URL(broker.mqttUrl), broker.anchors, 8883), identity());
    if (!verdict.ok) {
      onNotice(verdict.code, `mqtt: ${verdict.detail}`);
      return;
    }
    const { socket, outOfDates, detail } = verdict.value;
    if (outOfDates) onNotice('server-certificate-out-of-dates', `mqtt: ${detail}`);
    if (this.#stopping.signal.aborted) {
      socket.destroy();
      return;
    }
    const session = await MqttSession.open(socket, this.#settings());
    if (this.#stopping.signal.aborted) return session.goodbye();
    this.#session = session;
    try {
      await this.#greet(session);
      log.info('mqtt is here');
      log.info('mqtt is away', { why: await session.ended });
    } finally {
      this.#greeted = false;
      this.#session = undefined;
      session.abandon();
    }
  }

  async #greet(session: MqttSession): Promise<void> {
    const { deviceId, onHint } = this.#ports;
    await session.subscribe(hintTopic(deviceId));
    await session.publish({ topic: presenceTopic(deviceId), payload: PRESENCE.here });
    this.#greeted = true;
    if (this.#status !== undefined) session.publishUnconfirmed(this.#statusMessage(this.#status));
    this.#connections += 1;
    if (this.#connections > 1) onHint();
  }

  #settings(): SessionSettings {
    const { deviceId, clock } = this.#ports;
    return {
      clock,
      clientId: deviceId,
      will: { topic: presenceTopic(deviceId), payload: PRESENCE.gone },
      keepAliveMs: KEEP_ALIVE_MS,
      connectDeadlineMs: CONNACK_DEADLINE_MS,
      packetCapBytes: PACKET_CAP_BYTES,
      onMessage: (topic, retained) => this.#receive(topic, retained),
    };
  }

  #receive(topic: string, retained: boolean): void {
    const { deviceId, onHint, onNotice } = this.#ports;
    if (topic !== hintTopic(deviceId)) {
      onNotice('answer-malformed', `mqtt: a message on ${topic.slice(0, 120)}`);
    } else if (retained) {
      // A kept hint would make a device poll at every connection, for ever: somebody writes where only hints belong.
      onNotice('hint-retained', 'the broker had kept a hint');
    } else {
      // Whatever it carries is not looked at.
      onHint();
    }
  }
}

/** One plain map. With the encoder of the trust path, which is in the agent already: cbor-x would be 30 KB more. */
function encodeStatus(status: StatusMessage): Uint8Array {
  return encodeCbor(new Map<string, string | number | null>(Object.entries(status)));
}
