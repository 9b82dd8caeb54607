/**
 * Server-sent events: that something changed, never what. Whoever listens reads it anew, with its own permission.
 * Changes that follow each other closely are told once. A stream ends with the token that opened it.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { OPERATOR_PATHS } from '../../../protocol/operator-api.ts';
import type { ServerEvent } from '../../core/events.ts';
import { OperatorApiError } from './errors.ts';
import type { OperatorApiPorts } from './ports.ts';
import { addRoute } from './route.ts';

const STREAMS = 64;
const GATHER_MS = 200;
const HEARTBEAT_MS = 20_000;
/** A listener that does not read for so long that this much waits for it is cut off. */
const BACKLOG_BYTES = 256 * 1024;

/** Between the server's own parts; a page has nothing to draw by them. */
const INNER = ['hint', 'revoked', 'superseded'] as const;
type Change = Exclude<ServerEvent, { kind: (typeof INNER)[number] }>;

const isChange = (event: ServerEvent): event is Change => !INNER.some((kind) => kind === event.kind);

export function addEventStream(app: FastifyInstance, { events, store }: OperatorApiPorts): void {
  const streams = new Set<ServerResponse>();
  const waiting = new Map<string, Change>();
  let gathering: NodeJS.Timeout | undefined;

  const write = (stream: ServerResponse, text: string): void => {
    if (stream.writableLength > BACKLOG_BYTES) stream.destroy();
    else stream.write(text);
  };
  const flush = (): void => {
    gathering = undefined;
    const text = [...waiting.values()].map(
      ({ kind, id }) => `event: change\ndata: ${JSON.stringify({ kind, id })}\n\n`,
    );
    waiting.clear();
    for (const stream of streams) write(stream, text.join(''));
  };
  const unsubscribe = events.subscribe((event) => {
    if (!isChange(event) || streams.size === 0) return;
    waiting.set(`${event.kind} ${event.id}`, event);
    gathering ??= setTimeout(flush, GATHER_MS);
  });
  app.addHook('preClose', async () => {
    unsubscribe();
    clearTimeout(gathering);
    for (const stream of streams) stream.destroy();
  });

  addRoute(
    app,
    { method: 'GET', url: OPERATOR_PATHS.events, access: 'events.read', summary: 'Server-sent events: what changed.' },
    async ({ request, reply }) => {
      if (streams.size >= STREAMS) {
        const cure = 'Close a page that is not looked at, or poll instead.';
        throw new OperatorApiError(503, { code: 'too-many-streams', what: 'too many event streams are open', cure });
      }
      const sha256 = request.token?.tokenSha256 ?? '';
      reply.hijack();
      const stream = reply.raw;
      stream.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      });
      stream.write('retry: 2000\n\n');
      streams.add(stream);
      const heartbeat = setInterval(() => {
        write(stream, ': still here\n\n');
        void store.findToken(sha256).then(
          (token) => {
            if (token === undefined || token.revoked) stream.destroy();
          },
          () => stream.destroy(),
        );
      }, HEARTBEAT_MS);
      stream.once('close', () => {
        clearInterval(heartbeat);
        streams.delete(stream);
      });
      return undefined;
    },
  );
}
