/**
 * Raw clients for the wire attacks: HTTPS and MQTT as anybody can speak them, with or without a certificate. They do
 * not share code with the agent, so that the agent's good manners protect nobody.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { TLSSocket } from 'node:tls';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { DEVICE_PATHS, PROTOCOL_VERSION } from '../../protocol/device-api.ts';
import { type ClaimFile, claimProofMessage, EXPORTER_BYTES, EXPORTER_LABEL } from '../../protocol/enrolment.ts';
import { accepted, refused, type Verified } from './attack.ts';

const ANSWER_CAP_BYTES = 1024 * 1024;
const PATIENCE_MS = 10_000;

export interface ClientCertificate {
  readonly keyPem: string;
  readonly chainPem: string;
}

export interface RawAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** One connection, kept alive: what is asked after the other goes over the same TLS session. */
export class RawHttps {
  readonly #url: string;
  readonly #agent: Agent;
  #socket: TLSSocket | undefined;

  constructor(url: string, ca: string, certificate?: ClientCertificate) {
    this.#url = url;
    const identity = certificate === undefined ? {} : { key: certificate.keyPem, cert: certificate.chainPem };
    this.#agent = new Agent({ ca, keepAlive: true, maxSockets: 1, minVersion: 'TLSv1.3', ...identity });
  }

  async send(method: 'GET' | 'POST', path: string, body?: unknown): Promise<RawAnswer> {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' };
      const outgoing = request(new URL(path, this.#url), { agent: this.#agent, method, headers }, resolve);
      outgoing.setTimeout(PATIENCE_MS, () => outgoing.destroy(new Error('no answer')));
      outgoing.once('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
    if (answer.socket instanceof TLSSocket) this.#socket = answer.socket;
    const pieces: Buffer[] = [];
    let sizeBytes = 0;
    for await (const piece of answer as AsyncIterable<Buffer>) {
      sizeBytes += piece.length;
      if (sizeBytes <= ANSWER_CAP_BYTES) pieces.push(piece);
    }
    return { status: answer.statusCode ?? 0, body: parse(Buffer.concat(pieces).toString('utf8')) };
  }

  /** Of the connection on which the last answer came. */
  exporter(): Buffer {
    if (this.#socket === undefined) throw new Error('nothing was asked on this connection yet');
    return this.#socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0));
  }

  close(): void {
    this.#agent.destroy();
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function field(body: unknown, name: string): string {
  if (typeof body !== 'object' || body === null) return '';
  const value = (body as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : '';
}

/** The verdict in an answer of the server. */
export function verdictOf(answer: RawAnswer): Verified {
  if (answer.status >= 200 && answer.status < 300) return accepted();
  return refused(field(answer.body, 'code'), `status ${answer.status}: ${field(answer.body, 'what')}`);
}

export interface EnrolBody {
  readonly protocol: number;
  readonly claimId: string;
  readonly nonce: string;
  readonly certificateRequest: string;
  readonly proof: string;
}

/** Asks for a nonce on this connection and proves the claim for it; what to send is returned, not sent. */
export async function proveClaim(connection: RawHttps, claim: ClaimFile, request: Uint8Array): Promise<EnrolBody> {
  const answer = await connection.send('POST', DEVICE_PATHS.enrolNonce, {
    protocol: PROTOCOL_VERSION,
    claimId: claim.claimId,
  });
  const nonce = field(answer.body, 'nonce');
  if (nonce === '') throw new Error(`no nonce: status ${answer.status}`);
  const message = claimProofMessage({
    nonce: Buffer.from(nonce, 'base64url'),
    exporter: connection.exporter(),
    certificateRequestSha256: createHash('sha256').update(request).digest(),
  });
  const proof = createHmac('sha256', Buffer.from(claim.secret, 'base64url')).update(message).digest('base64url');
  const certificateRequest = Buffer.from(request).toString('base64url');
  return { protocol: PROTOCOL_VERSION, claimId: claim.claimId, nonce, certificateRequest, proof };
}

/** The certificate chain in an enrolment's answer; empty when it was refused. */
export const chainOf = (answer: RawAnswer): string => field(answer.body, 'certificateChain');

export interface RawMqttOptions {
  readonly url: string;
  readonly ca: string;
  readonly certificate: ClientCertificate;
  readonly clientId: string;
}

/** Connects once. Rejects when the broker says no. */
export function connectMqtt(options: RawMqttOptions): Promise<MqttClient> {
  const { url, ca, certificate, clientId } = options;
  const settings: IClientOptions = {
    protocolVersion: 4,
    clientId,
    clean: true,
    ca,
    key: certificate.keyPem,
    cert: certificate.chainPem,
    reconnectPeriod: 0,
    connectTimeout: PATIENCE_MS,
  };
  return mqtt.connectAsync(url, settings, false);
}

/** True when the broker granted the subscription. */
export function subscribe(client: MqttClient, topic: string): Promise<boolean> {
  return new Promise((resolve) => {
    client.once('close', () => resolve(false));
    client.subscribe(topic, { qos: 1 }, (error, granted) =>
      resolve(error === null && (granted ?? []).every(({ qos }) => qos < 128)),
    );
  });
}

/** True when the broker took the message (QoS 1: it acknowledged it). */
export function publish(client: MqttClient, topic: string, payload: string, retain: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    client.once('close', () => resolve(false));
    client.publish(topic, payload, { qos: 1, retain }, (error) => resolve(error === undefined || error === null));
  });
}

/** Resolves when the other side has ended the connection; false when it has not within `ms`. */
export function closedWithin(client: MqttClient, ms: number): Promise<boolean> {
  if (!client.connected) return Promise.resolve(true);
  return new Promise((resolve) => {
    const patience = setTimeout(() => resolve(false), ms);
    client.once('close', () => {
      clearTimeout(patience);
      resolve(true);
    });
  });
}
