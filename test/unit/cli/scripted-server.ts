/**
 * A TLS server with a certificate of its own authority that answers what a test scripts. It stands in for a server that
 * misbehaves; how the command line works with the real one is tested in test/e2e.
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { nodeDisk } from '../../../platform/disk.ts';
import { openAuthority } from '../../../update-server/pki/certificate-authority.ts';
import { openServerCertificate } from '../../../update-server/pki/server-certificate.ts';

export type Script = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

export interface ScriptedServer {
  readonly url: string;
  /** PEM. */
  readonly ca: string;
  /** `METHOD path` of each request, in order. */
  readonly requests: string[];
  answer(script: Script): void;
  close(): Promise<void>;
}

export function sendJson(response: ServerResponse, status: number, document: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(document));
}

export async function startScriptedServer(
  directory: string,
  names = ['localhost', '127.0.0.1'],
): Promise<ScriptedServer> {
  const files = { disk: nodeDisk, directory: join(directory, 'pki'), nowUnixMs: Date.now };
  await nodeDisk.makeDirectory(files.directory);
  const authority = await openAuthority(files, 'server');
  const identity = await openServerCertificate(files, authority, names);
  let script: Script = (_request, response) => sendJson(response, 500, {});
  const requests: string[] = [];
  const server = createServer({ key: identity.keyPem, cert: identity.chainPem }, (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => script(request, response, Buffer.concat(pieces)));
    request.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    ca: authority.pem,
    requests,
    answer(next) {
      script = next;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
