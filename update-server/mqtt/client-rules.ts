/**
 * The rules (rules.ts) as the broker asks for them: every CONNECT, SUBSCRIBE and PUBLISH of a device is judged here by the
 * identity in its certificate, and what it says is taken. Refusals are recorded; what is permitted is not.
 */
import type { Aedes, AedesOptions, AedesPublishPacket, AuthenticateError, Client, ConnectPacket } from 'aedes';
import { hintTopic, presenceTopic, statusTopic } from '../../protocol/mqtt-topics.ts';
import type { RefusalLog } from './refusal-log.ts';
import { decidePublish, decideSubscribe, decideWill, decodePresence, type Message, type MqttRefusal } from './rules.ts';
import type { Session, Sessions } from './sessions.ts';
import { decodeStatus } from './status.ts';
import type { Telemetry } from './telemetry.ts';

const CONNACK = { identifierRejected: 2, notAuthorised: 5 } as const;

type Packet = { topic: string; payload: string | Buffer; qos?: number; retain?: boolean };
type Authenticated = (error: AuthenticateError | null, success: boolean | null) => void;

export class ClientRules {
  readonly #sessions: Sessions;
  readonly #refusals: RefusalLog;
  readonly #telemetry: Telemetry;
  readonly #byConnection = new WeakMap<object, Session>();
  readonly #connectPackets = new WeakMap<Client, ConnectPacket>();

  constructor(sessions: Sessions, refusals: RefusalLog, telemetry: Telemetry) {
    this.#sessions = sessions;
    this.#refusals = refusals;
    this.#telemetry = telemetry;
  }

  /** Says whose connection this is, before the broker gets it. */
  bind(connection: object, session: Session): void {
    this.#byConnection.set(connection, session);
  }

  /** What the broker asks before it does anything. */
  handlers(): AedesOptions {
    return {
      preConnect: (client, packet, done) => {
        // No session outlives its connection: nothing of a refused subscription may be kept for later.
        packet.clean = true;
        this.#connectPackets.set(client, packet);
        done(null, true);
      },
      authenticate: (client, _user, _password, done) => this.#authenticate(client, done),
      authorizeSubscribe: (client, { topic, qos, ...rest }, done) => {
        const session = this.#sessionOf(client);
        const code = decideSubscribe(session.identity.deviceId, topic, qos);
        if (code !== undefined) this.refuse(session, code, `subscribe to ${topic}`);
        done(null, code === undefined ? { topic, qos, ...rest } : null);
      },
      authorizePublish: (client, packet, done) => {
        const code = client === null ? undefined : this.#judge(client, packet);
        done(code === undefined ? null : new Error(code));
      },
      // The second barrier: whatever a subscription says, only its own hints reach a device.
      authorizeForward: (client, packet) =>
        packet.topic === hintTopic(client.id) && !packet.retain ? packet : undefined,
    };
  }

  /** What the broker tells afterwards. */
  listen(broker: Aedes): void {
    broker.on('clientReady', (client) => {
      const session = this.#sessionOf(client);
      session.ready = true;
      this.#telemetry.notePresence(session.identity.deviceId);
    });
    broker.on('clientError', (client, error) => {
      // These topics are refused by the broker before the rules are asked.
      if (/[+#] is (?:not|only) allowed/.test(error.message)) {
        this.refuse(this.#sessionOf(client), 'mqtt-wildcard', error.message);
      }
    });
    broker.on('publish', (packet, client) => {
      if (client !== null) this.#take(this.#sessionOf(client), packet);
    });
  }

  refuse(session: Session, code: MqttRefusal, detail: string): void {
    this.#refusals.record(`device:${session.identity.deviceId}`, code, detail);
  }

  #authenticate(client: Client, done: Authenticated): void {
    const session = this.#sessionOf(client);
    const code = this.#judgeConnect(session, client);
    if (code === undefined) {
      done(null, true);
      return;
    }
    this.refuse(session, code, `connect as ${client.id.slice(0, 80)}`);
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

  #judge(client: Client, packet: Packet): MqttRefusal | undefined {
    const session = this.#sessionOf(client);
    const code = decidePublish(session.identity.deviceId, messageOf(packet));
    if (code !== undefined) this.refuse(session, code, `publish to ${packet.topic}`);
    return code;
  }

  #take(session: Session, packet: AedesPublishPacket): void {
    const { deviceId } = session.identity;
    const { payload } = messageOf(packet);
    if (packet.topic === presenceTopic(deviceId)) {
      session.said = decodePresence(payload) ?? session.said;
      this.#telemetry.notePresence(deviceId);
    } else if (packet.topic === statusTopic(deviceId)) {
      const status = decodeStatus(payload);
      if (status === undefined) this.refuse(session, 'mqtt-payload-malformed', 'status');
      else this.#telemetry.takeStatus(session, status);
    }
  }

  #sessionOf(client: Client): Session {
    const session = this.#byConnection.get(client.conn);
    if (session === undefined) throw new Error('a client of the broker has no session');
    return session;
  }
}

function messageOf(packet: Packet): Message {
  const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
  return { topic: packet.topic, payload, qos: packet.qos ?? 0, retain: packet.retain ?? false };
}
