/** The device's key: the factory's goes, with its certificate; this device's own stays through rotations. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { expect, it } from 'vitest';
import { DeviceKeyProvider } from '../../../../../agent/first-boot/providers/device-key.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { cutEverywhere } from '../cut-everywhere.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets, textOf } from '../folder-device.ts';

const KEY = '/data/identity/device.key';
const CERTIFICATE = '/data/identity/device.crt';
const baked = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();

async function deviceWith(key: string): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place('/data/begun', bytesOf(''));
  await disk.place(KEY, bytesOf(key));
  await disk.place(CERTIFICATE, bytesOf('the factory’s certificate'));
  return disk;
}

const at = (disk: SimulatedDisk, adopt = false) =>
  new DeviceKeyProvider(folderWorld(disk, rememberedForms()), { adopt });
const keyOf = async (disk: SimulatedDisk) => textOf(await disk.readFile(KEY, 4096));

async function rotate(disk: SimulatedDisk, epoch: number, adopt = false): Promise<void> {
  await at(disk, adopt).stage(diskStaging(disk, epoch), seededSecrets('a'));
  await at(disk, adopt).apply(diskStaging(disk, epoch));
}

it.each([
  ['whole', baked],
  ['damaged', 'not a key'],
])('replaces a %s key of the factory, and its certificate goes', async (_, key) => {
  const disk = await deviceWith(key);
  await rotate(disk, 1);
  expect(await keyOf(disk)).not.toBe(key);
  expect(createPublicKey(createPrivateKey(await keyOf(disk))).asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
  expect(await disk.readFile(CERTIFICATE, 4096)).toBeUndefined();
  expect(await at(disk).verifyNew()).toEqual({ ok: true });
  expect(await at(disk).verifyOldRefused()).toEqual({ ok: true });
  expect(await at(disk).inspect()).toMatchObject([{ name: 'device-key', state: 'own', epoch: 1 }]);
});

it('keeps its own through a rotation, and one that it adopts; makes another after a factory reset', async () => {
  const disk = await deviceWith(baked);
  await rotate(disk, 1, true);
  expect(await keyOf(disk)).toBe(baked);
  expect(await disk.readFile(CERTIFICATE, 4096)).toBeDefined();
  await rotate(disk, 2);
  expect(await keyOf(disk)).toBe(baked);
  await at(disk).wipe();
  await at(disk).wipe();
  await rotate(disk, 3);
  expect(await keyOf(disk)).not.toBe(baked);
});

it('finds a factory key that came back, and gives out the staged key for what must be signed before', async () => {
  const disk = await deviceWith(baked);
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  const staged = await at(disk).stagedKey(diskStaging(disk, 1));
  expect(await keyOf(disk)).toBe(baked);
  await at(disk).apply(diskStaging(disk, 1));
  expect(await keyOf(disk)).toBe(staged);
  await disk.place(KEY, bytesOf(baked));
  expect(await at(disk).verifyNew()).toMatchObject({ ok: false, code: 'device-key-not-in-effect' });
  expect(await at(disk).verifyOldRefused()).toMatchObject({ ok: false, code: 'factory-device-key-left' });
});

it('ends the same wherever apply is cut, and never has a new key beside the old certificate', async () => {
  const disk = await deviceWith(baked);
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  const act = (left: SimulatedDisk) => at(left).apply(diskStaging(left, 1));
  const always = async (left: SimulatedDisk, cut: string) => {
    if ((await left.readFile(CERTIFICATE, 4096)) !== undefined) expect(await keyOf(left), cut).toBe(baked);
  };
  expect(
    await cutEverywhere({ disk, act, always, compared: (path) => path.startsWith('/data/identity') }),
  ).toBeGreaterThan(20);
});
