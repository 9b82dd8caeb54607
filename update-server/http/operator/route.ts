/**
 * One way to declare a route: its operation of the permissions table, its schemas, its answer. A route that names no
 * operation cannot be registered, unless it says that it is open; sign-in and permission are checked before the body is read.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import * as v from 'valibot';
import { OPERATOR_BODY_CAP_BYTES } from '../../../protocol/operator-api.ts';
import { mayDo, OPERATIONS, type Operation } from '../../core/permissions.ts';
import type { TokenRecord } from '../../core/ports.ts';
import { OperatorApiError } from './errors.ts';
import type { SignIn } from './sign-in.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the sign-in check; null on open routes. */
    token: TokenRecord | null;
  }
  interface FastifyContextConfig {
    /** What the token's role must allow; `open`: no token; `one-time`: the one-time token itself. */
    access?: Operation | 'open' | 'one-time';
  }
}

type Schema = v.GenericSchema;
type Output<S> = S extends Schema ? v.InferOutput<S> : undefined;

/** A whole number in a query. */
export const Digits = (max: number) =>
  v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number), v.maxValue(max), v.minValue(0));

export interface RouteOptions<P, Q, B> {
  readonly method: HTTPMethods;
  readonly url: string;
  readonly access: Operation | 'open' | 'one-time';
  readonly summary: string;
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  readonly answer?: Schema;
  readonly status?: number;
  readonly bodyCapBytes?: number;
}

export interface RouteInput<P, Q, B> {
  readonly params: Output<P>;
  readonly query: Output<Q>;
  readonly body: Output<B>;
  readonly actor: string;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/** What the handler returns is the answer; undefined when it has sent one itself. */
export function addRoute<P extends Schema | undefined, Q extends Schema | undefined, B extends Schema | undefined>(
  app: FastifyInstance,
  options: RouteOptions<P, Q, B>,
  handle: (input: RouteInput<P, Q, B>) => Promise<unknown>,
): void {
  const status = options.status ?? 200;
  app.route({
    method: options.method,
    url: options.url,
    config: { access: options.access },
    bodyLimit: options.bodyCapBytes ?? OPERATOR_BODY_CAP_BYTES,
    schema: {
      summary: options.summary,
      ...(options.params === undefined ? {} : { params: options.params }),
      ...(options.query === undefined ? {} : { querystring: options.query }),
      ...(options.body === undefined ? {} : { body: options.body }),
      ...(options.answer === undefined ? {} : { response: { [status]: options.answer } }),
    },
    handler: async (request, reply) => {
      const answer = await handle({
        params: request.params as Output<P>,
        query: request.query as Output<Q>,
        body: request.body as Output<B>,
        actor: request.token?.name ?? '',
        request,
        reply,
      });
      if (answer === undefined) return reply;
      return reply.code(status).send(answer);
    },
  });
}

/** Every route is checked; one that says nothing about its access stops the server from starting. */
export function addAccessCheck(app: FastifyInstance, signIn: SignIn): void {
  app.decorateRequest('token', null);
  app.addHook('onRoute', (route) => {
    if (route.config?.access === undefined) throw new Error(`${String(route.method)} ${route.url} names no operation`);
  });
  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access;
    if (access === 'open') return;
    const token = await signIn.identify(request);
    // An address that does not exist answers "not found" to those who may know, and "sign in" to everybody else.
    if (access === undefined) return;
    if ((token.kind === 'one-time') !== (access === 'one-time')) throw wrongKind(token);
    if (access !== 'one-time' && !mayDo(token.role, access)) throw forbidden(token, access);
    request.token = token;
  });
}

function wrongKind(token: TokenRecord): OperatorApiError {
  return token.kind === 'one-time'
    ? new OperatorApiError(403, {
        code: 'token-one-time',
        what: 'a one-time token does nothing but be exchanged for a lasting one',
        cure: 'Exchange it first: holdfast login --server URL --ca FILE --token-file FILE.',
      })
    : new OperatorApiError(403, {
        code: 'token-lasting',
        what: 'this address exchanges one-time tokens, and this is a lasting one',
        cure: 'Use your token as it is; an admin makes further ones with holdfast tokens create.',
      });
}

function forbidden(token: TokenRecord, operation: Operation): OperatorApiError {
  return new OperatorApiError(403, {
    code: 'role-too-weak',
    what: `${token.name} is ${token.role}; ${operation} takes ${OPERATIONS[operation]}`,
    cure: 'Ask an admin for a token of that role.',
  });
}

/** Fastify's validator for valibot schemas: unknown fields are refused, the message names the field. */
export function validatorCompiler({
  schema,
}: {
  schema: unknown;
}): (data: unknown) => { value: unknown } | { error: Error } {
  return (data) => {
    const parsed = v.safeParse(schema as Schema, data, { abortPipeEarly: true });
    if (parsed.success) return { value: parsed.output };
    const issue = parsed.issues[0];
    const where = v.getDotPath(issue);
    return { error: new Error(where === null ? issue.message : `${where}: ${issue.message}`) };
  };
}
