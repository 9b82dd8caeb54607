import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { connectSecurely } from '../../../../agent/transport/secure-connection.ts';
import { verifyServerCertificate } from '../../../../agent/transport/server-certificate.ts';
import {
  authority,
  CLIENT_USE,
  EXPIRED,
  type IssuedCertificate,
  NOT_YET,
  serverCertificate,
  x509,
} from '../test-authority.ts';

const parsed = (issued: IssuedCertificate): X509Certificate => new X509Certificate(issued.certificatePem);
const verify = (
  leaf: IssuedCertificate,
  others: IssuedCertificate[],
  anchors: IssuedCertificate[],
  host = 'localhost',
) =>
  verifyServerCertificate(
    { leaf: parsed(leaf), others: others.map(parsed) },
    { anchors: anchors.map(parsed), host, nowUnixMs: Date.now() },
  );

describe('a server certificate', () => {
  it('is accepted when an anchor signed it, it names the host and is within its dates', async () => {
    const ca = await authority();
    expect(verify(await serverCertificate(ca), [], [ca])).toEqual({
      ok: true,
      value: { outOfDates: false, detail: '' },
    });
  });

  it('is accepted as out of its dates when that is all that is wrong, in either direction', async () => {
    const ca = await authority();
    for (const dates of [EXPIRED, NOT_YET]) {
      const verdict = verify(await serverCertificate(ca, dates), [], [ca]);
      expect(verdict).toMatchObject({ ok: true, value: { outOfDates: true } });
    }
  });

  it('is accepted as out of its dates when its authority is', async () => {
    const ca = await authority('old CA', EXPIRED);
    expect(verify(await serverCertificate(ca), [], [ca])).toMatchObject({ ok: true, value: { outOfDates: true } });
  });

  it('is refused when a stranger signed it, expired or not', async () => {
    const ca = await authority();
    const stranger = await authority();
    for (const dates of [{}, EXPIRED]) {
      const leaf = await serverCertificate(stranger, dates);
      expect(verify(leaf, [stranger], [ca])).toMatchObject({ ok: false, code: 'server-certificate-untrusted' });
    }
  });

  it('is refused for another name, expired or not', async () => {
    const ca = await authority();
    for (const dates of [{}, EXPIRED]) {
      const leaf = await serverCertificate(ca, { dns: ['elsewhere.example'], ...dates });
      expect(verify(leaf, [], [ca])).toMatchObject({ ok: false, code: 'server-name-mismatch' });
    }
  });

  it('names an address by an address, never by a host name', async () => {
    const ca = await authority();
    const byAddress = await serverCertificate(ca, { dns: [], ip: ['127.0.0.1'] });
    const byName = await serverCertificate(ca, { dns: ['127.0.0.1'] });
    expect(verify(byAddress, [], [ca], '127.0.0.1')).toMatchObject({ ok: true });
    expect(verify(byName, [], [ca], '127.0.0.1')).toMatchObject({ ok: false, code: 'server-name-mismatch' });
  });

  it('does not name a host by its common name', async () => {
    const ca = await authority();
    const leaf = await serverCertificate(ca, { dns: [] });
    expect(verify(leaf, [], [ca], 'server')).toMatchObject({ ok: false, code: 'server-name-mismatch' });
  });

  it('is accepted over two intermediates, in any order, and refused over three', async () => {
    const root = await authority('root');
    const first = await authority('first', {}, root);
    const second = await authority('second', {}, first);
    const third = await authority('third', {}, second);
    expect(verify(await serverCertificate(second), [first, second], [root])).toMatchObject({ ok: true });
    expect(verify(await serverCertificate(second), [second, first], [root])).toMatchObject({ ok: true });
    expect(verify(await serverCertificate(third), [first, second, third], [root])).toMatchObject({
      ok: false,
      code: 'server-certificate-untrusted',
    });
  });

  it('is accepted when an intermediate is the anchor', async () => {
    const root = await authority('root');
    const anchor = await authority('anchor', {}, root);
    expect(verify(await serverCertificate(anchor), [], [anchor])).toMatchObject({ ok: true });
  });

  it('is refused when one of these does not hold, and only that', async () => {
    const { keyCertSign, digitalSignature } = x509.KeyUsageFlags;
    const root = await authority('root');
    const cases: [string, IssuedCertificate, IssuedCertificate[], IssuedCertificate][] = [];
    const notAuthority = await authority('i', { isAuthority: false }, root);
    cases.push(['its issuer is no authority', await serverCertificate(notAuthority), [notAuthority], root]);
    const mayNotSign = await authority('i', { keyUsage: digitalSignature }, root);
    cases.push(['its issuer may not sign certificates', await serverCertificate(mayNotSign), [mayNotSign], root]);
    const shortRoot = await authority('short', { pathLength: 0 });
    const below = await authority('below', {}, shortRoot);
    cases.push(['the path is longer than the anchor allows', await serverCertificate(below), [below], shortRoot]);
    cases.push(['it is made for clients', await serverCertificate(root, { extendedKeyUsage: [CLIENT_USE] }), [], root]);
    cases.push([
      'its key may not sign a handshake',
      await serverCertificate(root, { keyUsage: keyCertSign }),
      [],
      root,
    ]);
    const unknown = new x509.Extension('1.2.3.4.5', true, new Uint8Array([5, 0]));
    cases.push(['an extension is not understood', await serverCertificate(root, { extensions: [unknown] }), [], root]);
    const sameName = await authority('root');
    cases.push(['the anchor has the same name and another key', await serverCertificate(sameName), [sameName], root]);
    for (const [why, leaf, others, anchor] of cases) {
      expect([why, verify(leaf, others, [anchor])]).toMatchObject([
        why,
        { ok: false, code: 'server-certificate-untrusted' },
      ]);
    }
  });
});

