/** Unix passwords on a simulated disk: what comes out of shadow, and that no cut leaves a factory's password after apply. */
import { beforeEach, describe, expect, it } from 'vitest';
import { UnixPasswords } from '../../../../../agent/first-boot/providers/unix-passwords.ts';
import { matchesShaCrypt, shaCrypt } from '../../../../../agent/first-boot/sha-crypt.ts';
import { SimulatedDisk, seededRandom } from '../../../../sim/simulated-disk.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets, textOf } from '../folder-device.ts';

const ROOT_HASH = shaCrypt('xc3511', '$6$factory') ?? '';
const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\npi:x:1000:1000::/home/pi:/bin/sh\nold::1001:1001::/:/bin/sh\n';
const SHADOW = `root:${ROOT_HASH}:18000:0:99999:7:::\ndaemon:*:18000:0:99999:7:::\npi::18000:0:99999:7:::\nback:!${ROOT_HASH}:1::::::\n`;

async function factoryDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place('/image/etc/passwd', bytesOf(PASSWD));
  await disk.place('/image/etc/shadow', bytesOf(SHADOW));
  await disk.place('/image/etc/gshadow', bytesOf(`root:*::\nstaff:${ROOT_HASH}::\nusers:::pi\n`));
  await disk.place('/image/etc/group', bytesOf('root:x:0:\nstaff:x:50:\n'));
  await disk.place('/data/begun', bytesOf(''));
  return disk;
}

const shadowOf = async (disk: SimulatedDisk) =>
  new Map(
    textOf(await disk.readFile('/image/etc/shadow', 99_999))
      .trim()
      .split('\n')
      .map((line) => [line.split(':')[0] ?? '', line.split(':')[1] ?? '']),
  );

const at = (disk: SimulatedDisk, breakGlass: string | null = 'root') =>
  new UnixPasswords(folderWorld(disk, rememberedForms(), { nowUnixMs: () => 20_000 * 86_400_000 }), { breakGlass });

