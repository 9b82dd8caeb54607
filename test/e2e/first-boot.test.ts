/**
 * A device from its factory to its owner: the real boot loop, first boot and agent as plain processes, the real server
 * and command line. Each boot mounts the factory's slot anew, with the factory's secrets in it.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PROVISIONS } from '../../cli/evidence/provisions.ts';
import type { Secret } from '../../scripts/byte-scan/forms.ts';
import { opensshSecrets, pkcs8Secrets, textSecret } from '../../scripts/byte-scan/key-secrets.ts';
import { ByteScan } from '../../scripts/byte-scan/scan.ts';
import { CarelessFactory, FACTORY_MACHINE_ID, FACTORY_PASSWORD, hashes, rootHashIn } from './careless-factory.ts';

const PATIENCE_MS = 120_000;
const DEVICE = 'cam-0001';

let factory: CarelessFactory;
const answerOf = (...args: string[]) => factory.answerOf(...args);
const inEffect = (path: string): Promise<string> => factory.inEffect(DEVICE, path);
const until = (holds: () => Promise<void>) => vi.waitFor(holds, { timeout: PATIENCE_MS, interval: 500 });
const rootHash = async (): Promise<string> => rootHashIn(await inEffect('etc/shadow'));
const opened = (owner: 'ann' | 'bob', request: string) =>
  factory.openedByOwner(owner, request, { deviceId: DEVICE, board: DEVICE });

/** What consumers on the device have in plaintext, by the only files that may hold it, below the device's folder. */
const CONSUMERS = {
  'host key': ['data/own/etc/ssh/ssh_host_ed25519_key', 'run/rootfs/etc/ssh/ssh_host_ed25519_key'],
  // The provider keeps it too, to render the template of the next image with it.
  broker: [
    'data/credentials/mqtt-password-broker.json',
    'data/own/etc/acme/client.conf',
    'run/rootfs/etc/acme/client.conf',
  ],
  'device key': ['data/identity/device.key'],
  claim: ['factory/claim.json'],
} as const;

async function secretsInUse(): Promise<Secret[]> {
  const { secret } = JSON.parse(await readFile(factory.on(DEVICE, 'factory/claim.json'), 'utf8'));
  return [
    ...opensshSecrets('host key', await inEffect('etc/ssh/ssh_host_ed25519_key')),
    ...pkcs8Secrets('device key', await readFile(factory.on(DEVICE, 'data/identity/device.key'), 'utf8')),
    textSecret('broker', /^password (\S+)$/m.exec(await inEffect('etc/acme/client.conf'))?.[1] ?? ''),
    textSecret('claim', secret),
  ];
}

/** Paths of all files in which any of it lies, in any form. */
async function filesWith(secrets: readonly Secret[], folder: string): Promise<string[]> {
  return [...(await new ByteScan(secrets).folder(factory.on(folder))).keys()].sort();
}

beforeAll(async () => {
  factory = await CarelessFactory.open();
  await factory.build(DEVICE, DEVICE, '100000000a');
}, PATIENCE_MS);
afterAll(() => factory?.close());

describe('a device that leaves its factory', { timeout: 3 * PATIENCE_MS }, () => {
  let first: { password: string; hash: string; inUse: Secret[] };

  it('replaces every secret of the factory, enrols, and proves it to the server', async () => {
    factory.switchOn(DEVICE);
    await until(async () => {
      expect(await answerOf('credentials', 'status')).toMatchObject({ standings: { proven: 1, factory: 0 } });
    });
    expect((await answerOf('devices', '--factory')).devices).toEqual([]);
    expect(hashes(FACTORY_PASSWORD, await rootHash())).toBe(false);
    expect(await inEffect('etc/shadow')).toMatch(/^pi:\*:/m);
    expect(await inEffect('etc/ssh/ssh_host_ed25519_key')).not.toBe(factory.hostKey);
    expect(await inEffect('etc/machine-id')).not.toContain(FACTORY_MACHINE_ID);
    expect(await inEffect('root/.ssh/authorized_keys')).not.toContain('factory');
  });

  it('gives its owner the password that it made, through a server that cannot read it', async () => {
    // Before it is opened: what was opened is replaced at once.
    const [hash, inUse] = [await rootHash(), await secretsInUse()];
    const secrets = await opened('ann', 'e1');
    first = { password: secrets['password:root'] ?? '', hash, inUse };
    expect(hashes(first.password, hash)).toBe(true);
    expect(inUse.some(({ bytes }) => Buffer.from(bytes).toString() === secrets['mqtt-password:broker'])).toBe(true);
  });

  it('makes new ones after that, over a slot that still brings the factory’s, and the other owner can open them', async () => {
    await until(async () => {
      expect(await answerOf('credentials', 'status', 'k1')).toMatchObject({ rotation: { state: 'complete' } });
    });
    expect(await rootHash()).not.toBe(first.hash);
    expect(hashes(first.password, await rootHash())).toBe(false);
    const secrets = await opened('bob', 'e2');
    expect(secrets['password:root']).not.toBe(first.password);
  });

  it('is evidence for every provision, and says that it is no verdict', async () => {
    const rows = PROVISIONS.map(({ clause }) => ({ clause, devices: 1, holdFor: 1, notFor: [] }));
    // What was opened just now is being replaced: until the new escrow is there, a row does not hold.
    await until(async () => {
      const { provisions, meaning } = await answerOf('evidence', 'credentials');
      expect(meaning).toContain('never a verdict');
      expect(provisions).toMatchObject(rows);
    });
  });

  it('leaves no secret in plaintext, in any form, but in the 0600 files of those who need it', async () => {
    const password = textSecret('password', (await opened('ann', 'e3'))['password:root'] ?? '');
    // Once the rotation that the opening brought is over, nothing of the first epoch but the device key is in use.
    await until(async () => {
      expect(await answerOf('credentials', 'status', 'k3')).toMatchObject({ rotation: { state: 'complete' } });
    });
    const inUse = await secretsInUse();
    const inUseStill = (name: string): boolean => name.startsWith('device key') || name === 'claim';
    const former = [textSecret('password of before', first.password), password, ...first.inUse].filter(
      ({ name }) => !inUseStill(name),
    );
    expect(await filesWith(former, DEVICE)).toEqual([]);
    // The search finds what is there, and says where: in the device's own copy and where its consumer reads it.
    for (const [name, files] of Object.entries(CONSUMERS)) {
      const own = inUse.filter((secret) => secret.name.startsWith(name));
      expect(await filesWith(own, DEVICE), name).toEqual(files);
      for (const file of files) expect((await stat(factory.on(DEVICE, file))).mode & 0o777, file).toBe(0o600);
    }
    // Database and its log, artifacts, keys; what the server says, at its most talkative.
    const all = [...former, ...inUse];
    expect(await filesWith(all, 'server')).toEqual([]);
    expect(await new ByteScan(all).file(join(factory.home, 'server.log'))).toEqual([]);
    expect((await readFile(join(factory.home, 'server.log'))).length).toBeGreaterThan(0);
  });
});
