import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OwnerEscrow } from '../../../../../agent/first-boot/escrow.ts';
import { FleetWords } from '../../../../../scripts/demo/fleet-words.ts';
import { needProgram } from '../../../../../scripts/programs.ts';
import type { KeptByDevice } from '../../../../../scripts/qemu/first-boot/data-partition.ts';
import { ownersSecrets, recoverable } from '../../../../../scripts/qemu/first-boot/in-effect.ts';
import { makeOwners, type OwnersWorld } from '../../../../../scripts/qemu/first-boot/owners.ts';
import { unhex } from '../../../../../trust/bytes.ts';

const PASSWORD = 'k7wq-2m4x-break-glass';
let folder: string;
let world: OwnersWorld;
let kept: KeptByDevice;

/** As a device seals, with the owners of its image. */
async function sealed(keys: readonly string[], epoch: number, text: string): Promise<Uint8Array> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ownerKeys = keys.map((key) => unhex(key) ?? new Uint8Array());
  const escrow = new OwnerEscrow({ ownerKeys, deviceKey: async () => privateKey });
  const made = await escrow.seal([{ name: 'password:root', text }], { deviceId: 'board-1', epoch });
  if (!made.ok) throw new Error(made.code);
  return made.blob;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'owners-'));
  await writeFile(join(folder, 'passphrase'), `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
  world = { words: new FleetWords(join(folder, 'operator')), path: (...names) => join(folder, ...names) };
  const keys = await makeOwners(world);
  const { stdout } = await needProgram('openssl', ['passwd', '-6', '-stdin'], { input: `${PASSWORD}\n` });
  const escrows = new Map([[2, await sealed(keys, 2, PASSWORD)]]);
  kept = { record: { state: 'open', resume: null, epoch: 2 }, escrows, staged: [], rootHash: stdout.trim() };
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("what a device's owners can open", () => {
  it('is what is in effect, when the escrow is of it; nobody else reads the keys, and nothing that was opened stays', async () => {
    const passwords = await ownersSecrets(world, kept);
    expect(passwords).toEqual(new Map([[2, PASSWORD]]));
    expect(await recoverable(kept, passwords)).toBe(true);
    const names = await readdir(join(folder, 'owners'));
    expect(names).not.toContain('opened');
    for (const name of names.filter((one) => one.endsWith('.escrow-key')))
      expect((await stat(join(folder, 'owners', name))).mode & 0o777).toBe(0o600);
  }, 60_000);

  it('is nothing where the blob is altered', async () => {
    const [[, blob = new Uint8Array()] = []] = kept.escrows;
    const altered = Uint8Array.from(blob);
    altered[blob.length - 100] = (altered[blob.length - 100] ?? 0) ^ 1;
    expect(await ownersSecrets(world, { ...kept, escrows: new Map([[2, altered]]) })).toEqual(new Map());
  }, 60_000);

  it('is not what is in effect, where no escrow was kept or it holds another secret', async () => {
    expect(await recoverable(kept, new Map())).toBe(false);
    expect(await recoverable(kept, new Map([[2, 'another']]))).toBe(false);
    expect(await recoverable({ ...kept, rootHash: '*' }, new Map([[2, PASSWORD]]))).toBe(false);
  });

  it('need be nothing before anything of its own is in effect', async () => {
    expect(await recoverable({ ...kept, rootHash: undefined }, new Map())).toBe(true);
  });
});