describe('a connection', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** Counts the bytes that came after the handshake. */
  async function serve(leaf: IssuedCertificate, ...chain: IssuedCertificate[]) {
    const seen = { bytes: 0 };
    const server = createServer(
      { key: leaf.privateKeyPem, cert: [leaf, ...chain].map((one) => one.certificatePem).join('\n') },
      (socket) => {
        socket.on('data', (data) => {
          seen.bytes += data.length;
        });
        socket.on('error', () => {});
      },
    );
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { seen, port: (server.address() as AddressInfo).port };
  }
  const dial = async (port: number, anchor: IssuedCertificate, host = 'localhost') =>
    connectSecurely({ host, port, anchors: [anchor.certificatePem] }, undefined);

  it('is given for a good server', async () => {
    const ca = await authority();
    const { port } = await serve(await serverCertificate(ca));
    const verdict = await dial(port, ca);
    expect(verdict).toMatchObject({ ok: true, value: { outOfDates: false } });
    if (verdict.ok) verdict.value.socket.destroy();
  });

  it('is given, marked, for a true server whose certificate has expired', async () => {
    const ca = await authority();
    const intermediate = await authority('between', {}, ca);
    const { port } = await serve(await serverCertificate(intermediate, EXPIRED), intermediate);
    const verdict = await dial(port, ca);
    expect(verdict).toMatchObject({ ok: true, value: { outOfDates: true } });
    if (verdict.ok) verdict.value.socket.destroy();
  });

  it("is refused for a stranger's expired certificate, which Node alone would call expired and nothing else", async () => {
    const stranger = await authority();
    const { port, seen } = await serve(await serverCertificate(stranger, EXPIRED), stranger);
    const verdict = await dial(port, await authority());
    expect(verdict).toMatchObject({ ok: false, code: 'server-certificate-untrusted' });
    expect(seen.bytes).toBe(0);
  });

  it("is refused for a stranger's expired certificate that carries our authority's name", async () => {
    const stranger = await authority('Test CA');
    const { port } = await serve(await serverCertificate(stranger, EXPIRED));
    expect(await dial(port, await authority('Test CA'))).toMatchObject({
      ok: false,
      code: 'server-certificate-untrusted',
    });
  });

  it('is refused for the right authority with the wrong name, expired or not', async () => {
    const ca = await authority();
    for (const dates of [{}, EXPIRED]) {
      const { port, seen } = await serve(await serverCertificate(ca, { dns: ['other.example'], ...dates }));
      expect(await dial(port, ca)).toMatchObject({ ok: false, code: 'server-name-mismatch' });
      expect(seen.bytes).toBe(0);
    }
  });

  it('is unreachable, not refused, when nobody listens', async () => {
    const { port } = await serve(await serverCertificate(await authority()));
    servers.pop()?.close();
    await expect(dial(port, await authority())).rejects.toThrow(/ECONNREFUSED|closed/);
  });
});