describe('unix passwords', () => {
  let disk: SimulatedDisk;
  beforeEach(async () => {
    disk = await factoryDisk();
  });

  it('locks every account but the break-glass one, whose password is the escrowed one, and leaves no hash of the factory', async () => {
    const provider = at(disk);
    expect((await provider.inspect()).filter(({ state }) => state === 'factory').map(({ name }) => name)).toEqual([
      'password:root',
      'password:pi',
      'password:old',
    ]);
    const staging = diskStaging(disk, 1);
    const [secret] = await provider.stage(staging, seededSecrets('a'));
    expect(secret?.name).toBe('password:root');
    expect(secret?.text).toMatch(/^([a-km-np-z2-9]{4}-){6}[a-km-np-z2-9]{4}$/);
    expect(textOf(await disk.readFile('/image/etc/shadow', 99_999))).toBe(SHADOW);
    await provider.apply(staging);

    const shadow = await shadowOf(disk);
    expect(matchesShaCrypt(secret?.text ?? '', shadow.get('root') ?? '')).toBe(true);
    expect([shadow.get('daemon'), shadow.get('pi'), shadow.get('back'), shadow.get('old')]).toEqual([
      '*',
      '*',
      '*',
      '*',
    ]);
    const everything = [...disk.contents()]
      .filter(([path]) => path.includes('/etc/'))
      .map(([, bytes]) => textOf(bytes))
      .join('\n');
    expect(everything).not.toContain(ROOT_HASH);
    expect(everything, 'an empty field').not.toMatch(/^(?!users:)[^:\n]+::/m);
    expect(textOf(await disk.readFile('/image/etc/gshadow', 9999))).toBe('root:*::\nstaff:*::\nusers:::pi\n');
    expect(await provider.verifyNew()).toMatchObject({ ok: true });
    expect(await provider.verifyOldRefused()).toMatchObject({
      ok: true,
      detail: 'sshd was not asked: this device is a folder',
    });
    expect((await provider.inspect()).map(({ name, state, epoch }) => [name, state, epoch])).toEqual([
      ['password:root', 'own', 1],
    ]);
  });

  it('keeps the plaintext nowhere on the disk', async () => {
    const provider = at(disk);
    const [secret] = await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
    await provider.apply(diskStaging(disk, 1));
    for (const [path, bytes] of disk.contents()) expect(textOf(bytes), path).not.toContain(secret?.text);
  });

  it('takes new users of a new image in, locked, and none of its passwords', async () => {
    const provider = at(disk);
    await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
    await provider.apply(diskStaging(disk, 1));
    const own = (await shadowOf(disk)).get('root');
    await disk.place('/image/etc/passwd', bytesOf(`${PASSWD}mosquitto:x:110:110::/:/bin/false\n`));
    await disk.place('/image/etc/shadow', bytesOf(`${SHADOW}mosquitto:${ROOT_HASH}:1::::::\n`));
    expect(await provider.verifyOldRefused()).toMatchObject({ ok: false, code: 'factory-password-left' });
    await provider.reconcile();
    const shadow = await shadowOf(disk);
    expect([shadow.get('root'), shadow.get('mosquitto'), shadow.get('pi')]).toEqual([own, '*', '*']);
    expect(await provider.verifyOldRefused()).toMatchObject({ ok: true });
    const before = disk.operations;
    await provider.reconcile();
    expect(disk.operations, 'a boot with nothing to do writes nothing').toBe(before);
  });

  it("keeps an owner's own password through boots and a rotation, refuses a weak one, and forgets it at a factory reset", async () => {
    const provider = at(disk);
    await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
    await provider.apply(diskStaging(disk, 1));
    expect(await provider.setByOwner('pi', 'short', seededSecrets('b'))).toMatchObject({
      ok: false,
      code: 'password-too-short',
    });
    expect(await provider.setByOwner('pi', 'correct horse battery staple', seededSecrets('b'))).toMatchObject({
      ok: true,
    });
    const [secret] = await provider.stage(diskStaging(disk, 2), seededSecrets('c'));
    await provider.apply(diskStaging(disk, 2));
    const shadow = await shadowOf(disk);
    expect(matchesShaCrypt('correct horse battery staple', shadow.get('pi') ?? '')).toBe(true);
    expect(matchesShaCrypt(secret?.text ?? '', shadow.get('root') ?? '')).toBe(true);
    expect((await provider.inspect()).map(({ name, state }) => [name, state])).toEqual([
      ['password:root', 'own'],
      ['password:pi', 'owner'],
    ]);
    await provider.wipe();
    await provider.wipe();
    expect([...(await shadowOf(disk)).values()].every((field) => /^[*!]+$/.test(field))).toBe(true);
  });

  it('is refused before anything changes when the break-glass account is not in the image', async () => {
    await expect(at(disk, 'nobody-here').stage(diskStaging(disk, 1), seededSecrets('a'))).rejects.toThrow(/no account/);
    expect(textOf(await disk.readFile('/image/etc/shadow', 99_999))).toBe(SHADOW);
  });

  it('ends the same wherever apply is cut, with whatever the disk kept', async () => {
    const staging = diskStaging(disk, 1);
    const provider = at(disk);
    await provider.stage(staging, seededSecrets('a'));
    const cuts: SimulatedDisk[] = [];
    const random = seededRandom(1);
    disk.afterOperation = () => {
      cuts.push(disk.cut('drop'), disk.cut('keep'), disk.cut('random', random));
    };
    await provider.apply(staging);
    disk.afterOperation = () => {};
    const wanted = await shadowOf(disk);
    expect(cuts.length).toBeGreaterThan(20);
    for (const [number, cut] of cuts.entries()) {
      const again = at(cut);
      await again.apply(diskStaging(cut, 1));
      expect(await shadowOf(cut), `cut ${number}`).toEqual(wanted);
      expect((await again.verifyOldRefused()).ok, `cut ${number}`).toBe(true);
    }
  });
});
