/**
 * Puts the server together and takes it apart again, in an order that a failure at any step leaves nothing running:
 * data folder, keys, repository, database, then the three listeners, and only when all of them listen the timers, the
 * addresses for others to find, and the one-time token.
 */
import { createHash, randomBytes } from 'node:crypto';
import { Server as HttpsServer } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import type { Logger } from 'pino';
import { type Disk, nodeDisk } from '../platform/disk.ts';
import { writeDurably } from '../platform/durable-file.ts';
import { base64url, hex } from '../trust/bytes.ts';
import type { ServerConfig } from './config.ts';
import { ServerEvents } from './core/events.ts';
import type { ServerClock, ServerRandom, Store } from './core/ports.ts';
import { DataFolder, findSealingKey } from './data-folder.ts';
import { createClaims } from './enrolment/claims.ts';
import { Enrolment } from './enrolment/enrolment.ts';
import { demandBeginnings, type FirstStartPorts, openLab, openOnlineKeys } from './first-start.ts';
import { buildDeviceApi, tell } from './http/device/app.ts';
import { buildOperatorApi } from './http/operator/app.ts';
import type { LabKeys } from './lab/lab-keys.ts';
import { Lab } from './lab/push.ts';
import { certificateNames, onPort, portOf, urlOf } from './listeners.ts';
import { MqttBroker } from './mqtt/broker.ts';
import { type CertificateAuthority, openAuthority } from './pki/certificate-authority.ts';
import { openServerCertificate, type ServerIdentity } from './pki/server-certificate.ts';
import { tlsForDevices, tlsForPeople } from './pki/tls-options.ts';
import { ArtifactFolder } from './repository/artifacts.ts';
import { MetadataFolder } from './repository/metadata-folder.ts';
import { Repository } from './repository/repository.ts';
import { openSqliteStore } from './store/sqlite-store.ts';
import { Preparation } from './transport/preparation.ts';
import { TransportFolder } from './transport/transport-folder.ts';

const RENEWAL_CHECK_MS = 60_000;
const ONE_TIME_TOKEN_BYTES = 24;
const LEAST_ONLINE_WINDOW_MS = 15_000;

export interface Endpoints {
  readonly deviceUrl: string;
  readonly operatorUrl: string;
  readonly mqttUrl: string;
  /** Path of the certificate that all three are signed by. */
  readonly serverCa: string;
  readonly pid: number;
}

export interface RunningServer {
  readonly endpoints: Endpoints;
  readonly environment: 'production' | 'lab' | 'rehearsal';
  /** Shown once, at the first start; null ever after. */
  readonly oneTimeToken: string | null;
  dropMqttConnections(): void;
  close(): Promise<void>;
}

export interface ServerPorts {
  readonly log: Logger;
  readonly version: string;
  readonly clock?: ServerClock;
  readonly random?: ServerRandom;
  readonly disk?: Disk;
}

type Undo = (() => Promise<unknown>)[];

interface Parts extends Omit<FirstStartPorts, 'metadata'> {
  readonly log: Logger;
  readonly version: string;
  readonly random: ServerRandom;
  readonly events: ServerEvents;
  readonly store: Store;
  readonly repository: Repository;
  readonly artifacts: ArtifactFolder;
  readonly preparation: Preparation;
  readonly deviceAuthority: CertificateAuthority;
  /** The server's certificate as it should be now: issued anew when it is near its end. */
  readonly openIdentity: () => Promise<ServerIdentity>;
  readonly labKeys: LabKeys | null;
}

interface Listening {
  readonly endpoints: Endpoints;
  readonly broker: MqttBroker;
  readonly renewIdentity: (identity: ServerIdentity) => void;
}

