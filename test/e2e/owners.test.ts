/** Owners change in a fleet that runs: a root that people signed reaches a real server, and real devices with the next release. */
import { generateKeyPairSync } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readOwnerKeys } from '../../agent/first-boot/owner-keys.ts';
import { readOwnerPublicKeys } from '../../keys/escrow-key.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { goodRelease } from '../../scripts/demo/steps/releases.ts';
import { decodeMetadata } from '../../trust/tuf/metadata.ts';
import { enrolDevices, type Fleet, fleetWithServer } from './fleet.ts';

const HANG_MS = 10 * 60_000;
const Signed = v.object({ complete: v.boolean() });
const owner = (): string =>
  generateKeyPairSync('x25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex');
const OWNERS = [owner(), owner()];

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

describe('owners of a fleet that runs', { timeout: HANG_MS }, () => {
  it('are named by the next root, which the server takes once enough people have signed it', async () => {
    expect(await fleet.step('devices', enrolDevices)).toEqual([]);
    await writeFile(at('next-owners'), `${OWNERS.join('\n')}\n`);
    const next = ['--metadata', at('ceremony/public')];
    await holdfast('keys', 'root', 'draft', ...next, '--escrow-key', at('next-owners'), '--out', at('2.root.json'));
    await expect(holdfast('keys', 'root', 'publish', at('2.root.json'), ...next)).rejects.toThrow();
    for (const [person, complete] of [
      ['person-1', false],
      ['person-3', true],
    ] as const) {
      const key = ['--key', at(`ceremony/${person}/root.key`), '--passphrase-file', at('passphrase.txt')];
      const signed = v.parse(Signed, await holdfast('keys', 'root', 'sign', at('2.root.json'), ...next, ...key));
      expect(signed.complete).toBe(complete);
    }
    expect(await holdfast('keys', 'root', 'publish', at('2.root.json'), ...next)).toMatchObject({
      ok: true,
      version: 2,
    });
    expect(await readFile(at('server/metadata/2.root.json'))).toEqual(await readFile(at('2.root.json')));
  });

  it('are those to whom each device seals, once it has the metadata of the next release', async () => {
    const first = await readOwnerPublicKeys([at('owners/ann.escrow-key.pub'), at('owners/bob.escrow-key.pub')]);
    const former = first.map((key) => Buffer.from(key).toString('hex'));
    for (const deviceId of fleet.run.deviceIds) expect(await ownersOn(deviceId).catch(() => former)).toEqual(former);
    expect(await fleet.step('good release', goodRelease)).toEqual([]);
    for (const deviceId of fleet.run.deviceIds) expect(await ownersOn(deviceId)).toEqual(OWNERS);
  });
});
