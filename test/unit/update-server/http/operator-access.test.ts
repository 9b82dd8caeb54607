import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorAnswer } from '../../../../protocol/device-api.ts';
import { CSRF_HEADER, LoginAnswer, OPERATOR_PATHS, ROLES, type Role } from '../../../../protocol/operator-api.ts';
import { mayDo, OPERATIONS, type Operation } from '../../../../update-server/core/permissions.ts';
import { type OperatorLab, openOperatorLab } from './operator-fixture.ts';

let operators: OperatorLab;
beforeEach(async () => {
  operators = await openOperatorLab();
});
afterEach(() => operators.close());

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
const SHA256 = 'a'.repeat(64);

/** Every route with the operation that it takes. The test below fails when one is missing here. */
const ROUTES: readonly (readonly [Method, string, Operation])[] = [
  ['GET', '/api/v1/whoami', 'whoami.read'],
  ['GET', '/api/v1/tokens', 'tokens.read'],
  ['POST', '/api/v1/tokens', 'tokens.create'],
  ['DELETE', '/api/v1/tokens/:tokenId', 'tokens.revoke'],
  ['GET', '/api/v1/audit', 'audit.read'],
  ['POST', '/api/v1/claims', 'claims.create'],
  ['GET', '/api/v1/devices', 'devices.read'],
  ['GET', '/api/v1/devices/:deviceId', 'devices.read'],
  ['GET', '/api/v1/credentials', 'devices.read'],
  ['POST', '/api/v1/devices/:deviceId/revoke', 'devices.revoke'],
  ['POST', '/api/v1/devices/:deviceId/approve', 'devices.approve'],
  ['GET', '/api/v1/releases', 'releases.read'],
  ['POST', '/api/v1/publish', 'releases.publish'],
  ['GET', '/api/v1/metadata/:name', 'metadata.read'],
  ['PUT', '/api/v1/artifacts/:sha256', 'artifacts.write'],
  ['HEAD', '/api/v1/artifacts/:sha256', 'artifacts.read'],
  ['GET', '/api/v1/artifacts/:sha256', 'artifacts.download'],
  ['GET', '/api/v1/rollouts', 'rollouts.read'],
  ['POST', '/api/v1/rollouts', 'rollouts.start'],
  ['GET', '/api/v1/rollouts/:rolloutId', 'rollouts.read'],
  ['POST', '/api/v1/rollouts/:rolloutId/pause', 'rollouts.pause'],
  ['POST', '/api/v1/rollouts/:rolloutId/resume', 'rollouts.resume'],
  ['POST', '/api/v1/rollouts/:rolloutId/cancel', 'rollouts.cancel'],
  ['POST', '/api/v1/lab/push', 'lab.push'],
  ['GET', '/api/v1/rotations', 'rotations.read'],
  ['POST', '/api/v1/rotations', 'rotations.start'],
  ['GET', '/api/v1/rotations/:rotationId', 'rotations.read'],
  ['POST', '/api/v1/rotations/:rotationId/pause', 'rotations.pause'],
  ['POST', '/api/v1/rotations/:rotationId/resume', 'rotations.resume'],
  ['POST', '/api/v1/rotations/:rotationId/cancel', 'rotations.cancel'],
  ['POST', '/api/v1/devices/:deviceId/escrow/requests', 'escrow.request'],
  ['GET', '/api/v1/escrow/requests', 'escrow.read'],
  ['POST', '/api/v1/escrow/requests/:requestId/approve', 'escrow.approve'],
  ['POST', '/api/v1/escrow/requests/:requestId/fetch', 'escrow.fetch'],
  ['GET', '/api/v1/escrow/outstanding', 'escrow.read'],
  ['GET', '/api/v1/events', 'events.read'],
  ['GET', '/metrics', 'metrics.read'],
  ['GET', '/assets/page.js', 'devices.read'],
  ['DELETE', '/session', 'whoami.read'],
  ['GET', '/docs/json', 'documentation.read'],
  ['GET', '/docs', 'documentation.read'],
];

const filled = (url: string): string =>
  url
    .replace(':sha256', SHA256)
    .replace(':name', '1.root.json')
    .replace(/:[a-zA-Z]+/g, 'some-id');

