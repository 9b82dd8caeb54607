/** Templates: every form, owner and mode, what is kept of a secret, a new image's template, the consumer's own check. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { FileTemplate, type TemplateSettings } from '../../../../../agent/first-boot/providers/file-template.ts';
import { matchesShaCrypt } from '../../../../../agent/first-boot/sha-crypt.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { cutEverywhere } from '../cut-everywhere.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets, textOf } from '../folder-device.ts';

const APP = {
  template: '/usr/share/acme/app.in',
  path: '/etc/acme/app.conf',
  owner: 'acme',
  group: 'acme',
  mode: 0o600,
};
const BROKER = {
  template: '/usr/share/acme/broker.in',
  path: '/etc/acme/broker',
  owner: 'root',
  group: 'acme',
  mode: 0o640,
};
const SETTINGS: TemplateSettings = {
  name: 'acme',
  kind: 'mqtt-password',
  files: [APP, BROKER],
  escrow: true,
  checkNew: null,
  checkOldRefused: null,
};

async function factory(app: string, broker: string): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place('/image/etc/passwd', bytesOf('root:x:0:0::/:/bin/sh\nacme:x:200:300::/:/bin/false\n'));
  await disk.place('/image/etc/group', bytesOf('root:x:0:\nacme:x:300:\n'));
  await disk.place(`/image${APP.template}`, bytesOf(app));
  await disk.place(`/image${BROKER.template}`, bytesOf(broker));
  await disk.place(`/image${APP.path}`, bytesOf('password = acme\n'));
  await disk.place('/data/begun', bytesOf(''));
  return disk;
}

const read = async (disk: SimulatedDisk, path: string) => textOf(await disk.readFile(`/image${path}`, 9999));

it('renders each form for its consumer, with its owner and mode, and escrows what was made', async () => {
  const disk = await factory(
    'p={{password}} b={{password:base64}} s={{password:sha256}}\n',
    'acme:{{password:sha512crypt}}\nbroker:{{password:mosquitto}}\n',
  );
  const forms = rememberedForms();
  const provider = new FileTemplate(folderWorld(disk, forms), SETTINGS);
  expect(await provider.inspect()).toMatchObject([{ name: 'mqtt-password:acme', state: 'factory' }]);
  const [secret] = await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
  await provider.apply(diskStaging(disk, 1));
  const text = secret?.text ?? '';
  const sha256 = createHash('sha256').update(text).digest('hex');
  expect(await read(disk, APP.path)).toBe(`p=${text} b=${Buffer.from(text).toString('base64')} s=${sha256}\n`);
  const [crypt = '', mosquitto = ''] = (await read(disk, BROKER.path)).split('\n');
  expect(matchesShaCrypt(text, crypt.slice('acme:'.length))).toBe(true);
  expect(mosquitto).toMatch(/^broker:\$7\$101\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}==$/);
  expect(await forms.read(`/image${APP.path}`)).toEqual({ mode: 0o600, uid: 200, gid: 300 });
  expect(await forms.read(`/image${BROKER.path}`)).toEqual({ mode: 0o640, uid: 0, gid: 300 });
  expect(await provider.verifyNew()).toMatchObject({ ok: true });
  expect(await provider.verifyOldRefused()).toMatchObject({ ok: true });

  await disk.place(`/image${APP.template}`, bytesOf('# new\np={{password}}\n'));
  await disk.place(`/image${APP.path}`, bytesOf('password = acme\n'));
  expect(await provider.verifyOldRefused()).toMatchObject({ ok: false, code: 'former-file-left' });
  await provider.reconcile();
  expect(await read(disk, APP.path)).toBe(`# new\np=${text}\n`);
  await provider.wipe();
  await provider.wipe();
  expect(await disk.readFile(`/image${APP.path}`, 99)).toBeUndefined();
});

it('writes no plaintext where the templates take a hash alone, and keeps the last rendering when a new one wants more', async () => {
  const disk = await factory('s={{password:sha256}}\n', 'acme:{{password:sha512crypt}}\n');
  const provider = new FileTemplate(folderWorld(disk, rememberedForms()), SETTINGS);
  const [secret] = await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
  await provider.apply(diskStaging(disk, 1));
  for (const [path, bytes] of disk.contents()) expect(textOf(bytes), path).not.toContain(secret?.text);
  const before = await read(disk, APP.path);
  await disk.place(`/image${APP.template}`, bytesOf('p={{password}}\n'));
  await provider.reconcile();
  expect(await read(disk, APP.path)).toBe(before);
});

it("asks the consumer's own commands, and says what they say", async () => {
  const disk = await factory('{{password}}', '{{password}}');
  const settings = {
    ...SETTINGS,
    checkNew: ['sh', '-c', 'exit 0'],
    checkOldRefused: ['sh', '-c', 'echo broker takes acme >&2; exit 1'],
  };
  const provider = new FileTemplate(folderWorld(disk, rememberedForms()), settings);
  await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
  await provider.apply(diskStaging(disk, 1));
  expect(await provider.verifyNew()).toEqual({ ok: true });
  expect(await provider.verifyOldRefused()).toEqual({
    ok: false,
    code: 'former-accepted',
    detail: 'sh says: broker takes acme',
  });
});

it('is refused before anything changes when a template has no place for a password', async () => {
  const disk = await factory('nothing here\n', '{{password}}');
  await expect(
    new FileTemplate(folderWorld(disk, rememberedForms()), SETTINGS).stage(diskStaging(disk, 1), seededSecrets('a')),
  ).rejects.toThrow(/no place for a password/);
});

it('ends the same wherever apply is cut', async () => {
  const disk = await factory('{{password}}', '{{password:sha512crypt}}');
  const at = (left: SimulatedDisk) => new FileTemplate(folderWorld(left, rememberedForms()), SETTINGS);
  await at(disk).stage(diskStaging(disk, 1), seededSecrets('a'));
  const act = (left: SimulatedDisk) => at(left).apply(diskStaging(left, 1));
  expect(await cutEverywhere({ disk, act, compared: (path) => path.startsWith('/image/etc/acme') })).toBeGreaterThan(
    40,
  );
});
