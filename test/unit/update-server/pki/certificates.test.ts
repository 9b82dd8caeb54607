import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeDisk } from '../../../../platform/disk.ts';
import { Fault } from '../../../../platform/fault.ts';
import { type AuthorityFiles, DAY_MS, openAuthority } from '../../../../update-server/pki/certificate-authority.ts';
import {
  issueDeviceCertificate,
  keyIdOf,
  verifyCertificateRequest,
  verifyDeviceCertificate,
  whyOutOfDates,
} from '../../../../update-server/pki/device-certificate.ts';
import { openServerCertificate } from '../../../../update-server/pki/server-certificate.ts';
import { loadX509 } from '../../../../update-server/pki/x509.ts';

const NOW = Date.UTC(2026, 5, 1);
let directory: string;
let files: AuthorityFiles;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-pki-'));
  files = { disk: nodeDisk, directory: join(directory, 'pki'), nowUnixMs: () => NOW };
});
afterEach(() => rm(directory, { recursive: true }));

const faultCode = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof Fault ? error.code : `no fault: ${String(error)}`;
};

async function request(curve: 'P-256' | 'P-384' = 'P-256', hash = 'SHA-256'): Promise<Uint8Array> {
  const algorithm = { name: 'ECDSA', namedCurve: curve, hash };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const x509 = await loadX509();
  const made = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=whoever',
    keys,
    signingAlgorithm: algorithm,
  });
  return new Uint8Array(made.rawData);
}

describe('authorities', () => {
  test('are two, keep their keys to themselves, and are the same after a restart', async () => {
    const server = await openAuthority(files, 'server');
    const device = await openAuthority(files, 'device');
    expect(server.certificate.publicKey.equals(device.certificate.publicKey)).toBe(false);
    expect((await stat(join(files.directory, 'device-ca.key'))).mode & 0o777).toBe(0o600);
    expect((await openAuthority(files, 'device')).pem).toBe(device.pem);
  });

  test('a key without its certificate, as a power cut leaves it, gets one at the next start', async () => {
    const first = await openAuthority(files, 'device');
    await rm(join(files.directory, 'device-ca.pem'));
    const second = await openAuthority(files, 'device');
    expect(second.certificate.publicKey.equals(first.certificate.publicKey)).toBe(true);
  });

  test.each([
    ['device-ca.key', 'garbage'],
    ['device-ca.pem', 'garbage'],
  ])('a damaged %s ends in one fault', async (name, text) => {
    await openAuthority(files, 'device');
    await writeFile(join(files.directory, name), text);
    expect(await faultCode(openAuthority(files, 'device'))).toBe('pki-damaged');
  });

  test('a certificate without its key, or beside the key of another, ends in one fault', async () => {
    await openAuthority(files, 'device');
    await openAuthority(files, 'server');
    await writeFile(join(files.directory, 'device-ca.key'), await readFile(join(files.directory, 'server-ca.key')));
    expect(await faultCode(openAuthority(files, 'device'))).toBe('pki-damaged');
    await rm(join(files.directory, 'device-ca.key'));
    expect(await faultCode(openAuthority(files, 'device'))).toBe('pki-damaged');
  });
});