describe('roles', () => {
  it('stand in the table for every route there is', async () => {
    const token = await operators.token('viewer');
    const documented = (await operators.send({ method: 'GET', url: '/docs/json', token })).json();
    const paths: Record<string, Record<string, unknown>> = documented.paths;
    expect(Object.keys(paths).length).toBeGreaterThan(20);
    const known = new Set(ROUTES.map(([method, url]) => `${method} ${url.replace(/:([a-zA-Z0-9]+)/g, '{$1}')}`));
    const open = new Set(['GET /healthz', 'GET /', 'POST /session', 'POST /api/v1/login']);
    for (const [url, methods] of Object.entries(paths)) {
      for (const method of Object.keys(methods)) {
        const route = `${method.toUpperCase()} ${url}`;
        const covered = known.has(route) || open.has(route) || url.startsWith('/assets/') || method === 'head';
        expect(covered, route).toBe(true);
      }
    }
  });

  it.each(ROUTES)(
    '%s %s refuses every role that the table does not name, and lets the others in',
    async (method, url, operation) => {
      for (const role of ROLES) {
        if (url === '/api/v1/events' && mayDo(role, operation)) continue;
        const token = await operators.token(role);
        const answer = await operators.send({ method, url: filled(url), token });
        const refused = answer.statusCode === 403;
        expect(refused, `${role} ${answer.statusCode} ${answer.body.slice(0, 200)}`).toBe(!mayDo(role, operation));
        if (refused && method !== 'HEAD') expect(v.parse(ErrorAnswer, answer.json()).code).toBe('role-too-weak');
        expect(answer.statusCode).not.toBe(500);
      }
    },
  );

  it.each(ROUTES)('%s %s answers nobody without a token', async (method, url) => {
    for (const token of [undefined, 'wrong']) {
      const answer = await operators.send({ method, url: filled(url), ...(token === undefined ? {} : { token }) });
      expect(answer.statusCode).toBe(401);
    }
  });

  it('are in order: each may do what those before it may', () => {
    for (const operation of Object.keys(OPERATIONS) as Operation[]) {
      const may = ROLES.map((role) => mayDo(role, operation));
      expect(may).toEqual([...may].sort((a, b) => Number(a) - Number(b)));
    }
  });

  it('are not asked of an address that does not exist, but a token is', async () => {
    expect((await operators.send({ method: 'GET', url: '/api/v1/nothing' })).statusCode).toBe(401);
    const answer = await operators.send({
      method: 'GET',
      url: '/api/v1/nothing',
      token: await operators.token('viewer'),
    });
    expect(v.parse(ErrorAnswer, answer.json()).code).toBe('not-found');
  });
});

describe('the one-time token', () => {
  const login = (token: string, name = 'anna') =>
    operators.send({ method: 'POST', url: OPERATOR_PATHS.login, token, payload: { name } });

  it('is exchanged once for a lasting admin token, and refused the second time', async () => {
    const once = await operators.oneTimeToken();
    const answer = await login(once);
    expect(answer.statusCode).toBe(200);
    const { token, role } = v.parse(LoginAnswer, answer.json());
    expect(role).toBe('admin');
    expect((await operators.send({ method: 'GET', url: OPERATOR_PATHS.tokens, token })).statusCode).toBe(200);
    const second = await login(once, 'berta');
    expect(second.statusCode).toBe(401);
    expect(second.json()).toMatchObject({ ok: false, code: 'token-refused' });
  });

  it('opens nothing else, and a lasting token cannot be exchanged', async () => {
    const once = await operators.oneTimeToken();
    const other = await operators.send({ method: 'GET', url: OPERATOR_PATHS.devices, token: once });
    expect([other.statusCode, other.json().code]).toEqual([403, 'token-one-time']);
    const lasting = await login(await operators.token('admin'));
    expect([lasting.statusCode, lasting.json().code]).toEqual([403, 'token-lasting']);
  });

  it('stays good when the name is taken', async () => {
    const once = await operators.oneTimeToken();
    await operators.token('viewer');
    expect((await login(once, 'viewer-2')).statusCode).toBe(409);
    expect((await login(once, 'anna')).statusCode).toBe(200);
  });
});

describe('tokens', () => {
  it('are kept as SHA-256 only, and are refused once revoked or expired', async () => {
    const admin = await operators.token('admin');
    const payload = { name: 'ci', role: 'operator' satisfies Role, expiresInDays: 1 };
    const made = await operators.send({ method: 'POST', url: OPERATOR_PATHS.tokens, token: admin, payload });
    expect(made.statusCode).toBe(201);
    const { token, tokenId } = v.parse(LoginAnswer, made.json());
    const database = await import('node:fs').then((fs) => fs.readFileSync(`${operators.lab.path}-wal`, 'latin1'));
    expect(database).not.toContain(token);
    const whoami = { method: 'GET', url: OPERATOR_PATHS.whoami, token } as const;
    expect((await operators.send(whoami)).json()).toMatchObject({
      name: 'ci',
      role: 'operator',
      environment: 'rehearsal',
    });
    operators.lab.nowUnixMs += 24 * 3600 * 1000;
    expect((await operators.send(whoami)).statusCode).toBe(401);
    operators.lab.nowUnixMs -= 1;
    expect((await operators.send(whoami)).statusCode).toBe(200);
    await operators.send({ method: 'DELETE', url: `${OPERATOR_PATHS.tokens}/${tokenId}`, token: admin });
    expect((await operators.send(whoami)).statusCode).toBe(401);
  });

  it('make an address wait that fails ten times, whatever it sends then', async () => {
    const good = await operators.token('viewer');
    for (let tries = 0; tries < 10; tries += 1) {
      expect(
        (await operators.send({ method: 'GET', url: OPERATOR_PATHS.whoami, token: `guess-${tries}` })).statusCode,
      ).toBe(401);
    }
    const answer = await operators.send({ method: 'GET', url: OPERATOR_PATHS.whoami, token: good });
    expect([answer.statusCode, answer.json().code]).toEqual([429, 'too-many-failures']);
    operators.lab.nowUnixMs += 60_000;
    expect((await operators.send({ method: 'GET', url: OPERATOR_PATHS.whoami, token: good })).statusCode).toBe(200);
  });
});

