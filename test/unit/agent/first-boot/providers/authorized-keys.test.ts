/** authorized_keys on a simulated disk: the owner's where they belong, nobody's elsewhere, and revoked ones gone. */
import { expect, it } from 'vitest';
import { AuthorizedKeys } from '../../../../../agent/first-boot/providers/authorized-keys.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { cutEverywhere } from '../cut-everywhere.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, textOf } from '../folder-device.ts';

const OWNER = `ssh-ed25519 ${'A'.repeat(67)}= owner@desk`;
const SECOND = `sk-ssh-ed25519@openssh.com ${'C'.repeat(80)} token`;
const FACTORY = `ssh-rsa ${'B'.repeat(100)} factory`;
const forms = rememberedForms();

async function factory(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  const passwd =
    'root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\nnone:x:9:9::/nonexistent:/bin/false\n';
  await disk.place('/image/etc/passwd', bytesOf(passwd));
  await disk.place('/image/root/.ssh/authorized_keys', bytesOf(`# made at the factory\n${FACTORY}\n`));
  await disk.place('/image/root/.ssh/authorized_keys2', bytesOf(`${FACTORY}\n`));
  await disk.place('/image/home/pi/.ssh/authorized_keys', bytesOf(`command="/bin/sh" ${FACTORY}\n`));
  await disk.place('/data/begun', bytesOf(''));
  return disk;
}

const at = (disk: SimulatedDisk, ownerKeys = [OWNER], accounts = ['root']) =>
  new AuthorizedKeys(folderWorld(disk, forms, { ownerKeys }), { accounts });
const keysOf = (disk: SimulatedDisk) =>
  Object.fromEntries(
    [...disk.contents()]
      .filter(([path]) => /^\/image.*authorized_keys/.test(path))
      .map(([path, bytes]) => [path.slice('/image'.length), textOf(bytes)]),
  );

it("leaves the owner's keys for the named account, and no other key on the device", async () => {
  const disk = await factory();
  expect((await at(disk).inspect()).map(({ name, state }) => `${name} ${state}`).sort()).toEqual([
    'authorized-keys:pi factory',
    'authorized-keys:root factory',
  ]);
  expect(await at(disk).verifyOldRefused()).toMatchObject({ ok: false, code: 'factory-key-accepted' });
  await at(disk).stage(diskStaging(disk, 1));
  await at(disk).apply(diskStaging(disk, 1));
  expect(keysOf(disk)).toEqual({ '/root/.ssh/authorized_keys': `${OWNER}\n` });
  expect(await forms.read('/image/root/.ssh/authorized_keys')).toEqual({ mode: 0o600, uid: 0, gid: 0 });
  expect(await at(disk).verifyNew()).toEqual({ ok: true });
  expect(await at(disk).verifyOldRefused()).toEqual({ ok: true });
  expect(await at(disk).inspect()).toMatchObject([{ name: 'authorized-keys:root', state: 'owner', epoch: 1 }]);
});

it('takes a revoked key out at the next boot, and what somebody added since', async () => {
  const disk = await factory();
  await at(disk, [OWNER, SECOND]).apply(diskStaging(disk, 1));
  expect(keysOf(disk)).toEqual({ '/root/.ssh/authorized_keys': `${OWNER}\n${SECOND}\n` });
  await disk.place('/image/home/pi/.ssh/authorized_keys', bytesOf(`${FACTORY}\n`));
  await at(disk, [SECOND]).reconcile();
  expect(keysOf(disk)).toEqual({ '/root/.ssh/authorized_keys': `${SECOND}\n` });
  await at(disk, []).reconcile();
  expect(keysOf(disk)).toEqual({ '/root/.ssh/authorized_keys': '' });
  expect(await at(disk, []).inspect()).toMatchObject([{ state: 'absent' }]);
});

it.each([`no-pty ${OWNER}`, `${OWNER}\n${FACTORY}`, 'ssh-dss AAAA', '', `ssh-ed25519 ${'A'.repeat(20)}==== x`])(
  'refuses %j as a key of the owner, before anything changes',
  async (line) => {
    const disk = await factory();
    await expect(at(disk, [OWNER, line]).stage(diskStaging(disk, 1))).rejects.toThrow(/key number 2/);
  },
);

it('says so when an account that should have the keys is not there', async () => {
  const disk = await factory();
  await at(disk, [OWNER], ['root', 'admin']).apply(diskStaging(disk, 1));
  expect(await at(disk, [OWNER], ['root', 'admin']).verifyNew()).toMatchObject({
    ok: false,
    code: 'owner-keys-not-read',
  });
});

it('ends the same wherever apply is cut, and after a wipe no key is left', async () => {
  const disk = await factory();
  const act = (left: SimulatedDisk) => at(left).apply(diskStaging(left, 1));
  expect(
    await cutEverywhere({
      disk,
      act,
      compared: (path) => path.includes('authorized_keys') && path.startsWith('/image'),
    }),
  ).toBeGreaterThan(30);
  await at(disk).wipe();
  await at(disk).wipe();
  expect(keysOf(disk)).toEqual({});
});
