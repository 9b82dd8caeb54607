/**
 * Enrolment: a device proves its claim over this very TLS connection and gets its certificate.
 *
 * Rules: a nonce is good for one use, one claim and 60 s. Nothing is said about a claim before its proof verified: an
 * unknown claim takes the same steps, the same time and the same answer as a wrong proof. The same claim with the same
 * key gets the very same certificate (an answer can get lost); with another key it is refused and the audit has an alarm.
 */
import { createHash, createHmac } from 'node:crypto';
import { sameSecret } from '../../platform/same-secret.ts';
import type { EnrolRequest, NonceAnswer } from '../../protocol/device-api.ts';
import { CLAIM_SECRET_BYTES, claimProofMessage, EXPORTER_BYTES, NONCE_BYTES } from '../../protocol/enrolment.ts';
import { base64url, unbase64url } from '../../trust/bytes.ts';
import { type CredentialPolicy, certificateLifeMs, USUAL_POLICY } from '../core/credential-standing.ts';
import type { ServerEvents } from '../core/events.ts';
import type { ClaimRecord, EnrolOutcome, ServerClock, ServerRandom, Store } from '../core/ports.ts';
import type { CertificateAuthority } from '../pki/certificate-authority.ts';
import {
  type CertificateRequest,
  issueDeviceCertificate,
  verifyCertificateRequest,
} from '../pki/device-certificate.ts';
import { openClaimSecret, sealClaimSecret } from './claims.ts';

export const NONCE_LIFE_MS = 60_000;
/** Nonces given out within one life of a nonce, over all claims: more are answered with `enrolment-busy`. */
export const LIVE_NONCES_CAP = 4096;

/** No claim can have this name. */
const DECOY_ID = '*';

/** Why an enrolment is refused. HTTP status, and what a person can do. */
export const ENROLMENT_REFUSALS = {
  'claim-nonce-unknown': {
    status: 403,
    cure: 'Ask for a new nonce and use it once, within a minute, for the same claim.',
  },
  'claim-proof-wrong': { status: 403, cure: "Check the device's claim file; make a new claim if it was lost." },
  'claim-expired': { status: 403, cure: 'Make a new claim: holdfast devices claims.' },
  'claim-used-by-another-key': {
    status: 409,
    cure: 'If its card was moved or its board flashed anew: holdfast devices approve DEVICE. It enrols again by itself then.',
  },
  'key-of-another-device': {
    status: 409,
    cure: 'This is a cloned device: erase its identity so that it makes a key of its own.',
  },
  'device-revoked': { status: 403, cure: 'Make a new claim for it if it is trusted again.' },
  'certificate-request-refused': {
    status: 400,
    cure: 'Send a PKCS#10 request for a P-256 key, signed with ECDSA and SHA-256.',
  },
  'enrolment-busy': { status: 503, cure: 'Try again in a minute.' },
} as const satisfies Record<string, { status: number; cure: string }>;
export type EnrolmentRefusal = keyof typeof ENROLMENT_REFUSALS;

export interface EnrolmentPorts {
  readonly store: Pick<Store, 'findClaim' | 'keepNonce' | 'takeNonce' | 'enrolDevice'>;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly random: ServerRandom;
  readonly sealingKey: Uint8Array;
  readonly deviceAuthority: CertificateAuthority;
  /** Default: USUAL_POLICY. */
  readonly credentialPolicy?: CredentialPolicy;
}

export interface Enrolled {
  readonly deviceId: string;
  readonly certificateChain: string;
}

type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: EnrolmentRefusal; readonly what: string };
const refused = (code: EnrolmentRefusal, what: string) => ({ ok: false, code, what }) as const;
const PROOF_WRONG = refused('claim-proof-wrong', 'the claim is not known, or its proof is wrong');
const NONCE_UNKNOWN = refused(
  'claim-nonce-unknown',
  'the nonce was not given out for this claim, was used before, or is too old',
);

export class Enrolment {
  readonly #ports: EnrolmentPorts;
  /** Stands in for claims that do not exist, so that their check costs the same. Its secret is known to nobody. */
  readonly #decoy: Pick<ClaimRecord, 'claimId' | 'sealedSecret'>;
  #window = { sinceUnixMs: 0, given: 0 };

  constructor(ports: EnrolmentPorts) {
    this.#ports = ports;
    const sealedSecret = sealClaimSecret(ports.sealingKey, DECOY_ID, ports.random.bytes(CLAIM_SECRET_BYTES));
    this.#decoy = { claimId: DECOY_ID, sealedSecret };
  }

