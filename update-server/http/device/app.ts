/**
 * The device listener: HTTPS with TLS 1.3, client certificates asked of everybody and checked at every request. Without
 * one, only `/healthz` and the two enrolment addresses answer. Every body is capped and strict, every error an
 * `ErrorAnswer`. Decides nothing: enrolment, store and repository do.
 */
import type { ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest, LogController } from 'fastify';
import {
  DEVICE_BODY_CAP_BYTES,
  DEVICE_PATHS,
  EnrolRequest,
  NonceRequest,
  type PollAnswer,
  PollRequest,
  PROTOCOL_VERSION,
  ReportRequest,
} from '../../../protocol/device-api.ts';
import { EXPORTER_BYTES, EXPORTER_LABEL } from '../../../protocol/enrolment.ts';
import { REASONS } from '../../../protocol/reasons.ts';
import type { CredentialPolicy } from '../../core/credential-standing.ts';
import type { ServerEvents } from '../../core/events.ts';
import type { ServerClock, ServerRandom, Store, Touched } from '../../core/ports.ts';
import { ENROLMENT_REFUSALS, type Enrolment, type EnrolmentRefusal } from '../../enrolment/enrolment.ts';
import type { CertificateAuthority } from '../../pki/certificate-authority.ts';
import type { ServerIdentity } from '../../pki/server-certificate.ts';
import { tlsForDevices } from '../../pki/tls-options.ts';
import type { Preparation } from '../../transport/preparation.ts';
import { decodeBody } from './body.ts';
import { ClientCertificates } from './client-certificate.ts';
import { renewCertificates, takeCredentials, takeEscrow } from './credential-routes.ts';
import { answerError, DeviceApiError, notFound } from './errors.ts';
import { type RepositoryFiles, serveRepository } from './repository-routes.ts';
import { serveTransport } from './transport-routes.ts';

export interface DeviceApiPorts {
  readonly store: Pick<
    Store,
    | 'findCertificate'
    | 'recordPoll'
    | 'acceptReports'
    | 'hardwareClassOf'
    | 'keepNonce'
    | 'takeNonce'
    | 'recordStatement'
    | 'keepEscrow'
    | 'serviceOf'
    | 'renewCertificate'
    | 'markCertificateUsed'
  >;
  readonly random: ServerRandom;
  /** Default: USUAL_POLICY. */
  readonly credentialPolicy?: CredentialPolicy;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly deviceAuthority: CertificateAuthority;
  readonly enrolment: Enrolment;
  readonly repository: RepositoryFiles;
  /** Images in other forms than whole. */
  readonly preparation: Preparation;
  readonly artifactPath: (sha256: string) => string;
  readonly log: FastifyBaseLogger;
  /** What devices are told to wait between polls. */
  readonly pollAfterMs: number;
  /** What devices are told of the broker; null when there is none. Asked at each enrolment: the port may come late. */
  readonly mqttUrl: () => string | null;
}

const OPEN_PATHS: ReadonlySet<string> = new Set([DEVICE_PATHS.health, DEVICE_PATHS.enrolNonce, DEVICE_PATHS.enrol]);

/** What a device is given that is not metadata. */
const GIVEN_PATHS = [DEVICE_PATHS.targets, DEVICE_PATHS.transport, DEVICE_PATHS.credentialsRenew];

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the certificate check; empty on the addresses that answer without one. */
    deviceId: string;
  }
}

export function buildDeviceApi(identity: ServerIdentity, ports: DeviceApiPorts): FastifyInstance {
  const app = Fastify({
    https: tlsForDevices(identity, ports.deviceAuthority),
    loggerInstance: ports.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: DEVICE_BODY_CAP_BYTES,
    requestTimeout: 60_000,
    keepAliveTimeout: 75_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 512 },
    clientErrorHandler: answerUnparsed,
  });
  app.decorateRequest('deviceId', '');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request, reply) => answerError(notFound(), request, reply));
  addCertificateCheck(app, ports);
  addEnrolment(app, ports);
  addPolling(app, ports);
  serveRepository(app, ports.repository, (bytes) => {
    ports.preparation.counters.servedBytes.whole += bytes;
  });
  serveTransport(app, ports);
  takeCredentials(app, ports);
  takeEscrow(app, ports);
  renewCertificates(app, ports);
  return app;
}

