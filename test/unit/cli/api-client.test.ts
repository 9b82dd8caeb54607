import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiClient } from '../../../cli/api-client.ts';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { sha256Hex } from '../../../trust/crypto.ts';
import { faultCode, workshop } from '../keys/workshop.ts';
import { type ScriptedServer, sendJson, startScriptedServer } from './scripted-server.ts';

let server: ScriptedServer;
let api: ApiClient;
const whoami = { name: 'anna', role: 'admin', serverVersion: '0.1.0', environment: 'rehearsal' };

beforeAll(async () => {
  server = await startScriptedServer(await workshop());
  api = new ApiClient({ serverUrl: server.url, ca: server.ca, token: 'hf1_secret' });
});
afterAll(async () => {
  api.close();
  await server.close();
});

async function fault(run: () => Promise<unknown>): Promise<Fault> {
  const error = await run().then(
    () => new Error('no fault'),
    (reason: unknown) => reason,
  );
  if (error instanceof Fault) return error;
  throw error;
}

describe('the operator API client', () => {
  it('sends the token as bearer and decodes the answer', async () => {
    let authorization = '';
    server.answer((request, response) => {
      authorization = request.headers.authorization ?? '';
      sendJson(response, 200, whoami);
    });
    expect(await api.whoami()).toEqual(whoami);
    expect(authorization).toBe('Bearer hf1_secret');
  });

  it("passes the server's own code, words and cure on", async () => {
    server.answer((_request, response) =>
      sendJson(response, 403, { ok: false, code: 'role-too-weak', what: 'a viewer may not', cure: 'Ask an admin.' }),
    );
    const error = await fault(() => api.devices());
    expect(error).toMatchObject({
      code: 'role-too-weak',
      what: 'a viewer may not',
      cure: 'Ask an admin.',
      exitStatus: EXIT.refused,
    });
  });

  it.each([
    [400, EXIT.input],
    [401, EXIT.refused],
    [404, EXIT.input],
    [409, EXIT.refused],
    [503, EXIT.remote],
  ])('maps status %i to exit %i', async (status, exitStatus) => {
    server.answer((_request, response) => sendJson(response, status, { ok: false, code: 'x', what: 'y', cure: 'z' }));
    expect((await fault(() => api.whoami())).exitStatus).toBe(exitStatus);
  });

  it.each([
    ['a page of another program', 404, '<html>not here</html>'],
    ['an error with a field more', 400, '{"ok":false,"code":"a","what":"b","cure":"c","x":1}'],
    ['an answer that is not JSON', 200, 'hello'],
    ['an answer of another shape', 200, '{"name":"anna"}'],
    ['an answer with a field more', 200, JSON.stringify({ ...whoami, extra: true })],
  ])('takes %s for a malformed answer', async (_name, status, text) => {
    server.answer((_request, response) => response.writeHead(status).end(text));
    expect(await fault(() => api.whoami())).toMatchObject({ code: 'answer-malformed', exitStatus: EXIT.remote });
  });

  it('stops reading an answer without end', async () => {
    server.answer((_request, response) => {
      const piece = Buffer.alloc(1024 * 1024, 0x20);
      const pump = (): void => {
        while (!response.destroyed && response.write(piece));
        if (!response.destroyed) response.once('drain', pump);
      };
      response.on('error', () => undefined).writeHead(200);
      pump();
    });
    expect((await fault(() => api.whoami())).code).toBe('answer-too-large');
  });

  it('says when the connection breaks in the middle', async () => {
    server.answer((_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{');
      setTimeout(() => response.destroy(), 20);
    });
    expect((await fault(() => api.whoami())).code).toBe('server-unreachable');
  });

  it('tells apart a server of a stranger, one with another name, one that is not TLS, and none', async () => {
    const stranger = await startScriptedServer(await workshop());
    const misnamed = await startScriptedServer(await workshop(), ['localhost']);
    const ask = (access: { serverUrl: string; ca: string }) =>
      fault(() => new ApiClient({ ...access, token: 'hf1_secret' }).whoami());
    expect((await ask({ serverUrl: stranger.url, ca: server.ca })).code).toBe('server-certificate-untrusted');
    expect(stranger.requests).toEqual([]);
    expect((await ask({ serverUrl: misnamed.url, ca: misnamed.ca })).code).toBe('server-name-mismatch');
    await stranger.close();
    await misnamed.close();
    expect(await ask({ serverUrl: misnamed.url, ca: misnamed.ca })).toMatchObject({
      code: 'server-unreachable',
      exitStatus: EXIT.remote,
    });
  });

  it('uploads a file whole, with its length, telling how far it is', async () => {
    const path = join(await workshop(), 'image');
    const bytes = Buffer.alloc(3 * 1024 * 1024 + 7, 0x5a);
    await writeFile(path, bytes);
    const sha256 = sha256Hex(bytes);
    let received = '';
    let length: string | undefined;
    server.answer((request, response, body) => {
      received = sha256Hex(body);
      length = request.headers['content-length'];
      sendJson(response, 200, { sha256, sizeBytes: body.length });
    });
    const seen: number[] = [];
    await api.putArtifact({ path, sizeBytes: bytes.length, sha256 }, (done) => seen.push(done));
    expect([received, length, seen.at(-1)]).toEqual([sha256, String(bytes.length), bytes.length]);
    expect(server.requests.at(-1)).toBe(`PUT /api/v1/artifacts/${sha256}`);
  });

  it('knows an artifact only at its full size', async () => {
    server.answer((_request, response) => response.writeHead(200, { 'content-length': '5' }).end());
    expect([await api.hasArtifact('ab'.repeat(32), 5), await api.hasArtifact('ab'.repeat(32), 6)]).toEqual([
      true,
      false,
    ]);
    server.answer((_request, response) => response.writeHead(404).end());
    expect(await api.hasArtifact('ab'.repeat(32), 5)).toBe(false);
  });

  it('puts nothing of a name into a path unescaped', async () => {
    server.answer((_request, response) =>
      sendJson(response, 404, { ok: false, code: 'device-unknown', what: 'w', cure: 'c' }),
    );
    expect(await faultCode(() => api.device('../tokens?x='))).toBe('device-unknown');
    expect(server.requests.at(-1)).toBe('GET /api/v1/devices/..%2Ftokens%3Fx%3D');
  });
});
