/**
 * The MQTT listener: aedes behind TLS 1.3 with client certificates of the device authority. The certificate says who it
 * is; the rules (rules.ts) say what it may do; a refused subscription is answered with 0x80, a refused message ends the
 * connection (MQTT 3.1.1 has no other way to refuse one). No session and no message is kept: a hint that is lost costs
 * latency, never correctness.
 */
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { Aedes, type AedesPublishPacket, type AuthenticateError, type Client, type ConnectPacket } from 'aedes';
import { hintTopic, presenceTopic, statusTopic } from '../../protocol/mqtt-topics.ts';
import type { ServerEvents } from '../core/events.ts';
import type { ServerClock, Store } from '../core/ports.ts';
import type { CertificateAuthority } from '../pki/certificate-authority.ts';
import type { ServerIdentity } from '../pki/server-certificate.ts';
import { tlsForDevices } from '../pki/tls-options.ts';
import { checkStanding, identifyConnection } from './connection-check.ts';
import { FrameGate } from './frame-gate.ts';
import { RefusalLog, type RefusalLogPorts } from './refusal-log.ts';
import {
  decidePublish,
  decideSubscribe,
  decideWill,
  decodePresence,
  type Message,
  MQTT_FRAME_CAP_BYTES,
  type MqttRefusal,
} from './rules.ts';
import { type Session, Sessions } from './sessions.ts';
import { decodeStatus } from './status.ts';
import { Telemetry } from './telemetry.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** A device that vanished without a word is noticed after at most one and a half times this. */
const KEEPALIVE_LIMIT_S = 600;
const CONNACK = { identifierRejected: 2, notAuthorised: 5 } as const;

export interface BrokerPorts extends RefusalLogPorts {
  readonly store: Pick<Store, 'findCertificate' | 'recordPresence' | 'recordStatus' | 'appendAudit'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly deviceAuthority: CertificateAuthority;
}

export class MqttBroker {
  readonly #ports: BrokerPorts;
  readonly #aedes: Aedes;
  readonly #server: Server;
  readonly #refusals: RefusalLog;
  readonly #sessions = new Sessions();
  readonly #telemetry: Telemetry;
  readonly #sockets = new Set<TLSSocket>();
  readonly #byConnection = new WeakMap<object, Session>();
  readonly #connectPackets = new WeakMap<Client, ConnectPacket>();
  readonly #unsubscribe: () => void;