describe('the page', () => {
  async function signIn(token: string) {
    const answer = await operators.send({ method: 'POST', url: '/session', payload: { token } });
    const cookie = String(answer.headers['set-cookie'] ?? '');
    return { answer, cookie, session: cookie.split(';', 1)[0] ?? '' };
  }

  it('answers the sign-in form with a 401, and itself once signed in', async () => {
    const form = await operators.send({ method: 'GET', url: '/' });
    expect(form.statusCode).toBe(401);
    expect(form.body).toContain('action="/session"');
    const { session, cookie } = await signIn(await operators.token('viewer'));
    for (const flag of ['HttpOnly', 'Secure', 'SameSite=Strict', 'Path=/', '__Host-']) expect(cookie).toContain(flag);
    const page = await operators.send({ method: 'GET', url: '/', headers: { cookie: session } });
    expect(page.statusCode).toBe(200);
    expect(page.body).toContain('/assets/page.js');
  });

  it('takes the form as a browser sends it, and says in the form what is wrong', async () => {
    const token = await operators.token('viewer');
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const good = await operators.send({ method: 'POST', url: '/session', headers, payload: `token=${token}` });
    expect([good.statusCode, good.headers.location]).toEqual([303, '/']);
    const bad = await operators.send({ method: 'POST', url: '/session', headers, payload: 'token=guess' });
    expect(bad.statusCode).toBe(401);
    expect(bad.body).toContain('this token is unknown, used up, expired or revoked');
  });

  it('demands its header of every request that changes something by cookie', async () => {
    const { session } = await signIn(await operators.token('admin'));
    const payload = { name: 'eve', role: 'admin' };
    const request = { method: 'POST', url: OPERATOR_PATHS.tokens, payload, headers: { cookie: session } } as const;
    const forged = await operators.send(request);
    expect([forged.statusCode, forged.json().code]).toEqual([403, 'page-header-missing']);
    const own = await operators.send({ ...request, headers: { cookie: session, [CSRF_HEADER]: '1' } });
    expect(own.statusCode).toBe(201);
  });

  it('is not signed in by another site, nor by a one-time token', async () => {
    const token = await operators.token('viewer');
    const headers = { 'sec-fetch-site': 'cross-site' };
    const other = await operators.send({ method: 'POST', url: '/session', headers, payload: { token } });
    expect([other.statusCode, other.json().code]).toEqual([403, 'other-site']);
    const { answer } = await signIn(await operators.oneTimeToken());
    expect([answer.statusCode, answer.json().code]).toEqual([403, 'token-one-time']);
  });

  it('ends a session when it signs out, when its token is revoked, and after twelve hours', async () => {
    const token = await operators.token('viewer');
    const read = async (session: string) =>
      (await operators.send({ method: 'GET', url: OPERATOR_PATHS.devices, headers: { cookie: session } })).statusCode;
    const first = await signIn(token);
    const second = await signIn(token);
    await operators.send({ method: 'DELETE', url: '/session', headers: { cookie: first.session, [CSRF_HEADER]: '1' } });
    expect([await read(first.session), await read(second.session)]).toEqual([401, 200]);
    operators.lab.nowUnixMs += 12 * 3600 * 1000;
    expect(await read(second.session)).toBe(401);
    const third = await signIn(token);
    await operators.lab.store.revokeToken('t1', 'tester', operators.lab.nowUnixMs);
    expect(await read(third.session)).toBe(401);
  });

  it('forbids inline script and style, framing and sniffing', async () => {
    for (const url of ['/', '/healthz', '/api/v1/whoami']) {
      const { headers } = await operators.send({ method: 'GET', url });
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe');
      expect(headers['x-content-type-options']).toBe('nosniff');
    }
  });
});
