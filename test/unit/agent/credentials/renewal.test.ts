import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import { identityPaths, readIdentity } from '../../../../agent/credentials/identity.ts';
import { renewCertificate } from '../../../../agent/credentials/renewal.ts';
import type { RenewAnswer } from '../../../../protocol/credentials-api.ts';
import { accept, type Verdict } from '../../../../trust/refusal.ts';
import { type CutPolicy, SimulatedDisk, seededRandom } from '../../../sim/simulated-disk.ts';
import { authority, certifyRequest, deviceCertificate, type IssuedCertificate } from '../test-authority.ts';

const PATHS = identityPaths('/data');
const POLICIES: readonly CutPolicy[] = ['drop', 'keep', 'random', 'random'];
let ca: IssuedCertificate;
let first: IssuedCertificate;
beforeAll(async () => {
  ca = await authority();
  first = await deviceCertificate(ca, 'cam-0001');
});

async function enrolledDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.makeDirectory('/data/identity');
  for (const [path, pem] of [
    [PATHS.key, first.privateKeyPem],
    [PATHS.certificate, first.certificatePem],
  ] as const) {
    const file = await disk.open(path, 'create');
    await file.write(new TextEncoder().encode(pem), 0);
    await file.sync();
    await file.close();
  }
  for (const folder of ['/data/identity', '/data', '/']) await disk.syncDirectory(folder);
  return disk;
}

/** Issues what is asked for, as the server does, and keeps the keys that it saw. */
function server(seen: Set<string>, subject = 'cam-0001') {
  return async (request: Uint8Array): Promise<Verdict<RenewAnswer>> => {
    const certificateChain = await certifyRequest(ca, request, { subject });
    seen.add(new X509Certificate(certificateChain).publicKey.export({ type: 'spki', format: 'der' }).toString('hex'));
    return accept({ certificateChain });
  };
}

describe('renewing a certificate', () => {
  it('ends with a new certificate for the same key', async () => {
    const disk = await enrolledDisk();
    const renewed = await renewCertificate(disk, PATHS, 'cam-0001', server(new Set()));
    expect(renewed.ok).toBe(true);
    const identity = await readIdentity(disk, PATHS);
    expect(identity).toMatchObject({ deviceId: 'cam-0001' });
    expect(identity?.privateKeyPem).toBe(first.privateKeyPem);
    expect(identity?.certificateChainPem).not.toBe(first.certificatePem);
    expect(await disk.list('/data/identity')).toEqual(['device.crt', 'device.key']);
  });

  it('leaves the old certificate where the server is away or names another device', async () => {
    const disk = await enrolledDisk();
    const keys = new Set<string>();
    const away = renewCertificate(disk, PATHS, 'cam-0001', async (request) => {
      await server(keys)(request);
      throw new SourceUnreachable('the answer was lost');
    });
    await expect(away).rejects.toThrow(SourceUnreachable);
    const foreign = await renewCertificate(disk, PATHS, 'cam-0001', server(keys, 'cam-0002'));
    expect(foreign).toMatchObject({ ok: false, code: 'answer-malformed' });
    expect((await readIdentity(disk, PATHS))?.certificateChainPem).toBe(first.certificatePem);
    expect((await renewCertificate(disk, PATHS, 'cam-0001', server(keys))).ok).toBe(true);
    expect(keys.size).toBe(1);
  });

  it('is cut after every operation, and each time a certificate stands that fits the key', async () => {
    const disk = await enrolledDisk();
    const left: SimulatedDisk[] = [];
    const random = seededRandom(1);
    disk.afterOperation = () => {
      for (const policy of POLICIES) left.push(disk.cut(policy, random));
    };
    await renewCertificate(disk, PATHS, 'cam-0001', server(new Set()));
    expect(left.length).toBeGreaterThan(10);
    const renewed = (await readIdentity(disk, PATHS))?.certificateChainPem;
    const seen = new Set<string | undefined>();
    for (const cut of left) seen.add((await readIdentity(cut, PATHS))?.certificateChainPem);
    expect(seen).toEqual(new Set([first.certificatePem, renewed]));
  });
});
