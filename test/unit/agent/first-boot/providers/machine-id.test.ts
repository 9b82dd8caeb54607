/** machine-id: the factory's is replaced and one reboot asked for, an empty one needs none, and a rotation keeps it. */
import { expect, it } from 'vitest';
import { REBOOT_NEEDED } from '../../../../../agent/core/first-boot-ports.ts';
import { MachineId } from '../../../../../agent/first-boot/providers/machine-id.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { cutEverywhere } from '../cut-everywhere.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets, textOf } from '../folder-device.ts';

const FACTORY = 'deadbeefdeadbeefdeadbeefdeadbeef';

async function deviceWith(id: string): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place('/image/etc/machine-id', bytesOf(id));
  await disk.place('/image/var/lib/dbus/machine-id', bytesOf(id));
  await disk.place('/data/begun', bytesOf(''));
  return disk;
}

const at = (disk: SimulatedDisk, boot = 'boot-1') =>
  new MachineId(folderWorld(disk, rememberedForms(), { bootId: async () => boot }));
const idOf = async (disk: SimulatedDisk, path = '/image/etc/machine-id') => textOf(await disk.readFile(path, 99));

it('replaces a factory id in both places, and is content only after a reboot', async () => {
  const disk = await deviceWith(`${FACTORY}\n`);
  expect(await at(disk).inspect()).toMatchObject([{ state: 'factory', epoch: 0 }]);
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  await at(disk).apply(diskStaging(disk, 1));
  expect(await idOf(disk)).toMatch(/^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n$/);
  expect(await idOf(disk, '/image/var/lib/dbus/machine-id')).toBe(await idOf(disk));
  expect(await at(disk).verifyNew()).toMatchObject({ ok: false, code: REBOOT_NEEDED });
  await at(disk, 'boot-2').reconcile();
  expect(await at(disk, 'boot-2').verifyNew()).toMatchObject({ ok: true });
  expect(await at(disk, 'boot-2').verifyOldRefused()).toEqual({ ok: true });
  const [entry] = await at(disk).inspect();
  expect(entry).toMatchObject({ state: 'own', epoch: 1 });
  expect(entry?.fingerprint).not.toContain((await idOf(disk)).trim());
});

it.each(['', 'uninitialized\n'])('asks for no reboot when the image ships %j', async (shipped) => {
  const disk = await deviceWith(shipped);
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  await at(disk).apply(diskStaging(disk, 1));
  expect(await at(disk).verifyNew()).toEqual({ ok: true });
});

it('keeps the id through a rotation, and makes another after a factory reset', async () => {
  const disk = await deviceWith('');
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  await at(disk).apply(diskStaging(disk, 1));
  const first = await idOf(disk);
  await at(disk).stage(diskStaging(disk, 2), seededSecrets('b'));
  await at(disk).apply(diskStaging(disk, 2));
  expect(await idOf(disk)).toBe(first);
  await at(disk).wipe();
  await at(disk).stage(diskStaging(disk, 3), seededSecrets('c'));
  await at(disk).apply(diskStaging(disk, 3));
  expect(await idOf(disk)).not.toBe(first);
});

it('asks for the reboot again when the power was cut before the new id was written', async () => {
  const disk = await deviceWith(`${FACTORY}\n`);
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  let boots = 1;
  const act = async (left: SimulatedDisk) => {
    const isCut = (await idOf(left)).trim() === FACTORY;
    boots += 1;
    await at(left, `boot-${boots}`).apply(diskStaging(left, 1));
    // PID 1 of this boot read what stood when it began.
    expect((await at(left, `boot-${boots}`).verifyNew()).ok).toBe(!isCut);
  };
  expect(
    await cutEverywhere({ disk, act, compared: (path) => path.endsWith('machine-id') && path.startsWith('/image') }),
  ).toBeGreaterThan(20);
});
