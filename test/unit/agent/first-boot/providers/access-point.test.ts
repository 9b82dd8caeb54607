/** The access point's passphrase in both forms of file; what is not understood is named before anything changes. */
import { expect, it } from 'vitest';
import { AccessPoint } from '../../../../../agent/first-boot/providers/access-point.ts';
import { SimulatedDisk } from '../../../../sim/simulated-disk.ts';
import { cutEverywhere } from '../cut-everywhere.ts';
import { bytesOf, diskStaging, folderWorld, rememberedForms, seededSecrets, textOf } from '../folder-device.ts';

const HOSTAPD = 'interface=wlan0\nssid=acme\nwpa=2\nwpa_passphrase=acme1234\nsae_password=acme1234|vlanid=3\n';
const KEYFILE =
  '[connection]\nid=ap\n\n[wifi]\nmode=ap\nssid=acme\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk-flags=0\npsk=acme1234\n';
const PATH = '/etc/ap.conf';

async function deviceWith(config: string): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  await disk.place(`/image${PATH}`, bytesOf(config));
  await disk.place('/data/begun', bytesOf(''));
  return disk;
}

const at = (disk: SimulatedDisk, form: 'hostapd' | 'network-manager') =>
  new AccessPoint(folderWorld(disk, rememberedForms()), { name: 'wlan0', form, path: PATH });
const configOf = async (disk: SimulatedDisk) => textOf(await disk.readFile(`/image${PATH}`, 9999));

for (const [form, config] of [
  ['hostapd', HOSTAPD],
  ['network-manager', KEYFILE],
] as const) {
  it(`replaces the passphrase of ${form} everywhere, escrows it, and does so again for the next image`, async () => {
    const disk = await deviceWith(config);
    const provider = at(disk, form);
    expect(await provider.inspect()).toMatchObject([
      { name: 'access-point-passphrase:wlan0', state: 'factory', epoch: 0 },
    ]);
    const [secret] = await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
    expect(secret?.text.length).toBeLessThanOrEqual(63);
    expect(await configOf(disk), 'staging changes nothing').toBe(config);
    await provider.apply(diskStaging(disk, 1));
    expect(await configOf(disk)).toBe(config.replace('psk-flags=0\n', '').replaceAll('acme1234', secret?.text ?? ''));
    expect(await provider.verifyNew()).toMatchObject({ ok: true });
    expect(await provider.verifyOldRefused()).toMatchObject({ ok: true });

    await disk.place(`/image${PATH}`, bytesOf(`${config}# newer\n`));
    expect(await provider.verifyNew()).toMatchObject({ ok: false, code: 'passphrase-not-in-effect' });
    expect(await provider.verifyOldRefused()).toMatchObject({ ok: false, code: 'factory-passphrase-left' });
    await provider.reconcile();
    expect(await configOf(disk)).toContain('# newer');
    expect(await configOf(disk)).not.toContain('acme1234');
    expect(await provider.inspect()).toMatchObject([{ state: 'own', epoch: 1 }]);
    await provider.wipe();
    for (const [path, bytes] of disk.contents())
      if (!path.startsWith('/data/staging')) expect(textOf(bytes), path).not.toContain(secret?.text);
    expect(await configOf(disk)).not.toContain('acme1234');
  });
}

it('drops a key in hexadecimal for the passphrase, and refuses what keeps its secret in another file', async () => {
  const disk = await deviceWith(`ssid=x\nwpa_psk=${'ab'.repeat(32)}\n`);
  const provider = at(disk, 'hostapd');
  const [secret] = await provider.stage(diskStaging(disk, 1), seededSecrets('a'));
  await provider.apply(diskStaging(disk, 1));
  expect(await configOf(disk)).toBe(`ssid=x\nwpa_passphrase=${secret?.text}\n`);
  for (const config of [
    `${HOSTAPD}wpa_psk_file=/etc/psk\n`,
    'ssid=open\n',
    KEYFILE.replace('mode=ap', 'mode=infrastructure'),
  ]) {
    const other = await deviceWith(config);
    const form = config.startsWith('[') ? 'network-manager' : 'hostapd';
    await expect(at(other, form).stage(diskStaging(other, 1), seededSecrets('a'))).rejects.toThrow(
      /no passphrase of its own/,
    );
  }
});

it('ends the same wherever apply is cut', async () => {
  const disk = await deviceWith(HOSTAPD);
  await at(disk, 'hostapd').stage(diskStaging(disk, 1), seededSecrets('a'));
  const act = (left: SimulatedDisk) => at(left, 'hostapd').apply(diskStaging(left, 1));
  expect(await cutEverywhere({ disk, act, compared: (path) => path === `/image${PATH}` })).toBeGreaterThan(30);
});
