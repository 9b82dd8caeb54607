/** Tokens and the audit: who may, and who did. */
import type { FastifyInstance } from 'fastify';
import * as v from 'valibot';
import { Name } from '../../../protocol/device-api.ts';
import {
  AuditAnswer,
  Done,
  LoginAnswer,
  LoginRequest,
  OPERATOR_PATHS,
  type Role,
  TokenRequest,
  TokensAnswer,
  Whoami,
} from '../../../protocol/operator-api.ts';
import { base64url, hex } from '../../../trust/bytes.ts';
import type { NewToken, ServerRandom } from '../../core/ports.ts';
import { OperatorApiError, unknown } from './errors.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute, Digits } from './route.ts';
import { tokenSha256 } from './sign-in.ts';

const TOKEN_BYTES = 32;
const TOKEN_ID_BYTES = 8;
const DAY_MS = 24 * 3600 * 1000;
const AUDIT_PAGE = 100;

const AuditQuery = v.strictObject({
  limit: v.optional(Digits(1000)),
  before: v.optional(Digits(Number.MAX_SAFE_INTEGER)),
});

/** A new token and its record; the text itself is seen only here and by whoever asked. */
function makeToken(
  random: ServerRandom,
  name: string,
  role: Role,
  expiresUnixMs: number | null,
): { readonly token: string; readonly record: NewToken } {
  const token = `hft_${base64url(random.bytes(TOKEN_BYTES))}`;
  const tokenId = hex(random.bytes(TOKEN_ID_BYTES));
  return { token, record: { tokenId, name, role, tokenSha256: tokenSha256(token), kind: 'lasting', expiresUnixMs } };
}

const nameTaken = (name: string): OperatorApiError =>
  new OperatorApiError(409, {
    code: 'name-taken',
    what: `there is a living token of the name ${name} already`,
    cure: 'Choose another name: the audit tells people apart by it.',
  });

export function addPeopleRoutes(app: FastifyInstance, ports: OperatorApiPorts): void {
  const { store, clock, random } = ports;

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.whoami,
      access: 'whoami.read',
      summary: 'Name and role of the token.',
      answer: Whoami,
    },
    async ({ request }) => ({
      name: request.token?.name ?? '',
      role: request.token?.role ?? 'viewer',
      serverVersion: ports.serverVersion,
      environment: ports.publication.environment(),
    }),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.login,
      access: 'one-time',
      summary: 'Exchanges the one-time token, once, for a lasting one.',
      body: LoginRequest,
      answer: LoginAnswer,
    },
    async ({ body, request }) => {
      const used = request.token;
      if (used === null) throw new Error('a route with a token check has no token');
      const { token, record } = makeToken(random, body.name, used.role, null);
      const outcome = await store.exchangeToken(used.tokenId, record, clock.nowUnixMs());
      if (outcome === 'name-taken') throw nameTaken(body.name);
      if (outcome === 'used') {
        const cure = 'Sign in with the lasting token that it was exchanged for.';
        throw new OperatorApiError(401, { code: 'token-refused', what: 'this one-time token was used before', cure });
      }
      ports.events.emit({ kind: 'audit', id: 'audit' });
      return { tokenId: record.tokenId, token, name: record.name, role: record.role };
    },
  );

  addTokenRoutes(app, ports);

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.audit,
      access: 'audit.read',
      summary: 'The audit log, newest first, and whether its chain of hashes holds.',
      query: AuditQuery,
      answer: AuditAnswer,
    },
    async ({ query }) => {
      const limit = Math.max(1, query.limit ?? AUDIT_PAGE);
      const page = query.before === undefined ? { limit } : { limit, beforeIndex: query.before };
      const chain = await store.verifyAudit();
      return {
        entries: await store.listAudit(page),
        chain: chain.ok
          ? { ok: true, entries: chain.entries, brokenAtIndex: null }
          : { ok: false, entries: chain.brokenAtIndex, brokenAtIndex: chain.brokenAtIndex },
      };
    },
  );
}

function addTokenRoutes(app: FastifyInstance, ports: OperatorApiPorts): void {
  const { store, clock, random, events } = ports;

  addRoute(
    app,
    {
      method: 'GET',
      url: OPERATOR_PATHS.tokens,
      access: 'tokens.read',
      summary: 'Living tokens.',
      answer: TokensAnswer,
    },
    async () => ({ tokens: await store.listTokens() }),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: OPERATOR_PATHS.tokens,
      access: 'tokens.create',
      summary: 'Makes a token; the answer is the only time that it is seen.',
      body: TokenRequest,
      answer: LoginAnswer,
      status: 201,
    },
    async ({ body, actor }) => {
      const now = clock.nowUnixMs();
      const expires = body.expiresInDays === undefined ? null : now + body.expiresInDays * DAY_MS;
      const { token, record } = makeToken(random, body.name, body.role, expires);
      const { outcome } = await store.createToken(record, actor, now);
      if (outcome === 'name-taken') throw nameTaken(body.name);
      events.emit({ kind: 'audit', id: 'audit' });
      return { tokenId: record.tokenId, token, name: record.name, role: record.role };
    },
  );

  addRoute(
    app,
    {
      method: 'DELETE',
      url: `${OPERATOR_PATHS.tokens}/:tokenId`,
      access: 'tokens.revoke',
      summary: 'The token is refused from now on.',
      params: v.strictObject({ tokenId: Name }),
      answer: Done,
    },
    async ({ params, actor }) => {
      const revoked = await store.revokeToken(params.tokenId, actor, clock.nowUnixMs());
      if (!revoked)
        throw unknown('token-unknown', `there is no living token ${params.tokenId}`, 'holdfast tokens list.');
      events.emit({ kind: 'audit', id: 'audit' });
      return { ok: true };
    },
  );
}