  private constructor(identity: ServerIdentity, ports: BrokerPorts) {
    this.#ports = ports;
    this.#refusals = new RefusalLog(ports);
    this.#telemetry = new Telemetry(ports, this.#sessions);
    this.#aedes = new Aedes({
      connectTimeout: CONNECT_TIMEOUT_MS,
      keepaliveLimit: KEEPALIVE_LIMIT_S,
      maxTopicLevels: 8,
      queueLimit: 16,
      preConnect: (client, packet, done) => {
        // No session outlives its connection: nothing of a refused subscription may be kept for later.
        packet.clean = true;
        this.#connectPackets.set(client, packet);
        done(null, true);
      },
      authenticate: (client, _user, _password, done) => this.#authenticate(client, done),
      authorizeSubscribe: (client, subscription, done) => {
        const session = this.#sessionOf(client);
        const code = decideSubscribe(session.identity.deviceId, subscription.topic, subscription.qos);
        if (code !== undefined) this.#refuse(session, code, `subscribe to ${subscription.topic}`);
        done(null, code === undefined ? subscription : null);
      },
      authorizePublish: (client, packet, done) => {
        const refusal = client === null ? undefined : this.#judge(client, packet);
        done(refusal === undefined ? null : new Error(refusal));
      },
      // The second barrier: whatever a subscription says, only its own hints reach a device.
      authorizeForward: (client, packet) =>
        packet.topic === hintTopic(client.id) && !packet.retain ? packet : undefined,
    });
    this.#server = createServer(tlsForDevices(identity, ports.deviceAuthority), (socket) => this.#accept(socket));
    this.#listen();
    this.#unsubscribe = ports.events.subscribe((event) => {
      if (event.kind === 'hint') this.#hint(event.id);
      if (event.kind === 'revoked') this.#endSessions(event.id);
    });
  }

  /** Throws the system's error when the port is taken. */
  static async start(identity: ServerIdentity, ports: BrokerPorts, host: string, port: number): Promise<MqttBroker> {
    const broker = new MqttBroker(identity, ports);
    await broker.#aedes.listen();
    try {
      await new Promise<void>((resolve, reject) => {
        broker.#server.once('error', reject);
        broker.#server.listen(port, host, () => {
          broker.#server.off('error', reject);
          resolve();
        });
      });
    } catch (error) {
      await broker.close();
      throw error;
    }
    return broker;
  }

  get port(): number {
    const address = this.#server.address() as AddressInfo | null;
    return address?.port ?? 0;
  }

  get sessionCount(): number {
    return this.#sessions.all().filter((session) => session.ready).length;
  }

  renewIdentity(identity: ServerIdentity): void {
    this.#server.setSecureContext(tlsForDevices(identity, this.#ports.deviceAuthority));
  }

  /** Cuts every connection, as a restart of a broker in the field would. Devices come back by themselves. */
  dropAllConnections(): void {
    for (const socket of [...this.#sockets]) socket.destroy();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.dropAllConnections();
    await new Promise<void>((resolve) => this.#aedes.close(() => resolve()));
    await closed;
    await this.#telemetry.settle();
  }

  #listen(): void {
    this.#server.on('connection', (socket) => socket.on('error', () => undefined));
    this.#server.on('tlsClientError', (error, socket) => {
      this.#ports.log.warn({ reason: error.message, address: socket.remoteAddress }, 'mqtt handshake failed');
    });
    this.#aedes.on('clientReady', (client) => {
      const session = this.#sessionOf(client);
      session.ready = true;
      this.#telemetry.notePresence(session.identity.deviceId);
    });
    this.#aedes.on('clientError', (client, error) => {
      // These topics are refused by the broker before the rules are asked.
      if (/[+#] is (?:not|only) allowed/.test(error.message)) {
        this.#refuse(this.#sessionOf(client), 'mqtt-wildcard', error.message);
      }
    });
    this.#aedes.on('publish', (packet, client) => {
      if (client !== null) this.#take(this.#sessionOf(client), packet);
    });
  }

  #accept(socket: TLSSocket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    this.#identify(socket).catch((error: unknown) => {
      this.#ports.log.warn({ err: error }, 'an mqtt connection could not be checked');
      socket.destroy();
    });
  }

  async #identify(socket: TLSSocket): Promise<void> {
    const identified = identifyConnection(socket, this.#ports.deviceAuthority);
    if (!identified.ok) {
      this.#turnAway(socket, `address:${socket.remoteAddress ?? 'unknown'}`, identified.code, identified.detail);
      return;
    }
    const { deviceId } = identified.value;
    const session = this.#sessions.open(identified.value, socket);
    if (session === undefined) {
      this.#turnAway(socket, `device:${deviceId}`, 'mqtt-too-many-sessions', 'connection');
      return;
    }
    // Known before the store is asked: a revocation in between finds the session and ends it.
    socket.once('close', () => {
      this.#sessions.close(session);
      if (session.ready) this.#telemetry.notePresence(deviceId);
    });
    const standing = await checkStanding(this.#ports, identified.value);
    if (!standing.ok) this.#turnAway(socket, `device:${deviceId}`, standing.code, standing.detail);
    else if (!socket.destroyed) this.#admit(socket, session);
  }

  #turnAway(socket: TLSSocket, peer: string, code: MqttRefusal, detail: string): void {
    this.#refusals.record(peer, code, detail);
    socket.destroy();
  }

  #admit(socket: TLSSocket, session: Session): void {
    const gate = new FrameGate(socket, MQTT_FRAME_CAP_BYTES, () =>
      this.#refuse(session, 'mqtt-payload-too-large', 'a frame above the cap'),
    );
    this.#byConnection.set(gate, session);
    this.#aedes.handle(gate);
  }

  #authenticate(client: Client, done: (error: AuthenticateError | null, success: boolean | null) => void): void {
    const session = this.#sessionOf(client);
    const code = this.#judgeConnect(session, client);
    if (code === undefined) {
      done(null, true);
      return;
    }
    this.#refuse(session, code, `connect as ${client.id.slice(0, 80)}`);
    const returnCode = code === 'mqtt-client-id-mismatch' ? CONNACK.identifierRejected : CONNACK.notAuthorised;
    done(Object.assign(new Error(code), { returnCode }), null);
  }

  #judgeConnect(session: Session, client: Client): MqttRefusal | undefined {
    const { deviceId } = session.identity;
    if (client.id !== deviceId) return 'mqtt-client-id-mismatch';
    if (this.#sessions.heldByAnother(session.identity)) return 'mqtt-takeover-refused';
    const will = this.#connectPackets.get(client)?.will;
    return will === undefined || will === null ? undefined : decideWill(deviceId, messageOf(will));
  }

  #judge(
    client: Client,
    packet: { topic: string; payload: string | Buffer; qos?: number; retain?: boolean },
  ): MqttRefusal | undefined {
    const session = this.#sessionOf(client);
    const code = decidePublish(session.identity.deviceId, messageOf(packet));
    if (code !== undefined) this.#refuse(session, code, `publish to ${packet.topic}`);
    return code;
  }

  #take(session: Session, packet: AedesPublishPacket): void {
    const { deviceId } = session.identity;
    const { payload } = messageOf(packet);
    if (packet.topic === presenceTopic(deviceId)) {
      session.said = decodePresence(payload) ?? session.said;
      this.#telemetry.notePresence(deviceId);
    } else if (packet.topic === statusTopic(deviceId)) {
      this.#takeStatus(session, payload);
    }
  }

  #takeStatus(session: Session, payload: Uint8Array): void {
    const status = decodeStatus(payload);
    if (status === undefined) {
      this.#refuse(session, 'mqtt-payload-malformed', 'status');
      return;
    }
    this.#telemetry.takeStatus(session, status);
  }

  #hint(deviceId: string): void {
    const packet = {
      cmd: 'publish',
      topic: hintTopic(deviceId),
      payload: Buffer.alloc(0),
      qos: 1,
      retain: false,
      dup: false,
    } as const;
    this.#aedes.publish(packet, () => undefined);
  }

  #endSessions(deviceId: string): void {
    for (const session of this.#sessions.of(deviceId)) {
      this.#refuse(session, 'mqtt-device-revoked', 'live session ended');
      session.socket.destroy();
    }
  }

  #refuse(session: Session, code: MqttRefusal, detail: string): void {
    this.#refusals.record(`device:${session.identity.deviceId}`, code, detail);
  }

  #sessionOf(client: Client): Session {
    const session = this.#byConnection.get(client.conn);
    if (session === undefined) throw new Error('a client of the broker has no session');
    return session;
  }
}

function messageOf(packet: { topic: string; payload: string | Buffer; qos?: number; retain?: boolean }): Message {
  const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
  return { topic: packet.topic, payload, qos: packet.qos ?? 0, retain: packet.retain ?? false };
}
