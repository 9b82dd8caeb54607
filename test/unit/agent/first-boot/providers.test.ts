/** The configuration's defaults and limits, and the fixed order of providers. */
import * as v from 'valibot';
import { expect, it } from 'vitest';
import { openProviders } from '../../../../agent/first-boot/providers.ts';
import { ProvidersConfig } from '../../../../agent/first-boot/providers-config.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';
import { folderWorld, rememberedForms } from './folder-device.ts';

const namesOf = (config: unknown) =>
  openProviders(v.parse(ProvidersConfig, config), folderWorld(new SimulatedDisk(), rememberedForms())).map(
    ({ name }) => name,
  );

const FULL = {
  unixPasswords: { breakGlass: 'root' },
  accessPoints: [{ name: 'wlan0', form: 'hostapd', path: '/etc/hostapd/hostapd.conf' }],
  templates: [
    { name: 'broker', kind: 'mqtt-password', files: [{ template: '/usr/share/acme/a', path: '/etc/acme/a' }] },
  ],
  makers: [{ name: 'panel', executable: '/usr/lib/acme/panel' }],
};

it('has the safe ones where nothing is said, and all in one order, whatever order they are written in', () => {
  const standard = ['ssh-host-keys', 'unix-passwords', 'authorized-keys', 'machine-id', 'device-key'];
  expect(namesOf({})).toEqual(standard);
  const full = [...standard, 'access-point:wlan0', 'mqtt-password:broker', 'maker:panel'];
  expect(namesOf(FULL)).toEqual(full);
  expect(namesOf(Object.fromEntries(Object.entries(FULL).reverse()))).toEqual(full);
  expect(namesOf({ sshHostKeys: null, authorizedKeys: null, machineId: false })).toEqual([
    'unix-passwords',
    'device-key',
  ]);
});

it.each([
  ['an unknown field', { unixPassword: {} }],
  ['passwords left as they are', { unixPasswords: null }],
  ['no host key at all', { sshHostKeys: { types: [] } }],
  ['a type twice', { sshHostKeys: { types: ['rsa', 'rsa'] } }],
  ['a path that climbs', { accessPoints: [{ ...FULL.accessPoints[0], path: '/etc/../data/x' }] }],
  ['a relative path', { makers: [{ name: 'panel', executable: 'panel' }] }],
  ['two of one name', { makers: [...FULL.makers, ...FULL.makers] }],
  [
    'a file that everybody reads',
    { templates: [{ ...FULL.templates[0], files: [{ template: '/a', path: '/b', mode: '0644' }] }] },
  ],
  ['a template over itself', { templates: [{ ...FULL.templates[0], files: [{ template: '/a', path: '/a' }] }] }],
])('refuses %s', (_, config) => {
  expect(v.safeParse(ProvidersConfig, config).success).toBe(false);
});
