/**
 * What a device says of its credentials. The statement's signature is checked here, with the key of the certificate that
 * this connection was made with; what it proves is core's to judge, within the store's transaction.
 */
import { type KeyObject, verify } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import * as v from 'valibot';
import { RotationStatement, STATEMENT_CAP_BYTES, statementMessage } from '../../../protocol/credentials.ts';
import {
  CredentialsNonceRequest,
  type EscrowAnswer,
  EscrowRequest,
  type RenewAnswer,
  RenewRequest,
  type StatementAnswer,
  StatementRequest,
} from '../../../protocol/credentials-api.ts';
import { DEVICE_PATHS, type NonceAnswer } from '../../../protocol/device-api.ts';
import { NONCE_BYTES } from '../../../protocol/enrolment.ts';
import { base64url, unbase64url } from '../../../trust/bytes.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import { decodeJson } from '../../../trust/json.ts';
import { type CredentialPolicy, certificateLifeMs, USUAL_POLICY } from '../../core/credential-standing.ts';
import { STATEMENT_REFUSALS } from '../../core/credentials.ts';
import type { ServerEvents } from '../../core/events.ts';
import type { ServerClock, ServerRandom, Store } from '../../core/ports.ts';
import { ENROLMENT_REFUSALS } from '../../enrolment/enrolment.ts';
import type { CertificateAuthority } from '../../pki/certificate-authority.ts';
import { issueDeviceCertificate, keyIdOf, verifyCertificateRequest } from '../../pki/device-certificate.ts';
import { decodeBody } from './body.ts';
import { DeviceApiError } from './errors.ts';

export interface CredentialPorts {
  readonly store: Pick<
    Store,
    'keepNonce' | 'takeNonce' | 'recordStatement' | 'keepEscrow' | 'serviceOf' | 'renewCertificate'
  >;
  readonly deviceAuthority: CertificateAuthority;
  readonly credentialPolicy?: CredentialPolicy;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly random: ServerRandom;
}

/** The device signs at once; a minute more is for links that are slow. */
const STATEMENT_NONCE_LIFE_MS = 120_000;
const STATEMENT_DEPTH = 4;
/** No claim can have a name with a space: a nonce for a statement is good for nothing else. */
const nonceOwner = (deviceId: string): string => `statement ${deviceId}`;

export function takeCredentials(app: FastifyInstance, ports: CredentialPorts): void {
  const { store, clock, random, events } = ports;
  app.post(DEVICE_PATHS.credentialsNonce, async (request): Promise<NonceAnswer> => {
    decodeBody(CredentialsNonceRequest, request.body);
    const nowUnixMs = clock.nowUnixMs();
    const nonce = base64url(random.bytes(NONCE_BYTES));
    const expiresUnixMs = nowUnixMs + STATEMENT_NONCE_LIFE_MS;
    await store.keepNonce({ nonce, claimId: nonceOwner(request.deviceId), expiresUnixMs, nowUnixMs });
    return { nonce, expiresUnixMs };
  });

  app.post(DEVICE_PATHS.credentialsStatement, async (request): Promise<StatementAnswer> => {
    const body = decodeBody(StatementRequest, request.body);
    const { statement, bytes } = decodeStatement(unbase64url(body.statement));
    const signature = unbase64url(body.signature) ?? new Uint8Array();
    const key = keyOf(request);
    const nowUnixMs = clock.nowUnixMs();
    const nonceFresh = await store.takeNonce(statement.nonce, nonceOwner(request.deviceId), nowUnixMs);
    const outcome = await store.recordStatement(
      {
        deviceId: request.deviceId,
        ...{ statement, bytes, signature, nonceFresh },
        keySha256: keyIdOf(key),
        signatureValid: verify('sha256', statementMessage(bytes), { key, dsaEncoding: 'ieee-p1363' }, signature),
      },
      nowUnixMs,
    );
    for (const id of outcome.touched) events.emit({ kind: 'device', id });
    for (const id of outcome.outcome === 'judged' ? outcome.hints : []) events.emit({ kind: 'hint', id });
    if (outcome.outcome === 'refused') {
      request.log.warn({ deviceId: request.deviceId, code: outcome.code }, 'statement refused');
      throw new DeviceApiError(403, { code: outcome.code, ...STATEMENT_REFUSALS[outcome.code] });
    }
    if (outcome.flags.length > 0) events.emit({ kind: 'audit', id: request.deviceId });
    return { verdict: outcome.verdict, flags: outcome.flags.map(({ code }) => code) };
  });
}

