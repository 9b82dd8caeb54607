/** Files of the device's own, in place, on a simulated disk; the bound way is tried with real mounts in private-sshd.test.ts. */
import { expect, it } from 'vitest';
import { DeviceFiles } from '../../../../agent/first-boot/device-files.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';
import { cutEverywhere } from './cut-everywhere.ts';
import { bytesOf, rememberedForms, textOf } from './folder-device.ts';

const PATH = '/etc/deep/er/secret';
const FORM = { mode: 0o640, uid: 0, gid: 42 };
const forms = rememberedForms();
const at = (disk: SimulatedDisk) =>
  new DeviceFiles(disk, { root: '/image', dataDirectory: '/data', way: 'auto' }, undefined, forms);

async function factory(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place(`/image${PATH}`, bytesOf('factory'));
  await disk.place('/data/begun', bytesOf(''));
  return disk;
}

it('changes nothing in effect before it is activated, and then leaves a copy that an update cannot take away', async () => {
  const disk = await factory();
  const files = at(disk);
  await files.writeOwn(PATH, bytesOf('own'), FORM);
  expect(textOf(await files.readInEffect(PATH))).toBe('factory');
  await files.activate(PATH);
  expect(textOf(await files.readInEffect(PATH))).toBe('own');
  expect(await forms.read(`/image${PATH}`)).toEqual(FORM);
  await disk.place(`/image${PATH}`, bytesOf('updated'));
  await files.activate(PATH);
  expect(textOf(await files.readInEffect(PATH))).toBe('own');
  await files.forget(PATH);
  await expect(files.activate(PATH)).rejects.toThrow(/no copy/);
});

it('covers a file that nothing may read, once', async () => {
  const disk = await factory();
  await at(disk).cover(PATH);
  await at(disk).cover(PATH);
  expect(await at(disk).readInEffect(PATH)).toBeUndefined();
});

it('leaves the factory’s or its own, whole, at every cut, and its own in the end', async () => {
  const disk = await factory();
  const act = (left: SimulatedDisk) => at(left).put(PATH, bytesOf('own'), FORM);
  const always = async (left: SimulatedDisk, cut: string) => {
    expect(['factory', 'own'], cut).toContain(textOf(await at(left).readInEffect(PATH)));
  };
  expect(await cutEverywhere({ disk, act, always, compared: (path) => path === `/image${PATH}` })).toBeGreaterThan(30);
});

it('is undone by a cut when any one of its needed syncs is taken away', async () => {
  const syncs: number[] = [];
  const dry = await factory();
  dry.afterOperation = ({ kind, number, path }) => {
    if (kind === 'sync' || (kind === 'syncdir' && path === `/image/etc/deep/er`)) syncs.push(number);
  };
  await at(dry).put(PATH, bytesOf('own'), FORM);
  expect(syncs).toHaveLength(3);
  for (const number of syncs) {
    const disk = await factory();
    disk.ignoresSync = (operation) => operation.number === number;
    await at(disk).put(PATH, bytesOf('own'), FORM);
    const left = disk.cut('drop');
    const own = textOf(await at(left).readOwn(PATH));
    expect([own, textOf(await at(left).readInEffect(PATH))], String(number)).not.toEqual(['own', 'own']);
  }
});
