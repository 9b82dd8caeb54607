/**
 * How a device stands with its credentials, what it may be given while it stands so, and what it is asked for. Pure: the
 * store brings what the device stated and said, and what certificates and rotations there are.
 */
import { type FirstBootState, isRotated } from '../../protocol/credentials.ts';
import type { StatementVerdict } from '../../protocol/credentials-api.ts';
import type { PollAnswer } from '../../protocol/device-api.ts';
import type { CredentialsGate, RolloutPurpose, Standing } from '../../protocol/operator-api.ts';
import type { RaisedFlag } from './credentials.ts';

/** What the store keeps of a device between its statements. */
export interface CredentialRecord {
  readonly verdict: StatementVerdict;
  readonly epoch: number;
  readonly state: FirstBootState;
  readonly statedUnixMs: number;
  readonly flags: readonly RaisedFlag[];
}

export type FirstBootWord = { readonly state: FirstBootState; readonly epoch: number };

/**
 * `said`: of its last poll; null for agents without a first boot. A proof holds for its epoch, and while the agent that
 * keeps it speaks: an image that went back to an agent without a first boot may have brought factory secrets with it.
 */
export function standingOf(record: CredentialRecord | null, said: FirstBootWord | null): Standing {
  if (record?.flags.some(({ code }) => code === 'hardware-moved') === true) return 'awaiting-approval';
  if (record?.verdict === 'flagged') return 'flagged';
  const holds =
    record?.verdict === 'proven' &&
    said !== null &&
    said.epoch === record.epoch &&
    isRotated({ ...said, credentials: [] });
  return holds ? 'proven' : 'factory';
}

/** What the server's options say. */
export interface CredentialPolicy {
  readonly gate: CredentialsGate;
  /** What a certificate is good for while the gate is enforced and the device has not proven rotation. */
  readonly factoryCertificateMs: number;
}

/** Fail closed: whoever has a reason to serve devices with factory secrets says so. */
export const USUAL_POLICY: CredentialPolicy = { gate: 'enforce', factoryCertificateMs: 7 * 24 * 3600 * 1000 };

/**
 * What a device may be given: everything; what it works on and repairs; repairs only (rollouts of purpose repair and
 * security); or nothing but metadata.
 */
export type Service = 'all' | 'work' | 'repairs' | 'none';

export function serviceFor(standing: Standing, gate: CredentialsGate, rotationOwed: boolean): Service {
  if (gate !== 'off' && standing === 'awaiting-approval') return 'none';
  if (gate === 'enforce' && standing !== 'proven') return 'repairs';
  return rotationOwed ? 'work' : 'all';
}

/** `working`: the device is at it already. */
export function serves(service: Service, purpose: RolloutPurpose, working: boolean): boolean {
  if (service === 'all') return true;
  if (service === 'none') return false;
  return purpose !== 'update' || (service === 'work' && working);
}

export const certificateLifeMs = (policy: CredentialPolicy, standing: Standing): number =>
  policy.gate === 'enforce' && standing !== 'proven' ? policy.factoryCertificateMs : FULL_CERTIFICATE_MS;

const HOUR_MS = 3600 * 1000;
/** What a certificate of a device is good for, if the device has proven rotation or nobody enforces that. */
export const FULL_CERTIFICATE_MS = 365 * 24 * HOUR_MS;
/** A proof older than this is asked for again. */
export const STATEMENT_FRESH_MS = 7 * 24 * HOUR_MS;
/** What speaks against a device may have been mended meanwhile. */
const FLAGGED_FRESH_MS = HOUR_MS;

export interface RequestFacts {
  readonly protocol: number;
  readonly said: FirstBootWord | null;
  readonly record: CredentialRecord | null;
  /** A rotation waits for this device: the epoch that it has to leave behind. */
  readonly rotateFromEpoch: number | null;
  /** The newest that was issued and not revoked. `unused`: the device still comes with the one before. */
  readonly certificate: {
    readonly issuedUnixMs: number;
    readonly notAfterUnixMs: number;
    readonly unused: boolean;
  } | null;
  readonly standing: Standing;
  readonly nowUnixMs: number;
}

/** Agents before protocol 3 know none of these words. */
export function decideRequests(facts: RequestFacts): PollAnswer['requests'] {
  if (facts.protocol < 3) return [];
  const requests: PollAnswer['requests'] = [];
  const { said, rotateFromEpoch } = facts;
  if (said !== null && rotateFromEpoch !== null && said.epoch <= rotateFromEpoch) requests.push('rotate-credentials');
  if (said !== null && wantsStatement(said, facts.record, facts.nowUnixMs)) requests.push('report-credentials');
  if (wantsCertificate(facts)) requests.push('renew-certificate');
  return requests;
}

function wantsStatement(said: FirstBootWord, record: CredentialRecord | null, nowUnixMs: number): boolean {
  if (record === null || said.epoch > record.epoch) return true;
  const ageMs = nowUnixMs - record.statedUnixMs;
  if (record.flags.length > 0) return ageMs >= FLAGGED_FRESH_MS;
  if (said.epoch < record.epoch) return true;
  const opened = isRotated({ ...said, credentials: [] }) !== isRotated({ ...record, credentials: [] });
  return opened || ageMs >= STATEMENT_FRESH_MS;
}

/** After two thirds of its life; while a new one was issued and has not arrived; or when the life was short and the device has proven itself since. */
function wantsCertificate({ certificate, standing, nowUnixMs }: RequestFacts): boolean {
  if (certificate === null || standing === 'awaiting-approval') return false;
  const lifeMs = certificate.notAfterUnixMs - certificate.issuedUnixMs;
  const due = certificate.unused || nowUnixMs - certificate.issuedUnixMs >= (lifeMs * 2) / 3;
  return due || (standing === 'proven' && lifeMs * 2 < FULL_CERTIFICATE_MS);
}
