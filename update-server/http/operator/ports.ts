/** What the operator listener is made of; main.ts gives it. */
import type { FastifyBaseLogger } from 'fastify';
import type { ClaimFile } from '../../../protocol/enrolment.ts';
import type { ClaimsRequest, LabPushAnswer, LabPushRequest } from '../../../protocol/operator-api.ts';
import type { ServerEvents } from '../../core/events.ts';
import type { Actor, Publication, ServerClock, ServerRandom, Store } from '../../core/ports.ts';
import type { Preparation } from '../../transport/preparation.ts';

type Refused = { readonly ok: false; readonly code: string; readonly what: string; readonly cure: string };

export interface OperatorApiPorts {
  readonly store: Store;
  readonly events: ServerEvents;
  readonly clock: ServerClock;
  readonly random: ServerRandom;
  readonly publication: Publication;
  /** What images travel as: for lists and metrics. */
  readonly preparation: Pick<Preparation, 'list' | 'queueLength' | 'storedBytes' | 'counters'>;
  /** Makes claims and seals their secrets (enrolment/claims.ts). */
  readonly createClaims: (
    request: ClaimsRequest,
    actor: Actor,
  ) => Promise<
    | { readonly outcome: 'created'; readonly claims: readonly ClaimFile[] }
    | { readonly outcome: 'ids-taken'; readonly ids: readonly string[] }
  >;
  /** Null on every server but a lab's: the address then does not exist. */
  readonly labPush:
    | ((
        request: LabPushRequest,
        actor: Actor,
      ) => Promise<{ readonly ok: true; readonly answer: LabPushAnswer } | Refused>)
    | null;
  readonly serverVersion: string;
  /** A device without MQTT counts as online this long after it was last heard. */
  readonly onlineWindowMs: number;
  readonly log: FastifyBaseLogger;
}
