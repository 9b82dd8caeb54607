/** The operator API over a real database; requests come in without a network, as Fastify's own tests do. */
import { createHash, randomBytes } from 'node:crypto';
import Fastify, { type FastifyInstance, type InjectOptions, type LightMyRequestResponse } from 'fastify';
import pino from 'pino';
import type { Role, TransportState } from '../../../../protocol/operator-api.ts';
import { ServerEvents } from '../../../../update-server/core/events.ts';
import type { Publication } from '../../../../update-server/core/ports.ts';
import { operatorApi } from '../../../../update-server/http/operator/app.ts';
import type { OperatorApiPorts } from '../../../../update-server/http/operator/ports.ts';
import { tokenSha256 } from '../../../../update-server/http/operator/sign-in.ts';
import { TransportCounters } from '../../../../update-server/transport/counters.ts';
import { claim, type Lab, openLab } from '../store/fixture.ts';

export interface OperatorLab {
  readonly lab: Lab;
  readonly app: FastifyInstance;
  readonly ports: OperatorApiPorts;
  readonly events: ServerEvents;
  readonly artifacts: Map<string, Uint8Array>;
  readonly transport: TransportState[];
  token(role: Role): Promise<string>;
  oneTimeToken(): Promise<string>;
  send(options: InjectOptions & { token?: string }): Promise<LightMyRequestResponse>;
  close(): Promise<void>;
}

/** What publication does is S2's and tested there; this one only keeps bytes, and publishes nothing. */
function memoryPublication(artifacts: Map<string, Uint8Array>): Publication {
  return {
    async putArtifact(sha256, stream) {
      const pieces: Uint8Array[] = [];
      for await (const piece of stream) pieces.push(piece);
      const bytes = Buffer.concat(pieces);
      if (createHash('sha256').update(bytes).digest('hex') !== sha256) {
        return { ok: false, code: 'digest-mismatch', what: 'the bytes have another digest', cure: 'Upload it again.' };
      }
      artifacts.set(sha256, bytes);
      return { ok: true };
    },
    async hasArtifact(sha256) {
      const bytes = artifacts.get(sha256);
      return bytes && { sizeBytes: bytes.length };
    },
    async *readArtifact(sha256, first, last) {
      yield artifacts.get(sha256)?.subarray(first, last + 1) ?? new Uint8Array();
    },
    publish: async () => ({ ok: false, code: 'metadata-threshold-not-met', what: '1 of 2 signatures', cure: 'Sign.' }),
    readMetadata: async (name) => (name === '1.root.json' ? Buffer.from('{"signatures":[],"signed":{}}') : undefined),
    environment: () => 'rehearsal',
  };
}

export async function openOperatorLab(): Promise<OperatorLab> {
  const lab = openLab();
  const events = new ServerEvents((error) => {
    throw error;
  });
  const artifacts = new Map<string, Uint8Array>();
  const transport: TransportState[] = [];
  const ports: OperatorApiPorts = {
    store: lab.store,
    events,
    clock: { nowUnixMs: () => lab.nowUnixMs },
    random: { bytes: (length) => new Uint8Array(randomBytes(length)) },
    publication: memoryPublication(artifacts),
    preparation: { list: () => [...transport], queueLength: 2, storedBytes: 77, counters: new TransportCounters() },
    createClaims: async (request) => {
      const taken = [];
      for (const id of request.ids) if ((await lab.store.findClaim(id)) !== undefined) taken.push(id);
      if (taken.length > 0) return { outcome: 'ids-taken', ids: taken };
      await claim(lab, request.ids, request.hardwareClass);
      const secret = 'A'.repeat(43);
      const { hardwareClass } = request;
      const claims = request.ids.map((claimId) => ({
        format: 'holdfast-claim-1' as const,
        claimId,
        hardwareClass,
        secret,
        expiresUnixMs: lab.nowUnixMs + 1,
      }));
      return { outcome: 'created', claims };
    },
    labPush: async () => ({ ok: false, code: 'device-unknown', what: 'there is no such device', cure: 'List them.' }),
    serverVersion: '0.1.0',
    onlineWindowMs: 90_000,
    log: pino({ level: 'silent' }),
  };
  const app = Fastify();
  await app.register(operatorApi(ports));
  await app.ready();
  let made = 0;
  const makeToken = async (role: Role, kind: 'lasting' | 'one-time'): Promise<string> => {
    made += 1;
    const token = `test-${kind}-${role}-${made}`;
    const record = { tokenId: `t${made}`, name: `${role}-${made}`, role, tokenSha256: tokenSha256(token), kind };
    await lab.store.createToken({ ...record, expiresUnixMs: null }, 'server', lab.nowUnixMs);
    return token;
  };
  return {
    lab,
    app,
    ports,
    events,
    artifacts,
    transport,
    token: (role) => makeToken(role, 'lasting'),
    oneTimeToken: () => makeToken('admin', 'one-time'),
    send: ({ token, ...options }) =>
      app.inject({
        ...options,
        headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...options.headers },
      }),
    async close() {
      await app.close();
      await lab.close();
    },
  };
}
