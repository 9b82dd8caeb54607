/**
 * The MQTT listener: aedes behind TLS 1.3 with client certificates of the device authority. The certificate says who it
 * is; the rules (rules.ts) say what it may do; a refused subscription is answered with 0x80, a refused message ends the
 * connection (MQTT 3.1.1 has no other way to refuse one). No session and no message is kept: a hint that is lost costs
 * latency, never correctness.
 */
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import { hintTopic } from '../../protocol/mqtt-topics.ts';
import type { ServerEvents } from '../core/events.ts';
import type { ServerClock, Store } from '../core/ports.ts';
import type { CertificateAuthority } from '../pki/certificate-authority.ts';
import type { ServerIdentity } from '../pki/server-certificate.ts';
import { tlsForDevices } from '../pki/tls-options.ts';
import { ClientRules } from './client-rules.ts';
import { checkStanding, identifyConnection } from './connection-check.ts';
import { FrameGate } from './frame-gate.ts';
import { RefusalLog, type RefusalLogPorts } from './refusal-log.ts';
import { MQTT_FRAME_CAP_BYTES, type MqttRefusal } from './rules.ts';
import { type Session, Sessions } from './sessions.ts';
import { Telemetry } from './telemetry.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** A device that vanished without a word is noticed after at most one and a half times this. */
const KEEPALIVE_LIMIT_S = 600;

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
  readonly #sessions = new Sessions();
  readonly #refusals: RefusalLog;
  readonly #telemetry: Telemetry;
  readonly #rules: ClientRules;
  readonly #sockets = new Set<TLSSocket>();
  readonly #unsubscribe: () => void;

  private constructor(identity: ServerIdentity, ports: BrokerPorts) {
    this.#ports = ports;
    this.#refusals = new RefusalLog(ports);
    this.#telemetry = new Telemetry(ports, this.#sessions);
    this.#rules = new ClientRules(this.#sessions, this.#refusals, this.#telemetry);
    this.#aedes = new Aedes({
      connectTimeout: CONNECT_TIMEOUT_MS,
      keepaliveLimit: KEEPALIVE_LIMIT_S,
      maxTopicLevels: 8,
      queueLimit: 16,
      ...this.#rules.handlers(),
    });
    this.#rules.listen(this.#aedes);
    this.#server = createServer(tlsForDevices(identity, ports.deviceAuthority), (socket) => this.#accept(socket));
    this.#server.on('tlsClientError', (error, socket) => {
      ports.log.warn({ reason: error.message, address: socket.remoteAddress }, 'mqtt handshake failed');
    });
    this.#unsubscribe = ports.events.subscribe((event) => {
      if (event.kind === 'hint') this.#hint(event.id);
      if (event.kind === 'revoked') this.#endSessions(event.id, 'mqtt-device-revoked');
      if (event.kind === 'superseded') this.#endSessions(event.id, 'mqtt-certificate-refused', event.keptFingerprint);
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
      this.#rules.refuse(session, 'mqtt-payload-too-large', 'a frame above the cap'),
    );
    this.#rules.bind(gate, session);
    this.#aedes.handle(gate);
  }

  #hint(deviceId: string): void {
    const topic = hintTopic(deviceId);
    const packet = { cmd: 'publish', topic, payload: Buffer.alloc(0), qos: 1, retain: false, dup: false } as const;
    this.#aedes.publish(packet, () => undefined);
  }

  /** All of the device's, but those with the certificate that is kept. */
  #endSessions(deviceId: string, why: MqttRefusal, keptFingerprint?: string): void {
    for (const session of this.#sessions.of(deviceId)) {
      if (session.identity.fingerprint === keptFingerprint) continue;
      this.#rules.refuse(session, why, 'live session ended');
      session.socket.destroy();
    }
  }
}