export function takeEscrow(app: FastifyInstance, ports: CredentialPorts): void {
  app.post(DEVICE_PATHS.credentialsEscrow, async (request): Promise<EscrowAnswer> => {
    const { epoch, note, blob } = decodeBody(EscrowRequest, request.body);
    const bytes = unbase64url(blob);
    if (bytes === undefined || sha256Hex(bytes) !== note.sha256) throw escrowRefused('escrow-digest-wrong');
    const given = { deviceId: request.deviceId, epoch, sha256: note.sha256, owners: note.owners, blob: bytes };
    const outcome = await ports.store.keepEscrow(given, ports.clock.nowUnixMs());
    ports.events.emit({ kind: 'device', id: request.deviceId });
    if (outcome === 'other-bytes') {
      request.log.warn({ deviceId: request.deviceId, epoch }, 'another blob for an epoch refused');
      throw escrowRefused('escrow-other-bytes');
    }
    if (outcome === 'epoch-went-back') throw escrowRefused('escrow-epoch-went-back');
    return { epoch, sha256: note.sha256 };
  });
}

export const ESCROW_REFUSALS = {
  'escrow-digest-wrong': [400, 'the blob does not hash to its digest', 'Send the bytes that were made durable.'],
  'escrow-other-bytes': [409, 'another blob is kept for this epoch', 'Begin a new epoch: a blob is never replaced.'],
  'escrow-epoch-went-back': [409, 'a blob of a later epoch is kept', 'Bring the blob of the newest epoch.'],
} as const;

function escrowRefused(code: keyof typeof ESCROW_REFUSALS): DeviceApiError {
  const [status, what, cure] = ESCROW_REFUSALS[code];
  return new DeviceApiError(status, { code, what, cure });
}

/** Once a certificate was renewed, its predecessor has this long to be of use to a device that lost the answer. */
const RENEWAL_GRACE_MS = 7 * 24 * 3600 * 1000;

export function renewCertificates(app: FastifyInstance, ports: CredentialPorts): void {
  const { store, clock, deviceAuthority, credentialPolicy = USUAL_POLICY } = ports;
  app.post(DEVICE_PATHS.credentialsRenew, async (request): Promise<RenewAnswer> => {
    const { certificateRequest } = decodeBody(RenewRequest, request.body);
    const checked = await verifyCertificateRequest(unbase64url(certificateRequest) ?? new Uint8Array());
    if (!checked.ok) throw refused('certificate-request-refused', `the request was refused: ${checked.detail}`);
    const { deviceId } = request;
    const nowUnixMs = clock.nowUnixMs();
    const proven = (await store.serviceOf(deviceId)) === 'repairs' ? 'factory' : 'proven';
    const lifeMs = certificateLifeMs(credentialPolicy, proven);
    const issued = await issueDeviceCertificate(deviceAuthority, deviceId, checked.value.publicKey, lifeMs, nowUnixMs);
    const certificate = {
      serial: issued.serial,
      fingerprintSha256: issued.fingerprint,
      keySha256: checked.value.keyId,
      chainPem: issued.pem,
      notAfterUnixMs: issued.notAfterUnixMs,
    };
    const outcome = await store.renewCertificate({ deviceId, certificate, graceMs: RENEWAL_GRACE_MS, nowUnixMs });
    ports.events.emit({ kind: 'device', id: deviceId });
    if (outcome.outcome === 'key-of-other-device') {
      throw refused('key-of-another-device', `this key belongs to ${outcome.deviceId}`);
    }
    return { certificateChain: outcome.chainPem };
  });
}

function refused(code: 'certificate-request-refused' | 'key-of-another-device', what: string): DeviceApiError {
  const { status, cure } = ENROLMENT_REFUSALS[code];
  return new DeviceApiError(status, { code, what, cure });
}

function decodeStatement(bytes: Uint8Array | undefined): { statement: RotationStatement; bytes: Uint8Array } {
  const json = decodeJson(bytes ?? new Uint8Array(), { capBytes: STATEMENT_CAP_BYTES, maxDepth: STATEMENT_DEPTH });
  const parsed = v.safeParse(RotationStatement, json.ok ? json.value : undefined, { abortEarly: true });
  if (bytes !== undefined && parsed.success) return { statement: parsed.output, bytes };
  throw new DeviceApiError(400, {
    code: 'statement-malformed',
    what: `the statement is not one: ${json.ok ? (parsed.issues?.[0].message ?? 'not base64url') : json.detail}`,
    where: 'statement',
    cure: 'Send the bytes of a RotationStatement in JSON, base64url.',
  });
}

/** Of the certificate that was checked when the request came in. */
function keyOf(request: FastifyRequest): KeyObject {
  const socket = request.raw.socket;
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
  if (certificate === undefined) throw new TypeError('a request passed the certificate check without a certificate');
  return certificate.publicKey;
}