  /** A nonce for a claim, known or not. */
  async giveNonce(claimId: string): Promise<Result<NonceAnswer>> {
    const nowUnixMs = this.#ports.clock.nowUnixMs();
    if (nowUnixMs - this.#window.sinceUnixMs >= NONCE_LIFE_MS) this.#window = { sinceUnixMs: nowUnixMs, given: 0 };
    this.#window.given += 1;
    if (this.#window.given > LIVE_NONCES_CAP) return refused('enrolment-busy', 'too many devices enrol at this moment');
    const nonce = base64url(this.#ports.random.bytes(NONCE_BYTES));
    const expiresUnixMs = nowUnixMs + NONCE_LIFE_MS;
    await this.#ports.store.keepNonce({ nonce, claimId, expiresUnixMs, nowUnixMs });
    return { ok: true, value: { nonce, expiresUnixMs } };
  }

  /** `exporter`: 32 bytes of the TLS connection on which the request came (protocol/enrolment.ts). */
  async enrol(request: EnrolRequest, exporter: Uint8Array): Promise<Result<Enrolled>> {
    const { store, clock } = this.#ports;
    const nonce = unbase64url(request.nonce);
    const der = unbase64url(request.certificateRequest);
    if (nonce?.length !== NONCE_BYTES) return NONCE_UNKNOWN;
    if (der === undefined) return refused('certificate-request-refused', 'the certificate request is not base64url');
    if (!(await store.takeNonce(request.nonce, request.claimId, clock.nowUnixMs()))) return NONCE_UNKNOWN;
    const claim = await store.findClaim(request.claimId);
    const proven = this.#verifyProof(claim, request, nonce, exporter, der);
    if (!proven || claim === undefined) return PROOF_WRONG;
    const checked = await verifyCertificateRequest(der);
    if (!checked.ok)
      return refused('certificate-request-refused', `the certificate request was refused: ${checked.detail}`);
    return this.#issue(claim, checked.value);
  }

  #verifyProof(
    claim: ClaimRecord | undefined,
    request: EnrolRequest,
    nonce: Uint8Array,
    exporter: Uint8Array,
    der: Uint8Array,
  ): boolean {
    if (exporter.length !== EXPORTER_BYTES) throw new RangeError('the TLS exporter has the wrong length');
    const { claimId, sealedSecret } = claim ?? this.#decoy;
    const secret = openClaimSecret(this.#ports.sealingKey, claimId, sealedSecret);
    const certificateRequestSha256 = createHash('sha256').update(der).digest();
    const message = claimProofMessage({ nonce, exporter, certificateRequestSha256 });
    const expected = createHmac('sha256', secret).update(message).digest();
    const given = unbase64url(request.proof);
    return given !== undefined && sameSecret(given, expected);
  }

  async #issue(claim: ClaimRecord, request: CertificateRequest): Promise<Result<Enrolled>> {
    const { store, deviceAuthority, clock, events } = this.#ports;
    const nowUnixMs = clock.nowUnixMs();
    const lifeMs = certificateLifeMs(this.#ports.credentialPolicy ?? USUAL_POLICY, 'factory');
    const issued = await issueDeviceCertificate(deviceAuthority, claim.claimId, request.publicKey, lifeMs, nowUnixMs);
    const outcome = await store.enrolDevice({
      claimId: claim.claimId,
      certificate: {
        serial: issued.serial,
        fingerprintSha256: issued.fingerprint,
        keySha256: request.keyId,
        chainPem: issued.pem,
        notAfterUnixMs: issued.notAfterUnixMs,
      },
      nowUnixMs,
    });
    // The former key has lost its place: its live sessions end.
    if (outcome.outcome === 'enrolled' && outcome.replaced) events.emit({ kind: 'revoked', id: claim.claimId });
    events.emit({ kind: 'device', id: claim.claimId });
    events.emit({ kind: 'audit', id: claim.claimId });
    return resultOf(outcome);
  }
}

function resultOf(outcome: EnrolOutcome): Result<Enrolled> {
  switch (outcome.outcome) {
    case 'enrolled':
    case 'same-key':
      return { ok: true, value: { deviceId: outcome.deviceId, certificateChain: outcome.chainPem } };
    case 'other-key':
      return refused(
        'claim-used-by-another-key',
        'another key has used this claim before; this one waits for approval',
      );
    case 'key-of-other-device':
      return refused('key-of-another-device', `this key belongs to ${outcome.deviceId}`);
    case 'claim-expired':
      return refused('claim-expired', 'the claim has expired');
    case 'revoked':
      return refused('device-revoked', 'this device was revoked');
    case 'nonce-refused':
      return NONCE_UNKNOWN;
    case 'claim-unknown':
      return PROOF_WRONG;
  }
}