/** Starts everything, or throws a Fault with everything undone. */
export async function startServer(config: ServerConfig, ports: ServerPorts): Promise<RunningServer> {
  const undo: Undo = [];
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const parts = await openParts(config, ports, undo);
    const listening = await listen(parts, undo);
    startTimers(parts, listening, undo);
    await sayUnproven(parts);
    const { folder, disk } = parts;
    await writeDurably(disk, folder.path('endpoints.json'), Buffer.from(`${JSON.stringify(listening.endpoints)}\n`));
    return {
      endpoints: listening.endpoints,
      environment: parts.repository.environment(),
      oneTimeToken: await makeOneTimeToken(parts),
      dropMqttConnections: () => listening.broker.dropAllConnections(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** After an upgrade from a server that only reported, a whole fleet may be without updates: its log says so at once. */
async function sayUnproven({ config, store, clock, log }: Parts): Promise<void> {
  if (config.credentialPolicy.gate !== 'enforce') return;
  const fleet = await store.listDevices({ nowUnixMs: clock.nowUnixMs(), onlineWindowMs: 0 });
  const unproven = fleet.filter(({ device }) => device.enrolment === 'enrolled' && device.credentials !== 'proven');
  if (unproven.length === 0) return;
  log.warn(
    { code: 'factory-credentials', devices: unproven.length },
    'enrolled devices that have not proven that their factory secrets are gone: they are offered repairs only (docs/CREDENTIALS.md)',
  );
}

async function openParts(config: ServerConfig, ports: ServerPorts, undo: Undo): Promise<Parts> {
  const { log, version, disk = nodeDisk } = ports;
  const clock = ports.clock ?? { nowUnixMs: () => Date.now() };
  const random = ports.random ?? { bytes: (length) => new Uint8Array(randomBytes(length)) };
  await demandBeginnings(disk, config);
  const folder = await DataFolder.open(disk, config.dataDirectory);
  undo.push(() => folder.close());
  const { key: sealingKey, remember } = await findSealingKey(disk, folder, {
    given: config.sealingKeyFile,
    keysDirectory: config.keysDirectory,
    credentialsDirectory: process.env.CREDENTIALS_DIRECTORY,
    lab: config.lab !== null,
  });
  const metadata = await MetadataFolder.open(disk, folder.path('metadata'));
  const first = { disk, clock, config, folder, metadata, sealingKey };
  const onlineKeys = await openOnlineKeys(first);
  await remember();
  const store = openSqliteStore(folder.path('db.sqlite'), config.credentialPolicy);
  undo.push(() => store.close());
  await store.forgetPresence(clock.nowUnixMs());
  const events = new ServerEvents((error) => log.error({ err: error }, 'a listener failed'));
  const artifacts = await ArtifactFolder.open(disk, folder.path('artifacts'));
  const repository = await Repository.open({ disk, metadata, artifacts, onlineKeys, store, events, clock });
  const transport = await TransportFolder.open(disk, folder.path('transport'));
  const preparation = await Preparation.start({
    folder: transport,
    store,
    artifactPath: (sha256) => artifacts.path(sha256),
    events,
    clock,
    log,
    settings: config.transport,
  });
  undo.push(() => preparation.close());
  const labKeys = await openLab(first, repository.environment());
  const files = { disk, directory: folder.path('pki'), nowUnixMs: () => clock.nowUnixMs() };
  const serverAuthority = await openAuthority(files, 'server');
  const deviceAuthority = await openAuthority(files, 'device');
  const openIdentity = () => openServerCertificate(files, serverAuthority, certificateNames(config));
  const kept = { store, repository, artifacts, preparation };
  return { ...first, ...kept, log, version, random, events, deviceAuthority, openIdentity, labKeys };
}

async function listen(parts: Parts, undo: Undo): Promise<Listening> {
  const { config, store, events, clock, deviceAuthority, log, folder } = parts;
  const { host } = config;
  const identity = await parts.openIdentity();
  const brokerPorts = { store, events, clock, deviceAuthority, log };
  const broker = await onPort('MQTT', host, config.mqttPort, () =>
    MqttBroker.start(identity, brokerPorts, host, config.mqttPort),
  );
  undo.push(() => broker.close());
  const mqttUrl = urlOf(config, 'mqtts', broker.port);
  const deviceApi = buildDeviceApi(identity, {
    ...brokerPorts,
    random: parts.random,
    credentialPolicy: config.credentialPolicy,
    enrolment: new Enrolment({ ...parts, credentialPolicy: config.credentialPolicy }),
    repository: parts.repository,
    preparation: parts.preparation,
    artifactPath: (sha256) => parts.artifacts.path(sha256),
    pollAfterMs: config.pollAfterMs,
    mqttUrl: () => mqttUrl,
  });
  undo.push(() => deviceApi.close());
  await onPort('devices', host, config.devicePort, () => deviceApi.listen({ host, port: config.devicePort }));
  const lab = labOf(parts);
  const operatorApi = await buildOperatorApi(identity, {
    store,
    events,
    clock,
    random: parts.random,
    publication: parts.repository,
    preparation: parts.preparation,
    createClaims: (request, actor) => createClaims(parts, request, actor),
    labPush: lab && ((request, actor) => lab.push(request, actor)),
    serverVersion: parts.version,
    // A device that polls is told when to come back; two polls missed is what "offline" means without MQTT.
    onlineWindowMs: Math.max(LEAST_ONLINE_WINDOW_MS, 3 * config.pollAfterMs),
    log,
  });
  undo.push(() => operatorApi.close());
  await onPort('people', host, config.operatorPort, () => operatorApi.listen({ host, port: config.operatorPort }));
  const endpoints = {
    deviceUrl: urlOf(config, 'https', portOf(deviceApi.server.address())),
    operatorUrl: urlOf(config, 'https', portOf(operatorApi.server.address())),
    mqttUrl,
    serverCa: folder.path('pki', 'server-ca.pem'),
    pid: process.pid,
  };
  let current = identity;
  const renewIdentity = (fresh: ServerIdentity): void => {
    if (fresh.chainPem === current.chainPem) return;
    current = fresh;
    log.info({ notAfter: new Date(fresh.notAfterUnixMs).toISOString() }, "the server's certificate was renewed");
    broker.renewIdentity(fresh);
    renewTls(deviceApi.server, tlsForDevices(fresh, deviceAuthority));
    renewTls(operatorApi.server, tlsForPeople(fresh));
  };
  return { endpoints, broker, renewIdentity };
}

function renewTls(server: unknown, options: SecureContextOptions): void {
  if (server instanceof HttpsServer) server.setSecureContext(options);
}

/** A lab's push, or null where nothing can sign. */
function labOf(parts: Parts): Lab | null {
  const { labKeys, config, repository, store, events, clock } = parts;
  if (labKeys === null || config.lab === null) return null;
  return new Lab({ repository, store, events, clock, keys: labKeys, vendor: config.lab.vendor });
}

function startTimers(parts: Parts, listening: Listening, undo: Undo): void {
  const { store, events, clock, repository, log, config } = parts;
  undo.push(
    every(config.tickMs, log, 'moving rollouts on failed', async () => {
      tell(events, await store.advanceRollouts(clock.nowUnixMs()));
    }),
    every(RENEWAL_CHECK_MS, log, 'renewing metadata or certificate failed', async () => {
      const renewed = await repository.renew();
      if (renewed !== 'nothing') log.info({ renewed, versions: repository.versions }, 'metadata renewed');
      listening.renewIdentity(await parts.openIdentity());
    }),
  );
}

/** Repeats `work`, never twice at once. Returns how to stop, which waits for what is under way. */
function every(intervalMs: number, log: Logger, failure: string, work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= work()
      .catch((error: unknown) => log.error({ err: error }, failure))
      .finally(() => {
        running = undefined;
      });
  }, intervalMs);
  return async () => {
    clearInterval(timer);
    await running;
  };
}

/** At the first start only: the token that the first person exchanges for a lasting one. Stored as its hash. */
async function makeOneTimeToken({ store, clock, random }: Parts): Promise<string | null> {
  if ((await store.countTokens()) > 0) return null;
  const token = `hf1_${base64url(random.bytes(ONE_TIME_TOKEN_BYTES))}`;
  const tokenSha256 = createHash('sha256').update(token).digest('hex');
  const tokenId = hex(random.bytes(8));
  const record = {
    tokenId,
    name: 'first-start',
    role: 'admin',
    tokenSha256,
    kind: 'one-time',
    expiresUnixMs: null,
  } as const;
  await store.createToken(record, 'server', clock.nowUnixMs());
  return token;
}
