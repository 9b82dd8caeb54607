/** Attacks on enrolment: whoever sees or steals one claim's messages must not get a certificate with them. */
import { X509Certificate } from 'node:crypto';
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import type { ClaimFile } from '../../protocol/enrolment.ts';
import { type AttackOutcome, accepted, refused } from './attack.ts';
import { deviceKeyAndRequest } from './certificates.ts';
import { type ClientCertificate, chainOf, proveClaim, RawHttps, verdictOf } from './wire-clients.ts';
import type { WireLab } from './wire-lab.ts';

/** Enrols a device as a raw client and returns its identity. */
export async function enrolRaw(deviceUrl: string, ca: string, claim: ClaimFile): Promise<ClientCertificate> {
  const { keyPem, request } = await deviceKeyAndRequest(claim.claimId);
  const connection = new RawHttps(deviceUrl, ca);
  try {
    const answer = await connection.send('POST', DEVICE_PATHS.enrol, await proveClaim(connection, claim, request));
    const chainPem = chainOf(answer);
    if (chainPem === '') throw new Error(`enrolment: ${verdictOf(answer).code}`);
    return { keyPem, chainPem };
  } finally {
    connection.close();
  }
}

const serialOf = (chainPem: string): string => (chainPem === '' ? '' : new X509Certificate(chainPem).serialNumber);

export async function anotherKey(lab: WireLab): Promise<AttackOutcome> {
  const claim = await lab.operator.claim(`${lab.attacker.deviceId}-b`);
  const [own, other] = [await deviceKeyAndRequest(claim.claimId), await deviceKeyAndRequest(claim.claimId)];
  const enrol = async (request: Uint8Array) => {
    const connection = new RawHttps(lab.deviceUrl, lab.ca);
    try {
      return await connection.send('POST', DEVICE_PATHS.enrol, await proveClaim(connection, claim, request));
    } finally {
      connection.close();
    }
  };
  const first = await enrol(own.request);
  const attack = verdictOf(await enrol(other.request));
  // The same key again, after the attack: the very same certificate.
  const again = await enrol(own.request);
  const same = serialOf(chainOf(first)) !== '' && serialOf(chainOf(first)) === serialOf(chainOf(again));
  return {
    twin: same ? accepted() : refused(verdictOf(again).code, 'the same key did not get the same certificate'),
    attack,
  };
}

export async function replayedClaim(lab: WireLab): Promise<AttackOutcome> {
  const claim = await lab.operator.claim(`${lab.attacker.deviceId}-c`);
  const { request } = await deviceKeyAndRequest(claim.claimId);
  const [first, second] = [new RawHttps(lab.deviceUrl, lab.ca), new RawHttps(lab.deviceUrl, lab.ca)];
  try {
    const body = await proveClaim(first, claim, request);
    const twin = verdictOf(await first.send('POST', DEVICE_PATHS.enrol, body));
    return { twin, attack: verdictOf(await second.send('POST', DEVICE_PATHS.enrol, body)) };
  } finally {
    first.close();
    second.close();
  }
}

/** The nonce is fresh; the proof was made for another connection: a man in the middle passes it on. */
export async function relayedClaim(lab: WireLab): Promise<AttackOutcome> {
  const claim = await lab.operator.claim(`${lab.attacker.deviceId}-d`);
  const { request } = await deviceKeyAndRequest(claim.claimId);
  const [near, far] = [new RawHttps(lab.deviceUrl, lab.ca), new RawHttps(lab.deviceUrl, lab.ca)];
  try {
    const attack = verdictOf(await far.send('POST', DEVICE_PATHS.enrol, await proveClaim(near, claim, request)));
    const twin = verdictOf(await near.send('POST', DEVICE_PATHS.enrol, await proveClaim(near, claim, request)));
    return { twin, attack };
  } finally {
    near.close();
    far.close();
  }
}
