/**
 * The operator listener: HTTPS with TLS 1.3 for people's tools, scripts and the live page. Every address but `/healthz`
 * asks for a token (`/` answers the sign-in form with a 401), every body is capped, strict JSON, every error an
 * `ErrorAnswer`. Decides nothing: store, repository and core do.
 */
import fastifyCookie from '@fastify/cookie';
import Fastify, { type FastifyInstance, type FastifyPluginAsync, LogController } from 'fastify';
import { OPERATOR_BODY_CAP_BYTES, OPERATOR_PATHS } from '../../../protocol/operator-api.ts';
import { decodeJson } from '../../../trust/json.ts';
import { addArtifactRoutes, addReleaseRoutes } from './artifact-routes.ts';
import { addEscrowRoutes, addRotationRoutes } from './credential-routes.ts';
import { addDeviceRoutes } from './device-routes.ts';
import { addDocumentation, markDocumentation } from './documentation.ts';
import { answerError, notFound, OperatorApiError } from './errors.ts';
import { addEventStream } from './event-stream.ts';
import { addMetrics } from './metrics.ts';
import { addPage } from './page.ts';
import { addPeopleRoutes } from './people-routes.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRolloutRoutes } from './rollout-routes.ts';
import { addAccessCheck, addRoute, validatorCompiler } from './route.ts';
import { SignIn } from './sign-in.ts';

const JSON_DEPTH = 16;
/** Of the largest JSON body; each address has its own cap below it. */
const JSON_CAP_BYTES = 8 * 1024 * 1024;

const SECURITY_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
  'cache-control': 'no-store',
} as const;

export interface OperatorIdentity {
  readonly keyPem: string;
  readonly chainPem: string;
}

/** Ready to listen. Close it to end event streams too. */
export async function buildOperatorApi(identity: OperatorIdentity, ports: OperatorApiPorts): Promise<FastifyInstance> {
  const app = Fastify({
    https: { key: identity.keyPem, cert: identity.chainPem, minVersion: 'TLSv1.3', handshakeTimeout: 10_000 },
    loggerInstance: ports.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: OPERATOR_BODY_CAP_BYTES,
    keepAliveTimeout: 75_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 512 },
  });
  await app.register(operatorApi(ports));
  return app;
}

/** The API as a plugin, for a listener of another kind. */
export function operatorApi(ports: OperatorApiPorts): FastifyPluginAsync {
  return async (app) => {
    app.setErrorHandler(answerError);
    app.setNotFoundHandler((request, reply) => answerError(notFound(), request, reply));
    app.setValidatorCompiler(validatorCompiler);
    app.setSerializerCompiler(() => (data) => JSON.stringify(data));
    takeStrictJson(app);
    app.addHook('onSend', async (_request, reply) => {
      for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
        if (!reply.hasHeader(name)) reply.header(name, value);
      }
    });
    await app.register(fastifyCookie);
    const signIn = new SignIn(ports);
    markDocumentation(app);
    addAccessCheck(app, signIn);
    await addDocumentation(app, ports.serverVersion);
    // In a plugin of its own, after the documentation, so that it sees every route.
    await app.register(async (routes) => {
      addRoute(
        routes,
        { method: 'GET', url: OPERATOR_PATHS.health, access: 'open', summary: 'Is it alive?' },
        async () => ({
          ok: true,
        }),
      );
      addPeopleRoutes(routes, ports);
      addDeviceRoutes(routes, ports);
      addReleaseRoutes(routes, ports);
      addArtifactRoutes(routes, ports);
      addRolloutRoutes(routes, ports);
      addRotationRoutes(routes, ports);
      addEscrowRoutes(routes, ports);
      addEventStream(routes, ports);
      addMetrics(routes, ports);
      addPage(routes, signIn);
    });
  };
}

/** JSON as trust/ reads it: no key twice, bounded depth, UTF-8. Nothing else but artifacts is taken. */
function takeStrictJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const decoded = decodeJson(bytes, { capBytes: JSON_CAP_BYTES, maxDepth: JSON_DEPTH });
    if (decoded.ok) done(null, decoded.value);
    else {
      const cure = 'Send valid JSON, with no name twice in one object.';
      done(new OperatorApiError(400, { code: decoded.code, what: decoded.detail, cure }));
    }
  });
}
