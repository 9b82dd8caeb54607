/**
 * Who is asking? A bearer token, or the page's session cookie that stands for one. Tokens are known by their SHA-256
 * alone, compared in constant time. An address that fails too often waits, whatever it sends. Sessions live in memory:
 * a restarted server asks for the token again. May not log a token or a cookie.
 */
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { sameSecret } from '../../../platform/same-secret.ts';
import { CSRF_HEADER } from '../../../protocol/operator-api.ts';
import { base64url } from '../../../trust/bytes.ts';
import type { ServerClock, ServerRandom, Store, TokenRecord } from '../../core/ports.ts';
import { OperatorApiError } from './errors.ts';

/** `__Host-`: the browser takes it over TLS only, for this host and every path, and from no one else. */
export const SESSION_COOKIE = '__Host-holdfast';
const SESSION_LIFE_MS = 12 * 3600 * 1000;
const SESSIONS = 1000;
const SESSION_BYTES = 32;
const TOKEN_CAP_CHARACTERS = 256;
/** Failed sign-ins of one address within the window before it has to wait for the window's end. */
const FAILURES_PER_WINDOW = 10;
const FAILURE_WINDOW_MS = 60_000;
const ADDRESSES = 10_000;
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

interface SignInPorts {
  readonly store: Pick<Store, 'findToken' | 'touchToken'>;
  readonly clock: ServerClock;
  readonly random: ServerRandom;
}

interface Session {
  readonly tokenSha256: string;
  readonly expiresUnixMs: number;
}

export const tokenSha256 = (token: string): string => createHash('sha256').update(token, 'utf8').digest('hex');

export class SignIn {
  readonly #ports: SignInPorts;
  readonly #sessions = new Map<string, Session>();
  readonly #failures = new Map<string, { count: number; windowUnixMs: number }>();

  constructor(ports: SignInPorts) {
    this.#ports = ports;
  }

  /** The token behind a request. Throws 401 (none, unknown, expired), 403 (a forged page request), 429. */
  async identify(request: FastifyRequest): Promise<TokenRecord> {
    this.#demandPatience(request.ip);
    const bearer = bearerOf(request);
    if (bearer !== undefined) return this.check(bearer, request.ip);
    const session = this.#sessionOf(request);
    if (session === undefined) throw unauthenticated('token-missing', 'this address answers only with a token');
    if (!SAFE_METHODS.has(request.method) && request.headers[CSRF_HEADER] === undefined) {
      const what = `a request that changes something must carry the header ${CSRF_HEADER}`;
      throw new OperatorApiError(403, { code: 'page-header-missing', what, cure: 'Use the page itself.' });
    }
    return this.#find(session.tokenSha256, request.ip);
  }

  /** The record of a token in the clear, one-time tokens included. */
  async check(token: string, address: string): Promise<TokenRecord> {
    this.#demandPatience(address);
    return this.#find(tokenSha256(token.slice(0, TOKEN_CAP_CHARACTERS)), address);
  }

  async #find(sha256: string, address: string): Promise<TokenRecord> {
    const { store, clock } = this.#ports;
    const now = clock.nowUnixMs();
    const record = await store.findToken(sha256);
    const same = record !== undefined && sameSecret(record.tokenSha256, sha256);
    const good = same && !record.revoked && (record.expiresUnixMs === null || record.expiresUnixMs > now);
    if (!good) {
      this.#countFailure(address);
      throw unauthenticated('token-refused', 'this token is unknown, used up, expired or revoked');
    }
    // Once a minute is enough for "last used", and spares a write at every request.
    if ((record.lastUsedUnixMs ?? 0) + 60_000 < now) await store.touchToken(record.tokenId, now);
    return record;
  }

  /** The cookie's value for a token that was checked. */
  openSession(record: TokenRecord): { readonly value: string; readonly lifeMs: number } {
    const now = this.#ports.clock.nowUnixMs();
    for (const [key, session] of this.#sessions) {
      if (session.expiresUnixMs <= now || this.#sessions.size >= SESSIONS) this.#sessions.delete(key);
    }
    const value = base64url(this.#ports.random.bytes(SESSION_BYTES));
    const session = { tokenSha256: record.tokenSha256, expiresUnixMs: now + SESSION_LIFE_MS };
    this.#sessions.set(tokenSha256(value), session);
    return { value, lifeMs: SESSION_LIFE_MS };
  }

  closeSession(request: FastifyRequest): void {
    const value = request.cookies[SESSION_COOKIE];
    if (value !== undefined) this.#sessions.delete(tokenSha256(value));
  }

  #sessionOf(request: FastifyRequest): Session | undefined {
    const value = request.cookies[SESSION_COOKIE];
    if (value === undefined) return undefined;
    // Looked up by digest: how long the look-up takes says nothing about the value.
    const session = this.#sessions.get(tokenSha256(value));
    return session !== undefined && session.expiresUnixMs > this.#ports.clock.nowUnixMs() ? session : undefined;
  }

  #demandPatience(address: string): void {
    const failures = this.#failures.get(address);
    if (failures === undefined) return;
    const waitMs = failures.windowUnixMs + FAILURE_WINDOW_MS - this.#ports.clock.nowUnixMs();
    if (waitMs <= 0) this.#failures.delete(address);
    else if (failures.count >= FAILURES_PER_WINDOW) {
      const cure = `Wait ${Math.ceil(waitMs / 1000)} s, then use a token that is good.`;
      const what = 'too many sign-ins from this address failed';
      throw new OperatorApiError(429, { code: 'too-many-failures', what, cure });
    }
  }

  #countFailure(address: string): void {
    const now = this.#ports.clock.nowUnixMs();
    const failures = this.#failures.get(address);
    if (failures !== undefined) failures.count += 1;
    else {
      const oldest = this.#failures.keys().next().value;
      if (this.#failures.size >= ADDRESSES && oldest !== undefined) this.#failures.delete(oldest);
      this.#failures.set(address, { count: 1, windowUnixMs: now });
    }
  }
}

function bearerOf(request: FastifyRequest): string | undefined {
  const header = request.headers.authorization;
  return header === undefined ? undefined : (/^Bearer +([\x21-\x7e]+)$/i.exec(header)?.[1] ?? '');
}

function unauthenticated(code: string, what: string): OperatorApiError {
  const cure = 'Sign in: holdfast login --server URL --ca FILE --token-file FILE, or ask an admin for a token.';
  return new OperatorApiError(401, { code, what, cure });
}