describe("the server's certificate", () => {
  test('carries every name and stays while it is good', async () => {
    const authority = await openAuthority(files, 'server');
    const identity = await openServerCertificate(files, authority, ['localhost', '127.0.0.1', 'updates.acme.example']);
    const leaf = new X509Certificate(identity.chainPem);
    expect(leaf.checkHost('updates.acme.example')).toBe('updates.acme.example');
    expect(leaf.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(leaf.verify(authority.certificate.publicKey)).toBe(true);
    expect((await openServerCertificate(files, authority, ['localhost'])).chainPem).toBe(identity.chainPem);
  });

  test('is renewed when a third of its life is left, and when a name is new', async () => {
    const authority = await openAuthority(files, 'server');
    const first = await openServerCertificate(files, authority, ['localhost']);
    const named = await openServerCertificate(files, authority, ['localhost', 'other.example']);
    expect(named.chainPem).not.toBe(first.chainPem);
    const later = { ...files, nowUnixMs: () => NOW + 250 * DAY_MS };
    expect((await openServerCertificate(later, authority, ['localhost'])).notAfterUnixMs).toBe(NOW + 615 * DAY_MS);
  });
});

describe('certificate requests', () => {
  test('a P-256 request that is signed by its own key is taken', async () => {
    const verdict = await verifyCertificateRequest(await request());
    expect(verdict.ok).toBe(true);
  });

  test.each([
    ['another curve', () => request('P-384', 'SHA-384')],
    ['another hash', () => request('P-256', 'SHA-512')],
    ['garbage', async () => new Uint8Array([1, 2, 3])],
    ['too many bytes', async () => new Uint8Array(4000)],
  ])('refuses %s', async (_name, make) => {
    expect((await verifyCertificateRequest(await make())).ok).toBe(false);
  });

  test('refuses a request in which one bit of the signature is flipped', async () => {
    const der = await request();
    const last = der.length - 1;
    der[last] = (der[last] ?? 0) ^ 1;
    expect((await verifyCertificateRequest(der)).ok).toBe(false);
  });
});

describe('device certificates', () => {
  test('name the device, are for clients only, and run for as long as they are given, from a day before now', async () => {
    const authority = await openAuthority(files, 'device');
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const issued = await issueDeviceCertificate(authority, 'cam-0001', publicKey, 365 * DAY_MS, NOW);
    const verdict = verifyDeviceCertificate(new X509Certificate(issued.pem), authority);
    expect(verdict).toMatchObject({ ok: true, value: { deviceId: 'cam-0001', fingerprint: issued.fingerprint } });
    if (!verdict.ok) return;
    expect(issued.serial).toMatch(/^[4-7][0-9a-f]{31}$/);
    expect(whyOutOfDates(verdict.value, NOW)).toBeUndefined();
    expect(whyOutOfDates(verdict.value, NOW - 2 * DAY_MS)).toMatch(/^not valid before/);
    expect(whyOutOfDates(verdict.value, NOW + 366 * DAY_MS)).toMatch(/^expired/);
    expect(keyIdOf(createPublicKey(issued.pem))).toBe(keyIdOf(publicKey));
  });

  test('refuses one that a namesake of the authority signed', async () => {
    const authority = await openAuthority(files, 'device');
    const x509 = await loadX509();
    const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = await crypto.subtle.generateKey(signing, true, ['sign', 'verify']);
    const real = new x509.X509Certificate(authority.pem);
    const forged = await x509.X509CertificateGenerator.create({
      serialNumber: '41',
      subject: 'CN=cam-0001',
      issuer: real.subjectName,
      notBefore: new Date(NOW - DAY_MS),
      notAfter: new Date(NOW + DAY_MS),
      publicKey: keys.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: signing,
      extensions: [
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
        await x509.AuthorityKeyIdentifierExtension.create(real.publicKey),
      ],
    });
    const verdict = verifyDeviceCertificate(new X509Certificate(forged.toString('pem')), authority);
    expect(verdict).toMatchObject({ ok: false, detail: "the authority's signature does not verify" });
  });

  test("refuses the authority itself, the server's certificate, and a certificate of an authority with the same name", async () => {
    const authority = await openAuthority(files, 'device');
    const server = await openAuthority(files, 'server');
    const serverLeaf = await openServerCertificate(files, server, ['localhost']);
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const asServer = await authority.issue({
      commonName: 'cam-0001',
      publicKey,
      notBeforeUnixMs: NOW,
      notAfterUnixMs: NOW + DAY_MS,
      usage: 'server',
      names: [],
    });
    for (const pem of [authority.pem, serverLeaf.chainPem, asServer]) {
      expect(verifyDeviceCertificate(new X509Certificate(pem), authority).ok).toBe(false);
    }
  });
});
