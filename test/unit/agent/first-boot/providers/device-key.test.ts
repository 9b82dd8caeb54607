/** The device's key: the factory's goes, with its certificate; this device's own stays through rotations. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readOrMakeDeviceKey } from '../../../../../agent/credentials/enrolment-key.ts';
import { identityPaths } from '../../../../../agent/credentials/identity.ts';
import {
  FACTORY_RECORD,
  type FirstBootRecord,
  firstBootDirectory,
  firstBootRecord,
} from '../../../../../agent/first-boot/first-boot-record.ts';
import { DeviceKeyProvider } from '../../../../../agent/first-boot/providers/device-key.ts';
import { EpochFolder } from '../../../../../agent/first-boot/staging.ts';
import { makeDirectoryDurably } from '../../../../../platform/durable-file.ts';
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

describe('a first boot that is blocked, on a device that enrols all the same', () => {
  /** The record of a first boot that has begun its epoch on this board. */
  async function blockedDevice(change: Partial<FirstBootRecord>): Promise<SimulatedDisk> {
    const disk = new SimulatedDisk();
    await disk.place('/data/first-boot/begun', bytesOf(''));
    const record = { ...FACTORY_RECORD, state: 'blocked', epoch: 1, ...change } as const;
    await firstBootRecord(disk, firstBootDirectory('/data')).write(record);
    return disk;
  }
  const enrols = (disk: SimulatedDisk) => readOrMakeDeviceKey(disk, identityPaths('/data'));

  it('goes on with the key that the agent made for that, to which the server bound the claim', async () => {
    const disk = await blockedDevice({ resume: 'factory' });
    const { privateKeyPem } = await enrols(disk);
    await disk.place(CERTIFICATE, bytesOf('of the server'));
    await rotate(disk, 1);
    expect(await keyOf(disk)).toBe(privateKeyPem);
    expect(await disk.readFile(CERTIFICATE, 4096)).toBeDefined();
    expect(await at(disk).inspect()).toMatchObject([{ name: 'device-key', state: 'own', epoch: 1 }, {}]);
  });

  it.each([
    ['blocked before it is applied', { resume: 'applied' }],
    ['under way while the agent runs, at a later try', { state: 'generated' }],
  ] as const)('enrols with the key that is staged: %s', async (_, change) => {
    const disk = await blockedDevice(change);
    const staging = new EpochFolder(disk, firstBootDirectory('/data')).staging(1, 'device-key');
    await makeDirectoryDurably(disk, '/data/first-boot/epoch-1');
    await at(disk).stage(staging, seededSecrets('a'));
    const { privateKeyPem } = await enrols(disk);
    expect(privateKeyPem).toBe(await at(disk).stagedKey(staging));
    await disk.place(CERTIFICATE, bytesOf('of the server'));
    await at(disk).apply(staging);
    expect(await keyOf(disk)).toBe(privateKeyPem);
    expect(await disk.readFile(CERTIFICATE, 4096)).toBeDefined();
  });

  it('keeps that key wherever making it is cut: it never stands without its mark', async () => {
    const disk = await blockedDevice({ resume: 'factory' });
    let made = '';
    const always = async (left: SimulatedDisk): Promise<void> => {
      made = textOf((await left.readFile(KEY, 4096)) ?? bytesOf(''));
    };
    const act = async (left: SimulatedDisk): Promise<void> => {
      const { privateKeyPem } = await enrols(left);
      if (made !== '') expect(privateKeyPem).toBe(made);
      await rotate(left, 1);
      expect(await keyOf(left)).toBe(privateKeyPem);
    };
    // Keys are random: what must end the same is that there is one, as the act found it.
    const compared = (path: string): boolean => path === '/data/first-boot/begun';
    expect(await cutEverywhere({ disk, act, always, compared })).toBeGreaterThan(20);
  });

  it('replaces a key that was there before it began, as an image of a device that ran brings it', async () => {
    const disk = new SimulatedDisk();
    await disk.place('/data/begun', bytesOf(''));
    const { privateKeyPem } = await enrols(disk);
    await rotate(disk, 1);
    expect(await keyOf(disk)).not.toBe(privateKeyPem);
  });

  it('makes another after a factory reset', async () => {
    const disk = await blockedDevice({ resume: 'factory' });
    const { privateKeyPem } = await enrols(disk);
    await at(disk).wipe();
    await rotate(disk, 2);
    expect(await keyOf(disk)).not.toBe(privateKeyPem);
  });
});