/** What is not even HTTP gets an answer of the same kind, as far as there is still somebody to answer. */
function answerUnparsed(error: Error & { code?: string }, socket: import('node:net').Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
  const body = JSON.stringify({
    ok: false,
    code: tooLarge ? 'headers-too-large' : 'request-malformed',
    what: tooLarge ? 'the headers are too large' : 'this is not an HTTP request',
    cure: 'Send HTTP/1.1 with small headers.',
  });
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ${body.length}`;
  socket.end(`${head}\r\n\r\n${body}`);
}

function addCertificateCheck(app: FastifyInstance, ports: DeviceApiPorts): void {
  const certificates = new ClientCertificates(ports);
  const transfers = new Map<string, Set<ServerResponse>>();
  app.addHook('onRequest', async (request, reply) => {
    if (OPEN_PATHS.has(pathOf(request))) return;
    request.deviceId = await certificates.identify(request.raw.socket);
    await refuseUnapproved(ports, request);
    track(transfers, request.deviceId, reply.raw);
  });
  // The check at the next request would come too late for a transfer that is under way.
  const end = ports.events.subscribe((event) => {
    if (event.kind !== 'revoked') return;
    for (const response of transfers.get(event.id) ?? []) response.destroy();
  });
  app.addHook('onClose', async () => end());
}

/** A device on a board that nobody approved gets metadata and no more (core/credential-standing.ts). */
async function refuseUnapproved({ store }: DeviceApiPorts, request: FastifyRequest): Promise<void> {
  const path = pathOf(request);
  if (!GIVEN_PATHS.some((given) => path.startsWith(given))) return;
  if ((await store.serviceOf(request.deviceId)) !== 'none') return;
  throw new DeviceApiError(403, {
    code: 'awaiting-approval',
    what: `${request.deviceId} shows other hardware than before, and nobody has approved it`,
    cure: REASONS['awaiting-approval'].cure,
  });
}

const pathOf = (request: FastifyRequest): string => request.url.split('?', 1)[0] ?? '';

function track(transfers: Map<string, Set<ServerResponse>>, deviceId: string, response: ServerResponse): void {
  const open = transfers.get(deviceId) ?? new Set();
  transfers.set(deviceId, open.add(response));
  response.once('close', () => {
    open.delete(response);
    if (open.size === 0) transfers.delete(deviceId);
  });
}

function addEnrolment(app: FastifyInstance, ports: DeviceApiPorts): void {
  app.get(DEVICE_PATHS.health, async () => ({ ok: true }));
  app.post(DEVICE_PATHS.enrolNonce, async (request) => {
    const { claimId } = decodeBody(NonceRequest, request.body);
    const given = await ports.enrolment.giveNonce(claimId);
    if (!given.ok) throw enrolmentRefused(given.code, given.what);
    return given.value;
  });
  app.post(DEVICE_PATHS.enrol, async (request) => {
    const body = decodeBody(EnrolRequest, request.body);
    const enrolled = await ports.enrolment.enrol(body, exporterOf(request));
    if (!enrolled.ok) {
      request.log.warn({ claimId: body.claimId, code: enrolled.code }, 'enrolment refused');
      throw enrolmentRefused(enrolled.code, enrolled.what);
    }
    return { ...enrolled.value, mqttUrl: ports.mqttUrl() };
  });
}

function exporterOf(request: FastifyRequest): Uint8Array {
  const socket = request.raw.socket;
  if (!(socket instanceof TLSSocket)) throw new TypeError('the device listener speaks TLS only');
  return socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0));
}

function enrolmentRefused(code: EnrolmentRefusal, what: string): DeviceApiError {
  const { status, cure } = ENROLMENT_REFUSALS[code];
  return new DeviceApiError(status, { code, what, cure });
}

function addPolling(app: FastifyInstance, ports: DeviceApiPorts): void {
  app.post(DEVICE_PATHS.poll, async (request): Promise<PollAnswer> => {
    const poll = decodeBody(PollRequest, request.body);
    const { action, requests, touched } = await ports.store.recordPoll(request.deviceId, poll, ports.clock.nowUnixMs());
    tell(ports.events, touched);
    return { protocol: PROTOCOL_VERSION, pollAfterMs: ports.pollAfterMs, action, requests };
  });
  app.post(DEVICE_PATHS.report, async (request) => {
    const { reports } = decodeBody(ReportRequest, request.body);
    const accepted = await ports.store.acceptReports(request.deviceId, reports, ports.clock.nowUnixMs());
    tell(ports.events, accepted.touched);
    return { acknowledged: accepted.acknowledged };
  });
}

/** Tells the listeners what a transaction changed. */
export function tell(events: ServerEvents, touched: Touched): void {
  for (const id of touched.devices) events.emit({ kind: 'device', id });
  for (const id of touched.rollouts) events.emit({ kind: 'rollout', id });
  for (const id of touched.hints) events.emit({ kind: 'hint', id });
}
