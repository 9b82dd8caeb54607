/** Owners change in a fleet that runs: a root that people signed reaches a real server, and real devices with the next release. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { firstBootRecord } from '../../agent/first-boot/first-boot-record.ts';
import { readOwnerKeys } from '../../agent/first-boot/owner-keys.ts';
import { EmulatedDevice } from '../../emulator/boot-loop.ts';
import { DEMO_TIMING, makeDevice } from '../../emulator/factory.ts';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { goodRelease } from '../../scripts/demo/steps/releases.ts';
import { sha256Hex } from '../../trust/crypto.ts';
import { decodeMetadata } from '../../trust/tuf/metadata.ts';
import { AGENT_PROGRAMS } from './careless-factory.ts';
import { enrolDevices, type Fleet, fleetWithServer } from './fleet.ts';
import { newOwnerKey } from './owner-key.ts';

const HANG_MS = 10 * 60_000;
const Signed = v.object({ complete: v.boolean() });
const OWNERS = [newOwnerKey(), newOwnerKey()];
const NEXT_OWNERS = [OWNERS[0] ?? '', newOwnerKey()];
const noted = (keys: readonly string[]): string[] => keys.map((key) => sha256Hex(Buffer.from(key, 'hex'))).sort();

let fleet: Fleet;
const at = (path: string): string => fleet.run.path(path);
const holdfast = (...words: string[]): Promise<unknown> => fleet.run.words.holdfast(words);

beforeAll(async () => {
  fleet = await fleetWithServer(2);
}, HANG_MS);
afterAll(() => fleet?.close());

/** The newest root that a device verified and stored, whatever its file is called. */
async function ownersOn(deviceId: string): Promise<string[]> {
  const files = await readdir(fleet.run.devicePath(deviceId), { recursive: true });
  for (const name of files.filter((each) => /metadata\/root(\.json)?(\.[a-z0-9]+)?$/.test(each))) {
    const bytes = await readFile(join(fleet.run.devicePath(deviceId), name));
    const start = bytes.indexOf('{"signatures"');
    const root = decodeMetadata('root', Uint8Array.from(bytes.subarray(start)), { canonicalForm: 'required' });
    if (!root.ok) continue;
    const keys = await readOwnerKeys(nodeDisk, root.value.signed, '/nonexistent');
    return keys.map((key) => Buffer.from(key).toString('hex'));
  }
  throw new Error(`no root among ${files.filter((each) => each.includes('metadata')).join(', ')}`);
}

/** Drafted, signed by a threshold, published, and kept beside its predecessors. */
async function publishRoot(version: number, owners: readonly string[]): Promise<unknown> {
  const file = at(`${version}.root.json`);
  await writeFile(at(`owners-${version}`), `${owners.join('\n')}\n`);
  const next = ['--metadata', at('ceremony/public')];
  await holdfast('keys', 'root', 'draft', ...next, '--escrow-key', at(`owners-${version}`), '--out', file);
  await expect(holdfast('keys', 'root', 'publish', file, ...next)).rejects.toThrow();
  for (const [person, complete] of [
    ['person-1', false],
    ['person-3', true],
  ] as const) {
    const key = ['--key', at(`ceremony/${person}/root.key`), '--passphrase-file', at('passphrase.txt')];
    const signed = v.parse(Signed, await holdfast('keys', 'root', 'sign', file, ...next, ...key));
    expect(signed.complete).toBe(complete);
  }
  const answer = await holdfast('keys', 'root', 'publish', file, ...next);
  await writeFile(at(`ceremony/public/${version}.root.json`), await readFile(file));
  return answer;
}

/** A device with a first boot, which trusts root 2 and hears of no release. */
async function deviceWithSecrets(deviceId: string): Promise<EmulatedDevice> {
  await fleet.run.words.claims('acme-other', [deviceId], at('claims'));
  const endpoints = JSON.parse(await readFile(at('server/endpoints.json'), 'utf8'));
  await makeDevice({
    directory: at(deviceId),
    images: { rootfs: at('images/1.0.0/rootfs.img') },
    installed: { sequence: 1, version: '1.0.0' },
    ...{ vendor: 'acme.example', hardwareClass: 'acme-other', channel: 'stable', environment: 'rehearsal' },
    rootFile: at('2.root.json'),
    claim: await readFile(at(`claims/${deviceId}.claim.json`), 'utf8'),
    server: { url: endpoints.deviceUrl, mqttUrl: null, anchorsFile: at('server/pki/server-ca.pem') },
    timing: { ...DEMO_TIMING, pollIntervalMs: 500 },
    health: 'none',
  });
  const path = at(`${deviceId}/factory/agent.json`);
  const firstBoot = { providers: { unixPasswords: { breakGlass: 'root' }, sshHostKeys: null, authorizedKeys: null } };
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), firstBoot }));
  return new EmulatedDevice(at(deviceId), {
    async mount(_slot, root) {
      await mkdir(join(root, 'etc'), { recursive: true });
      await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
      await writeFile(join(root, 'etc/shadow'), 'root::19000:0:99999:7:::\n');
      return { ok: true, version: '1.0.0' };
    },
    ...AGENT_PROGRAMS,
  });
}

async function sealedTo(deviceId: string) {
  const reading = await firstBootRecord(nodeDisk, at(`${deviceId}/data/first-boot`)).read();
  if (reading.found !== 'whole') throw new Error('no first boot yet');
  const { state, epoch, escrow, trouble } = reading.value;
  return { state, epoch, owners: escrow?.owners, trouble };
}

describe('owners of a fleet that runs', { timeout: HANG_MS }, () => {
  it('are named by the next root, which the server takes once enough people have signed it', async () => {
    expect(await fleet.step('devices', enrolDevices)).toEqual([]);
    expect(await publishRoot(2, OWNERS)).toMatchObject({ ok: true, version: 2 });
    expect(await readFile(at('server/metadata/2.root.json'))).toEqual(await readFile(at('2.root.json')));
  });

  it('are those to whom each device seals, once it has the metadata of the next release', async () => {
    const first = await readOwnerPublicKeys([at('owners/ann.escrow-key.pub'), at('owners/bob.escrow-key.pub')]);
    const former = first.map((key) => Buffer.from(key).toString('hex'));
    for (const deviceId of fleet.run.deviceIds) expect(await ownersOn(deviceId).catch(() => former)).toEqual(former);
    expect(await fleet.step('good release', goodRelease)).toEqual([]);
    for (const deviceId of fleet.run.deviceIds) expect(await ownersOn(deviceId)).toEqual(OWNERS);
  });

  it('who left are not sealed to by a rotation that is ordered at once, without any release in between', async () => {
    const device = await deviceWithSecrets('other-0001');
    const powered = device.powerOn();
    const patience = { timeout: 120_000, interval: 250 };
    try {
      const standsAt = (epoch: number, owners: readonly string[]) => async () =>
        expect(await sealedTo('other-0001')).toEqual({
          state: 'reported',
          epoch,
          owners: noted(owners),
          trouble: null,
        });
      await vi.waitFor(standsAt(1, OWNERS), patience);
      await publishRoot(3, NEXT_OWNERS);
      await holdfast('credentials', 'rotate', 'other-0001', '--why', 'an owner left');
      await vi.waitFor(standsAt(2, NEXT_OWNERS), patience);
      expect(await readdir(at('other-0001/data/metadata'))).toEqual(['root.json']);
    } finally {
      await device.powerOff();
      await powered;
    }
  });
});
