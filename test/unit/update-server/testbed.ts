/**
 * The parts of a server that devices meet, on loopback with real TLS and a real database, and a device to meet them:
 * a key, a certificate request, the proof of its claim. Tests set the clock.
 */
import { createHash, createHmac, createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import pino from 'pino';
import { nodeDisk } from '../../../platform/disk.ts';
import { DEVICE_PATHS } from '../../../protocol/device-api.ts';
import { type ClaimFile, claimProofMessage, EXPORTER_BYTES, EXPORTER_LABEL } from '../../../protocol/enrolment.ts';
import { base64url, unbase64url } from '../../../trust/bytes.ts';
import { type CredentialPolicy, USUAL_POLICY } from '../../../update-server/core/credential-standing.ts';
import { ServerEvents } from '../../../update-server/core/events.ts';
import type { Store } from '../../../update-server/core/ports.ts';
import { createClaims } from '../../../update-server/enrolment/claims.ts';
import { Enrolment } from '../../../update-server/enrolment/enrolment.ts';
import { buildDeviceApi } from '../../../update-server/http/device/app.ts';
import type { RepositoryFiles } from '../../../update-server/http/device/repository-routes.ts';
import { MqttBroker } from '../../../update-server/mqtt/broker.ts';
import { type CertificateAuthority, openAuthority } from '../../../update-server/pki/certificate-authority.ts';
import { openServerCertificate, type ServerIdentity } from '../../../update-server/pki/server-certificate.ts';
import { loadX509 } from '../../../update-server/pki/x509.ts';
import { ArtifactFolder } from '../../../update-server/repository/artifacts.ts';
import { openSqliteStore } from '../../../update-server/store/sqlite-store.ts';
import { Preparation, type PreparationSettings } from '../../../update-server/transport/preparation.ts';
import { TransportFolder } from '../../../update-server/transport/transport-folder.ts';

/** Midnight of today: TLS judges the certificates that the testbed issues by the machine's own clock. */
export const NOW = Math.floor(Date.now() / 86_400_000) * 86_400_000;

export class Testbed {
  readonly directory: string;
  readonly policy: CredentialPolicy;
  readonly store: Store;
  readonly events = new ServerEvents((error) => {
    throw error;
  });
  readonly clock = { now: NOW, nowUnixMs: () => this.clock.now };
  readonly random = { bytes: (length: number) => new Uint8Array(randomBytes(length)) };
  readonly sealingKey = new Uint8Array(randomBytes(32));
  readonly log = pino({ level: 'silent' });
  readonly serverAuthority: CertificateAuthority;
  readonly deviceAuthority: CertificateAuthority;
  readonly identity: ServerIdentity;
  readonly artifacts: ArtifactFolder;
  readonly metadata = new Map<string, Uint8Array>();
  api: FastifyInstance | undefined;
  broker: MqttBroker | undefined;
  preparation: Preparation | undefined;
  readonly #clients = new Set<MqttClient>();

  private constructor(
    parts: Pick<
      Testbed,
      'directory' | 'policy' | 'store' | 'serverAuthority' | 'deviceAuthority' | 'identity' | 'artifacts'
    >,
  ) {
    this.directory = parts.directory;
    this.policy = parts.policy;
    this.store = parts.store;
    this.serverAuthority = parts.serverAuthority;
    this.deviceAuthority = parts.deviceAuthority;
    this.identity = parts.identity;
    this.artifacts = parts.artifacts;
  }

  /** The gate reports when nothing is said: most devices of tests make no statement. */
  static async start(policy: CredentialPolicy = { ...USUAL_POLICY, gate: 'report' }): Promise<Testbed> {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-server-'));
    // Certificates are judged by the machine's clock in TLS clients, whatever the server's clock says in a test.
    const files = { disk: nodeDisk, directory: join(directory, 'pki'), nowUnixMs: () => Date.now() };
    const serverAuthority = await openAuthority(files, 'server');
    const deviceAuthority = await openAuthority(files, 'device');
    const identity = await openServerCertificate(files, serverAuthority, ['localhost', '127.0.0.1']);
    const store = openSqliteStore(join(directory, 'db.sqlite'), policy);
    const artifacts = await ArtifactFolder.open(nodeDisk, join(directory, 'artifacts'));
    const bed = new Testbed({ directory, policy, store, serverAuthority, deviceAuthority, identity, artifacts });
    bed.clock.now = Date.now();
    return bed;
  }

  async startApi(): Promise<void> {
    const { store, events, clock, random, sealingKey, deviceAuthority, log, artifacts, metadata } = this;
    const preparation = await this.startPreparation();
    const repository: RepositoryFiles = {
      readMetadata: async (name) => metadata.get(name),
      hasArtifact: async (sha256) => {
        const sizeBytes = await artifacts.sizeOf(sha256);
        return sizeBytes === undefined ? undefined : { sizeBytes };
      },
      readArtifact: (sha256, first, last) => artifacts.read(sha256, first, last),
    };
    const credentialPolicy = this.policy;
    const enrolment = new Enrolment({ credentialPolicy, store, events, clock, random, sealingKey, deviceAuthority });
    const mqttUrl = () => 'mqtts://127.0.0.1:8883';
    const ports = {
      store,
      events,
      clock,
      random,
      deviceAuthority,
      enrolment,
      repository,
      log,
      pollAfterMs: 1234,
      mqttUrl,
    };
    const artifactPath = (sha256: string) => artifacts.path(sha256);
    this.api = buildDeviceApi(this.identity, { ...ports, credentialPolicy, preparation, artifactPath });
    await this.api.listen({ host: '127.0.0.1', port: 0 });
  }

  /** What images travel as, made by the real worker; restarted when it runs already. */
  async startPreparation(settings: Partial<PreparationSettings> = {}): Promise<Preparation> {
    await this.preparation?.close();
    const { store, events, clock, log, artifacts } = this;
    this.preparation = await Preparation.start({
      folder: await TransportFolder.open(nodeDisk, join(this.directory, 'transport')),
      ...{ store, events, clock, log },
      artifactPath: (sha256) => artifacts.path(sha256),
      settings: { recipesFrom: 3, memoryCapBytes: 2 ** 30, diskCapBytes: 2 ** 30, ...settings },
    });
    return this.preparation;
  }

  async startBroker(): Promise<void> {
    const { store, events, clock, deviceAuthority, log } = this;
    this.broker = await MqttBroker.start(this.identity, { store, events, clock, deviceAuthority, log }, '127.0.0.1', 0);
  }

  get port(): number {
    const address = this.api?.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  async claim(id: string, expiresInDays = 30, hardwareClass = 'acme-cam'): Promise<ClaimFile> {
    const request = { hardwareClass, ids: [id], expiresInDays };
    const made = await createClaims(this, request, 'tester');
    if (made.outcome !== 'created' || made.claims[0] === undefined) throw new Error(`no claim: ${made.outcome}`);
    return made.claims[0];
  }

  device(key?: DeviceKey, certificate?: string): TestDevice {
    return new TestDevice(this, key, certificate);
  }

  /** A device with its certificate. */
  async enrolled(id: string, hardwareClass = 'acme-cam'): Promise<TestDevice> {
    const key = await makeDeviceKey();
    const device = this.device(key);
    const answer = await device.enrol(await this.claim(id, 30, hardwareClass));
    device.close();
    if (answer.status !== 200) throw new Error(`enrolling ${id}: ${JSON.stringify(answer.body)}`);
    return this.device(key, String(answer.body.certificateChain));
  }

  /** An MQTT client with a device's certificate, not yet connected; it does not reconnect. */
  mqtt(device: TestDevice | undefined, options: IClientOptions = {}): MqttClient {
    const client = mqtt.connect({
      host: '127.0.0.1',
      port: this.broker?.port ?? 0,
      protocol: 'mqtts',
      protocolVersion: 4,
      ca: this.serverAuthority.pem,
      reconnectPeriod: 0,
      connectTimeout: 5000,
      ...(device?.certificate === undefined ? {} : { cert: device.certificate, key: device.keyPem }),
      ...options,
    });
    client.on('error', () => undefined);
    this.#clients.add(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.end(true);
    await this.broker?.close();
    await this.api?.close();
    await this.preparation?.close();
    await this.store.close();
    await rm(this.directory, { recursive: true });
  }
}

export interface DeviceKey {
  readonly pem: string;
  /** PKCS#10, DER. */
  readonly request: Uint8Array;
}

export async function makeDeviceKey(): Promise<DeviceKey> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const x509 = await loadX509();
  const made = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=device',
    keys,
    signingAlgorithm: algorithm,
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key: KeyObject = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  return { pem: key.export({ format: 'pem', type: 'pkcs8' }).toString(), request: new Uint8Array(made.rawData) };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly body: Record<string, unknown>;
  readonly socket: TLSSocket;
}

/** A device on one keep-alive connection. */
export class TestDevice {
  readonly #bed: Testbed;
  readonly #agent: Agent;
  readonly key: DeviceKey | undefined;
  readonly certificate: string | undefined;

  constructor(bed: Testbed, key: DeviceKey | undefined, certificate: string | undefined) {
    this.#bed = bed;
    this.key = key;
    this.certificate = certificate;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: 1,
      ca: bed.serverAuthority.pem,
      ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key: key.pem }),
    });
  }

  get keyPem(): string {
    return this.key?.pem ?? '';
  }

  send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const payload = body === undefined ? undefined : Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const outgoing = httpsRequest(
        { host: '127.0.0.1', port: this.#bed.port, method, path, agent: this.#agent, headers },
        (incoming) => {
          const socket = incoming.socket as TLSSocket;
          const pieces: Buffer[] = [];
          incoming.on('data', (piece: Buffer) => pieces.push(piece));
          incoming.on('error', reject);
          incoming.on('end', () => {
            const bytes = Buffer.concat(pieces);
            const json = String(incoming.headers['content-type']).startsWith('application/json') && bytes.length > 0;
            const parsed = json ? (JSON.parse(bytes.toString()) as Record<string, unknown>) : {};
            resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, bytes, body: parsed, socket });
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(payload);
    });
  }

  /** Asks for a nonce; gives the connection's exporter too. */
  async nonce(claimId: string): Promise<{ nonce: string; exporter: Uint8Array }> {
    const answer = await this.send('POST', DEVICE_PATHS.enrolNonce, { protocol: 1, claimId });
    if (answer.status !== 200) throw new Error(`no nonce: ${JSON.stringify(answer.body)}`);
    const exporter = answer.socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0));
    return { nonce: String(answer.body.nonce), exporter };
  }

  /** The body of an enrolment, correct in every respect. */
  enrolBody(claim: ClaimFile, nonce: { nonce: string; exporter: Uint8Array }): Record<string, unknown> {
    if (this.key === undefined) throw new Error('this device has no key');
    const message = claimProofMessage({
      nonce: unbase64url(nonce.nonce) ?? new Uint8Array(),
      exporter: nonce.exporter,
      certificateRequestSha256: createHash('sha256').update(this.key.request).digest(),
    });
    const proof = createHmac('sha256', unbase64url(claim.secret) ?? '')
      .update(message)
      .digest();
    return {
      protocol: 1,
      claimId: claim.claimId,
      nonce: nonce.nonce,
      certificateRequest: base64url(this.key.request),
      proof: base64url(proof),
    };
  }

  async enrol(claim: ClaimFile): Promise<Answer> {
    const body = this.enrolBody(claim, await this.nonce(claim.claimId));
    return this.send('POST', DEVICE_PATHS.enrol, body);
  }

  close(): void {
    this.#agent.destroy();
  }
}

export const poll = {
  protocol: 1,
  agentVersion: '0.1.0',
  hardwareClass: 'acme-cam',
  channel: 'stable',
  board: 'emulated',
  bootedSlot: 'a',
  state: 'idle',
  stateSinceUnixMs: null,
  installed: { sequence: 1, version: '1.0.0' },
  floorSequence: 0,
  actionId: null,
  quarantined: [],
} as const;

/** Waits until `check` holds; fails by the test's own time limit only. */
export async function until<T>(check: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  for (;;) {
    const found = await check();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
