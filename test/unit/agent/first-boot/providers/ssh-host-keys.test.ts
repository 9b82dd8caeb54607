/** Host keys on a simulated disk: no cut leaves a device without any, or with the factory's after apply. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SshHostKeys } from '../../../../../agent/first-boot/providers/ssh-host-keys.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { cutEverywhere } from '../cut-everywhere.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets, textOf } from '../folder-device.ts';

const forms = rememberedForms();
let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-keys-'));
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

const IS_KEY = (path: string) => path.startsWith('/image/etc/ssh/ssh_host');
const at = (disk: SimulatedDisk, types: ('ed25519' | 'ecdsa' | 'rsa')[] = ['ed25519', 'ecdsa']) =>
  new SshHostKeys(folderWorld(disk, forms, { scratchDirectory: scratch }), { types });

async function factory(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place('/data/begun', bytesOf(''));
  await disk.place('/image/etc/ssh/sshd_config', bytesOf(''));
  for (const type of ['ed25519', 'rsa']) {
    await disk.place(`/image/etc/ssh/ssh_host_${type}_key`, bytesOf(`PRIVATE KEY factory ${type}`));
    await disk.place(`/image/etc/ssh/ssh_host_${type}_key.pub`, bytesOf('ssh-rsa AAAA factory'));
  }
  return disk;
}

it('replaces every key of the factory, keeps the fingerprint of the public ones, and brings its own back after an update', async () => {
  const disk = await factory();
  expect((await at(disk).inspect()).map(({ name, state }) => `${name} ${state}`)).toEqual([
    'ssh-host-key:ed25519 factory',
    'ssh-host-key:rsa factory',
  ]);
  expect(await at(disk).verifyOldRefused()).toMatchObject({ ok: false, code: 'factory-host-key-left' });
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  await at(disk).apply(diskStaging(disk, 1));
  const own = new Map(
    [...disk.contents()].filter(([path]) => IS_KEY(path)).map(([path, bytes]) => [path, textOf(bytes)]),
  );
  expect([...own.keys()].map((path) => path.split('/').at(-1)).sort()).toEqual(
    ['ecdsa', 'ed25519'].flatMap((type) => [`ssh_host_${type}_key`, `ssh_host_${type}_key.pub`]),
  );
  expect([...own.values()].join()).not.toContain('factory');
  expect((await at(disk).inspect()).map(({ state, epoch }) => `${state} ${epoch}`)).toEqual(['own 1', 'own 1']);
  expect(await at(disk).verifyOldRefused()).toEqual({ ok: true });

  for (const type of ['ed25519', 'rsa'])
    await disk.place(`/image/etc/ssh/ssh_host_${type}_key`, bytesOf(`factory ${type}`));
  await at(disk).reconcile();
  expect(
    new Map([...disk.contents()].filter(([path]) => IS_KEY(path)).map(([path, bytes]) => [path, textOf(bytes)])),
  ).toEqual(own);
  const before = disk.operations;
  await at(disk).reconcile();
  expect(disk.operations, 'a boot with nothing to do writes nothing').toBe(before);
});

it('ends the same wherever apply is cut, and at no moment has a device no host key', async () => {
  const disk = await factory();
  await at(disk, ['ed25519']).stage(diskStaging(disk, 1), seededSecrets('a'));
  const always = (left: SimulatedDisk, cut: string) => {
    const keys = [...left.contents()].filter(
      ([path]) => IS_KEY(path) && !path.endsWith('.pub') && !path.endsWith('.new'),
    );
    expect(
      keys.some(([, bytes]) => textOf(bytes).includes('PRIVATE KEY')),
      cut,
    ).toBe(true);
  };
  const act = (left: SimulatedDisk) => at(left, ['ed25519']).apply(diskStaging(left, 1));
  expect(await cutEverywhere({ disk, act, always, compared: IS_KEY })).toBeGreaterThan(60);
});
