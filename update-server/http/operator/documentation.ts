/** OpenAPI at /docs, made from the very schemas that validate, so that it cannot say anything else than what holds. */
import fastifySwagger from '@fastify/swagger';
import fastifySwaggerUi from '@fastify/swagger-ui';
import { toJsonSchema } from '@valibot/to-json-schema';
import type { FastifyInstance } from 'fastify';
import type * as v from 'valibot';
import { OPERATIONS } from '../../core/permissions.ts';

export const DOCUMENTATION_PATH = '/docs';

/** Names the operation of the documentation's own routes. Before the access check, which refuses routes without one. */
export function markDocumentation(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (route.url.startsWith(DOCUMENTATION_PATH)) route.config = { ...route.config, access: 'documentation.read' };
  });
}

export async function addDocumentation(app: FastifyInstance, serverVersion: string): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Holdfast operator API', version: serverVersion, description: DESCRIPTION },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: ({ schema, url, route }) => {
      const access = route.config?.access;
      const role =
        access !== undefined && access in OPERATIONS ? OPERATIONS[access as keyof typeof OPERATIONS] : access;
      const described = { ...describe((schema ?? {}) as Parts), description: `Takes: ${role ?? 'viewer'}.` };
      return { schema: described, url };
    },
  });
  await app.register(fastifySwaggerUi, {
    routePrefix: DOCUMENTATION_PATH,
    staticCSP: true,
    transformStaticCSP: (header) => header.replace('upgrade-insecure-requests;', ''),
    uiConfig: { docExpansion: 'list', deepLinking: false, tryItOutEnabled: false },
  });
}

const DESCRIPTION =
  'What people, their tools and the live page say to a Holdfast update server. Errors are always { ok: false, code, what, cure }.';

type Parts = Record<string, unknown>;

/** A route's valibot schemas as JSON schemas. */
function describe(schema: Parts): Parts {
  const described: Parts = { ...schema };
  for (const part of ['body', 'params', 'querystring']) {
    if (isSchema(schema[part])) described[part] = jsonSchema(schema[part]);
  }
  const answers = Object.entries((schema.response ?? {}) as Parts);
  described.response = Object.fromEntries(
    answers.map(([status, answer]) => [
      status,
      {
        description: 'Done.',
        content: { 'application/json': { schema: isSchema(answer) ? jsonSchema(answer) : answer } },
      },
    ]),
  );
  return described;
}

function isSchema(value: unknown): value is v.GenericSchema {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'schema';
}

function jsonSchema(schema: v.GenericSchema): Parts {
  // The draft's name has no place inside an OpenAPI document.
  const { $schema: _, ...rest } = toJsonSchema(schema, { errorMode: 'ignore', typeMode: 'input' });
  return rest;
}
