/**
 * Claims: made for the factory, each with a secret that proves once that a device left it. The secrets are at rest only
 * under the server's sealing key; the answer that creates them is the one time they are seen. Never logged.
 */
import { openSealed, sealBytes } from '../../platform/sealed-file.ts';
import { CLAIM_SECRET_BYTES, type ClaimFile } from '../../protocol/enrolment.ts';
import type { ClaimsRequest } from '../../protocol/operator-api.ts';
import { base64url } from '../../trust/bytes.ts';
import type { Actor, ServerClock, ServerRandom, Store } from '../core/ports.ts';

const DAY_MS = 24 * 3600 * 1000;

export interface ClaimPorts {
  readonly store: Pick<Store, 'createClaims'>;
  readonly clock: ServerClock;
  readonly random: ServerRandom;
  /** 32 bytes; opens and seals claim secrets. */
  readonly sealingKey: Uint8Array;
}

export type ClaimsOutcome =
  | { readonly outcome: 'created'; readonly claims: readonly ClaimFile[] }
  | { readonly outcome: 'ids-taken'; readonly ids: readonly string[] };

/** A sealed secret opens for its own claim only: the id is part of what is authenticated. */
const sealContext = (claimId: string): string => `holdfast claim 1 ${claimId}`;

/** Makes one claim per id, all or none. `ids-taken` when devices of these ids exist. */
export async function createClaims(ports: ClaimPorts, request: ClaimsRequest, actor: Actor): Promise<ClaimsOutcome> {
  const nowUnixMs = ports.clock.nowUnixMs();
  const expiresUnixMs = nowUnixMs + request.expiresInDays * DAY_MS;
  const made = [...new Set(request.ids)].map((claimId) => ({
    claimId,
    secret: ports.random.bytes(CLAIM_SECRET_BYTES),
  }));
  const stored = await ports.store.createClaims({
    hardwareClass: request.hardwareClass,
    claims: made.map(({ claimId, secret }) => ({
      claimId,
      sealedSecret: sealClaimSecret(ports.sealingKey, claimId, secret),
    })),
    expiresUnixMs,
    actor,
    nowUnixMs,
  });
  if (stored.outcome === 'ids-taken') return stored;
  const claims = made.map(({ claimId, secret }) => ({
    format: 'holdfast-claim-1' as const,
    claimId,
    hardwareClass: request.hardwareClass,
    secret: base64url(secret),
    expiresUnixMs,
  }));
  return { outcome: 'created', claims };
}

export function sealClaimSecret(sealingKey: Uint8Array, claimId: string, secret: Uint8Array): Uint8Array {
  return sealBytes(sealingKey, secret, sealContext(claimId));
}

/** Opens the secret of a claim. Faults (`sealing-key-wrong`) mean that the database belongs to another key. */
export function openClaimSecret(sealingKey: Uint8Array, claimId: string, sealedSecret: Uint8Array): Uint8Array {
  return openSealed(sealingKey, sealedSecret, sealContext(claimId));
}
