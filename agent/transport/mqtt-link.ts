/**
 * The fast path: a hint makes the agent poll now, its status and presence go up. Losing it costs latency and nothing
 * else: no decision hangs on anything received or not received here, and no error of it reaches the run loop.
 *
 * The connection is dialled and decided as every other (secure-connection.ts); the MQTT client gets the finished socket.
 * One client per connection; this file reconnects by itself, with growing pauses and jitter.
 */

import type { TLSSocket } from 'node:tls';
import type { IPublishPacket } from 'mqtt';
import { errorText } from '../../platform/fault.ts';
import {
  hintTopic,
  MQTT_PAYLOAD_CAP_BYTES,
  PRESENCE,
  presenceTopic,
  type StatusMessage,
  statusTopic,
} from '../../protocol/mqtt-topics.ts';
import { encodeCbor } from '../../trust/cbor.ts';
import { Backoff } from '../backoff.ts';
import type { Clock, Log, Random } from '../core/ports.ts';
import { addressOf } from './https-channel.ts';
import { MqttClient } from './mqtt-client.ts';
import { PacketGuard } from './packet-guard.ts';
import { type ClientIdentity, connectSecurely } from './secure-connection.ts';

/** A topic and a payload; nothing that a broker sends us is larger. */
const PACKET_CAP_BYTES = MQTT_PAYLOAD_CAP_BYTES + 512;
const KEEPALIVE_S = 60;
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
  #client: MqttClient | undefined;
  #running: Promise<void> | undefined;
  #connections = 0;

  constructor(ports: MqttLinkPorts, retry: { readonly baseMs: number; readonly capMs: number }) {
    this.#ports = ports;
    this.#backoff = new Backoff(ports.random, retry);
  }

  get connected(): boolean {
    return this.#client?.connected === true;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Says goodbye, so that the broker does not send the last will, and ends. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const client = this.#client;
    if (client?.connected === true) {
      await publish(client, presenceTopic(this.#ports.deviceId), PRESENCE.gone, 1).catch(() => {});
    }
    client?.end(true);
    await this.#running;
  }

  /** Dropped in silence while there is no connection: the next one says more than an old one. */
  publishStatus(status: StatusMessage): void {
    const client = this.#client;
    if (client?.connected !== true) return;
    publish(client, statusTopic(this.#ports.deviceId), Buffer.from(encodeStatus(status)), 0).catch(() => {});
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
    const { server, identity, onNotice } = this.#ports;
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
    const client = openClient(socket, this.#ports.deviceId);
    this.#client = client;
    client.on('connect', () => this.#greet(client));
    client.on('message', (topic, _payload, packet) => this.#receive(topic, packet));
    client.on('error', (error) => this.#ports.log.info('mqtt error', { why: errorText(error) }));
    await new Promise<void>((resolve) => client.once('close', resolve));
    client.end(true);
    this.#client = undefined;
  }

  #greet(client: MqttClient): void {
    const { deviceId, log, onHint } = this.#ports;
    this.#connections += 1;
    log.info('mqtt is here');
    const greeting = async (): Promise<void> => {
      await new Promise<void>((resolve, reject) => {
        client.subscribe(hintTopic(deviceId), { qos: 1 }, (error, granted) => {
          if (error !== null || granted?.some(({ qos }) => qos > 1))
            reject(error ?? new Error('the subscription was refused'));
          else resolve();
        });
      });
      await publish(client, presenceTopic(deviceId), PRESENCE.here, 1);
      if (this.#connections > 1) onHint();
    };
    greeting().catch((error: unknown) => {
      log.warn('mqtt greeting failed', { why: errorText(error) });
      client.end(true);
    });
  }

  #receive(topic: string, packet: IPublishPacket): void {
    const { deviceId, onHint, onNotice } = this.#ports;
    if (topic !== hintTopic(deviceId)) {
      onNotice('answer-malformed', `mqtt: a message on ${topic.slice(0, 120)}`);
    } else if (packet.retain) {
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

function openClient(socket: TLSSocket, deviceId: string): MqttClient {
  const guard = new PacketGuard(PACKET_CAP_BYTES);
  socket.on('data', (chunk: Buffer) => {
    if (!guard.allows(chunk))
      socket.destroy(new Error(`the broker announced a packet of more than ${PACKET_CAP_BYTES} bytes`));
  });
  return new MqttClient(() => socket, {
    clientId: deviceId,
    protocolVersion: 4,
    clean: true,
    keepalive: KEEPALIVE_S,
    connectTimeout: CONNACK_DEADLINE_MS,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    will: { topic: presenceTopic(deviceId), payload: Buffer.from(PRESENCE.gone), qos: 1, retain: false },
  });
}

function publish(client: MqttClient, topic: string, payload: string | Buffer, qos: 0 | 1): Promise<void> {
  return new Promise((resolve, reject) => {
    client.publish(topic, payload, { qos, retain: false }, (error) => (error ? reject(error) : resolve()));
  });
}
