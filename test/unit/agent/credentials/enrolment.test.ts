import { createHash, createHmac, createPublicKey, randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import { makeCertificateRequest } from '../../../../agent/credentials/certificate-request.ts';
import { readClaim } from '../../../../agent/credentials/claim.ts';
import { readDeviceKey } from '../../../../agent/credentials/device-key.ts';
import { EnrolmentMustWait, enrol } from '../../../../agent/credentials/enrolment.ts';
import { readOrMakeDeviceKey } from '../../../../agent/credentials/enrolment-key.ts';
import { identityPaths, readIdentity } from '../../../../agent/credentials/identity.ts';
import { nodeDisk } from '../../../../platform/disk.ts';
import { DEVICE_PATHS, type EnrolRequest } from '../../../../protocol/device-api.ts';
import { claimProofMessage, EXPORTER_BYTES, EXPORTER_LABEL } from '../../../../protocol/enrolment.ts';
import {
  authority,
  certifyRequest,
  EXPIRED,
  type IssuedCertificate,
  serverCertificate,
  x509,
} from '../test-authority.ts';

const SECRET = randomBytes(32);
const CLAIM = {
  format: 'holdfast-claim-1',
  claimId: 'cam-0001',
  hardwareClass: 'acme-cam',
  secret: SECRET.toString('base64url'),
  expiresUnixMs: 4e12,
} as const;

let directory: string;
let ca: IssuedCertificate;
const servers: Server[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'enrol-'));
  ca = await authority();
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await rm(directory, { recursive: true });
});

interface Seen {
  nonces: number;
  readonly requests: EnrolRequest[];
  readonly proofsRight: boolean[];
  readonly connections: Set<unknown>;
}

type Trouble =
  | 'none'
  | 'cut-after-nonce'
  | 'cut-after-issue'
  | 'other-key'
  | 'other-device'
  | 'short-nonce'
  | 'refused';

/** A server that checks the proof as protocol/enrolment.ts says, and issues what is asked for, or what `trouble` says. */
async function enrolmentServer(trouble: { now: Trouble }, leaf?: IssuedCertificate) {
  const seen: Seen = { nonces: 0, requests: [], proofsRight: [], connections: new Set() };
  const nonce = randomBytes(24);
  const own = leaf ?? (await serverCertificate(ca));
  const answer = (response: ServerResponse, body: unknown, status = 200): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const socket = request.socket as TLSSocket;
    seen.connections.add(socket);
    const body = Buffer.concat(await request.toArray());
    if (request.url === DEVICE_PATHS.enrolNonce) {
      seen.nonces += 1;
      if (trouble.now === 'cut-after-nonce') return void socket.destroy();
      return answer(response, {
        nonce: (trouble.now === 'short-nonce' ? nonce.subarray(1) : nonce).toString('base64url'),
        expiresUnixMs: 4e12,
      });
    }
    const asked: EnrolRequest = JSON.parse(body.toString());
    seen.requests.push(asked);
    const csr = Buffer.from(asked.certificateRequest, 'base64url');
    const message = claimProofMessage({
      nonce,
      exporter: socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0)),
      certificateRequestSha256: createHash('sha256').update(csr).digest(),
    });
    seen.proofsRight.push(createHmac('sha256', SECRET).update(message).digest('base64url') === asked.proof);
    if (trouble.now === 'refused')
      return answer(response, { ok: false, code: 'claim-key-differs', what: 'another key', cure: 'Ask.' }, 403);
    const certificate = await issueFor(csr, trouble.now === 'other-key');
    if (trouble.now === 'cut-after-issue') return void socket.destroy();
    answer(response, {
      deviceId: trouble.now === 'other-device' ? 'cam-0002' : asked.claimId,
      certificateChain: certificate,
      mqttUrl: null,
    });
  };
  const server = createServer(
    { key: own.privateKeyPem, cert: own.certificatePem, minVersion: 'TLSv1.3' },
    (request, response) => void handle(request, response),
  );
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  return { seen, entry: { url, mqttUrl: null, anchors: [ca.certificatePem] } };
}

const issueFor = (csr: Buffer, otherKey: boolean): Promise<string> =>
  certifyRequest(ca, csr, otherKey ? { publicKey: ca.keys.publicKey } : {});

const paths = () => identityPaths(directory);

