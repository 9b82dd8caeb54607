/**
 * The live page and its sign-in. The page is static files; it reads the API like any other client, signed in by a cookie.
 * Without a session `/` answers 401 with a form that needs no script; its one style is allowed by digest.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { Done, SessionRequest } from '../../../protocol/operator-api.ts';
import { OperatorApiError } from './errors.ts';
import { addRoute } from './route.ts';
import { SESSION_COOKIE, type SignIn } from './sign-in.ts';

const ASSETS = {
  'page.css': 'text/css; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'api.js': 'text/javascript; charset=utf-8',
  'fleet.js': 'text/javascript; charset=utf-8',
  'rollouts.js': 'text/javascript; charset=utf-8',
  'audit.js': 'text/javascript; charset=utf-8',
  'words.js': 'text/javascript; charset=utf-8',
} as const;

/** From source, and from the bundle in dist/. */
const FOLDERS = ['../../dashboard/', '../update-server/dashboard/'].map((path) => new URL(path, import.meta.url));

function readDashboard(name: string): string {
  const found = FOLDERS.map((folder) => new URL(name, folder)).find((url) => existsSync(url));
  if (found !== undefined) return readFileSync(found, 'utf8');
  throw new Fault({
    code: 'page-missing',
    what: `a file of the live page is missing: ${name}`,
    where: FOLDERS.map((folder) => folder.pathname).join(' or '),
    cure: 'Install Holdfast again: update-server/dashboard/ must lie beside dist/.',
    exitStatus: EXIT.environment,
  });
}

export function addPage(app: FastifyInstance, signIn: SignIn): void {
  const page = readDashboard('index.html');
  const form = readDashboard('sign-in.html');
  const style = /<style>([\s\S]*?)<\/style>/.exec(form)?.[1] ?? '';
  const styleDigest = createHash('sha256').update(style).digest('base64');
  const formPolicy = `default-src 'none'; style-src 'sha256-${styleDigest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`;
  const sendForm = (reply: FastifyReply, status: number, message: string): FastifyReply =>
    reply
      .code(status)
      .header('content-security-policy', formPolicy)
      .type('text/html; charset=utf-8')
      .send(form.replace('<!-- message -->', message));

  addRoute(app, { method: 'GET', url: '/', access: 'open', summary: 'The live page.' }, async ({ request, reply }) => {
    const token = await signIn.identify(request).catch((error: unknown) => {
      if (error instanceof OperatorApiError) return undefined;
      throw error;
    });
    if (token === undefined || token.kind === 'one-time') await sendForm(reply, 401, '');
    else await reply.type('text/html; charset=utf-8').send(page);
    return undefined;
  });

  for (const [name, type] of Object.entries(ASSETS)) {
    const text = readDashboard(name);
    const url = `/assets/${name}`;
    addRoute(app, { method: 'GET', url, access: 'devices.read', summary: 'Of the live page.' }, async ({ reply }) => {
      await reply.type(type).send(text);
      return undefined;
    });
  }

  addSessionRoutes(app, signIn, sendForm);
}

/** The form sends what forms send; scripts may send JSON. */
function addSessionRoutes(
  app: FastifyInstance,
  signIn: SignIn,
  sendForm: (reply: FastifyReply, status: number, message: string) => FastifyReply,
): void {
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) =>
    done(null, Object.fromEntries(new URLSearchParams(String(body)))),
  );

  addRoute(
    app,
    {
      method: 'POST',
      url: '/session',
      access: 'open',
      summary: 'Signs the page in with a token.',
      body: SessionRequest,
      bodyCapBytes: 1024,
    },
    async ({ body, request, reply }) => {
      refuseOtherSites(request.headers['sec-fetch-site']);
      const byForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true;
      try {
        const token = await signIn.check(body.token.trim(), request.ip);
        if (token.kind === 'one-time') {
          const cure =
            'Exchange it first: holdfast login --server URL --ca FILE --token-file FILE; then sign in with the lasting token.';
          throw new OperatorApiError(403, { code: 'token-one-time', what: 'this is a one-time token', cure });
        }
        const { value, lifeMs } = signIn.openSession(token);
        reply.setCookie(SESSION_COOKIE, value, {
          path: '/',
          httpOnly: true,
          secure: true,
          sameSite: 'strict',
          maxAge: Math.floor(lifeMs / 1000),
        });
      } catch (error) {
        if (!byForm || !(error instanceof OperatorApiError)) throw error;
        await sendForm(reply, error.status, `${error.answer.what}. ${error.answer.cure}`);
        return undefined;
      }
      if (!byForm) return { ok: true };
      await reply.redirect('/', 303);
      return undefined;
    },
  );

  addRoute(
    app,
    { method: 'DELETE', url: '/session', access: 'whoami.read', summary: 'Signs the page out.', answer: Done },
    async ({ request, reply }) => {
      signIn.closeSession(request);
      reply.clearCookie(SESSION_COOKIE, { path: '/', httpOnly: true, secure: true, sameSite: 'strict' });
      return { ok: true };
    },
  );
}

/** Another site must not sign this browser in as somebody else. Browsers tell; other programs have no such header. */
function refuseOtherSites(fetchSite: string | undefined): void {
  if (fetchSite === undefined || fetchSite === 'same-origin' || fetchSite === 'none') return;
  const what = 'another site sent this sign-in';
  throw new OperatorApiError(403, { code: 'other-site', what, cure: 'Open the page itself and sign in there.' });
}