describe('enrolment', () => {
  it('proves the claim on one connection, never sends the secret, and keeps key and certificate for the owner alone', async () => {
    const { seen, entry } = await enrolmentServer({ now: 'none' });
    const verdict = await enrol(nodeDisk, CLAIM, entry, paths());
    expect(verdict).toMatchObject({ ok: true, value: { deviceId: 'cam-0001' } });
    expect(seen.proofsRight).toEqual([true]);
    expect(seen.connections.size).toBe(1);
    expect(JSON.stringify(seen.requests)).not.toContain(CLAIM.secret);
    expect(await readIdentity(nodeDisk, paths())).toEqual(verdict.ok ? verdict.value : undefined);
    for (const path of [paths().key, paths().certificate]) expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it.each(['cut-after-nonce', 'cut-after-issue'] as const)('goes on with the same key after %s', async (cut) => {
    const trouble: { now: Trouble } = { now: cut };
    const { seen, entry } = await enrolmentServer(trouble);
    await expect(enrol(nodeDisk, CLAIM, entry, paths())).rejects.toThrow(SourceUnreachable);
    const key = await readFile(paths().key, 'utf8');
    expect(await readIdentity(nodeDisk, paths())).toBeUndefined();
    trouble.now = 'none';
    expect(await enrol(nodeDisk, CLAIM, entry, paths())).toMatchObject({ ok: true });
    expect(await readFile(paths().key, 'utf8')).toBe(key);
    const keys = seen.requests.map(({ certificateRequest }) =>
      Buffer.from(
        new x509.Pkcs10CertificateRequest(Buffer.from(certificateRequest, 'base64url')).publicKey.rawData,
      ).toString('hex'),
    );
    expect(new Set(keys).size).toBe(1);
  });

  it('sends nothing at all to a server whose certificate is out of its dates, true as it may be', async () => {
    const { seen, entry } = await enrolmentServer({ now: 'none' }, await serverCertificate(ca, EXPIRED));
    await expect(enrol(nodeDisk, CLAIM, entry, paths())).rejects.toThrow(EnrolmentMustWait);
    expect([seen.nonces, seen.requests]).toEqual([0, []]);
  });

  it('refuses a stranger, and a certificate for another key or device, and keeps nothing of them', async () => {
    const { entry } = await enrolmentServer({ now: 'none' });
    const stranger = { ...entry, anchors: [(await authority()).certificatePem] };
    expect(await enrol(nodeDisk, CLAIM, stranger, paths())).toMatchObject({
      ok: false,
      code: 'server-certificate-untrusted',
    });
    for (const now of ['other-key', 'other-device', 'short-nonce'] as const) {
      const wrong = await enrolmentServer({ now });
      expect([now, await enrol(nodeDisk, CLAIM, wrong.entry, paths())]).toMatchObject([
        now,
        { ok: false, code: 'answer-malformed' },
      ]);
    }
    expect(await readIdentity(nodeDisk, paths())).toBeUndefined();
  });

  it("hands on the server's own words when it refuses the claim", async () => {
    const { entry } = await enrolmentServer({ now: 'refused' });
    await expect(enrol(nodeDisk, CLAIM, entry, paths())).rejects.toMatchObject({
      name: 'ServerSaidNo',
      code: 'claim-key-differs',
      cure: 'Ask.',
    });
  });
});

describe('the certificate request', () => {
  it('is one that other implementations verify, for the device id and the key', async () => {
    const key = await readOrMakeDeviceKey(nodeDisk, paths());
    const request = new x509.Pkcs10CertificateRequest(makeCertificateRequest(key.privateKey, 'cam-0001'));
    expect(await request.verify()).toBe(true);
    expect(request.subject).toBe('CN=cam-0001');
    const spki = createPublicKey(key.privateKey).export({ type: 'spki', format: 'der' });
    expect(Buffer.from(request.publicKey.rawData).equals(spki)).toBe(true);
  });
});

describe('files of this device', () => {
  it('that are not what they should be end in a Fault with code, place and cure', async () => {
    const { entry } = await enrolmentServer({ now: 'none' });
    await enrol(nodeDisk, CLAIM, entry, paths());
    const certificate = await readFile(paths().certificate);
    await writeFile(paths().certificate, (await serverCertificate(ca)).certificatePem);
    await expect(readIdentity(nodeDisk, paths())).rejects.toMatchObject({
      code: 'device-certificate-unreadable',
      exitStatus: 7,
      where: paths().certificate,
    });
    await writeFile(paths().certificate, certificate);
    expect(new X509Certificate(certificate).subject).toBe('CN=cam-0001');
    await writeFile(paths().key, 'not a key');
    await expect(readDeviceKey(nodeDisk, paths().key)).rejects.toMatchObject({
      code: 'device-key-unreadable',
      exitStatus: 7,
      where: paths().key,
    });
    await expect(enrol(nodeDisk, CLAIM, entry, paths())).rejects.toMatchObject({ code: 'device-key-unreadable' });
  });

  it('never make a new key over one that cannot be read', async () => {
    await readOrMakeDeviceKey(nodeDisk, paths());
    await writeFile(paths().key, 'torn');
    await expect(readOrMakeDeviceKey(nodeDisk, paths())).rejects.toMatchObject({ code: 'device-key-unreadable' });
    expect(await readFile(paths().key, 'utf8')).toBe('torn');
  });

  it.each([
    ['missing', undefined, 'claim-missing'],
    ['not JSON', '{', 'claim-malformed'],
    ['of another shape', JSON.stringify({ ...CLAIM, extra: 1 }), 'claim-malformed'],
    ['with a short secret', JSON.stringify({ ...CLAIM, secret: 'abc' }), 'claim-malformed'],
    ['too large', `"${'x'.repeat(9000)}"`, 'claim-malformed'],
  ])('a claim that is %s', async (_what, content, code) => {
    const path = join(directory, 'claim.json');
    if (content !== undefined) await writeFile(path, content);
    const error = await readClaim(nodeDisk, path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'Fault', code, where: path, exitStatus: 3 });
    expect(JSON.stringify(error)).not.toContain(CLAIM.secret);
  });
});
