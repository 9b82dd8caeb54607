import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OwnerEscrow } from '../../../../agent/first-boot/escrow.ts';
import { decodeEscrow, type EscrowBlob, ownerIdOf, verifyEscrowSignature } from '../../../../protocol/escrow.ts';
import { hex } from '../../../../trust/bytes.ts';

const deviceKey: KeyObject = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const devicePoint = Uint8Array.from(createPublicKey(deviceKey).export({ format: 'der', type: 'spki' }).subarray(-65));
const owner = (): Uint8Array =>
  Uint8Array.from(generateKeyPairSync('x25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32));
const OWNERS = [owner(), owner()];
const SECRET = { name: 'password:root', text: 'kX9-verysecret-verysecret' };
const BINDING = { deviceId: 'cam-0001', epoch: 3 };

const escrowOf = (ownerKeys: readonly Uint8Array[], atLeast?: number): OwnerEscrow =>
  new OwnerEscrow({ ownerKeys, deviceKey: async () => deviceKey, ...(atLeast === undefined ? {} : { atLeast }) });

async function sealed(escrow = escrowOf(OWNERS), secrets = [SECRET]): Promise<EscrowBlob> {
  const made = await escrow.seal(secrets, BINDING);
  if (!made.ok) throw new Error(`${made.code}: ${made.detail}`);
  const decoded = decodeEscrow(made.blob);
  if (!decoded.ok) throw new Error(decoded.detail);
  return decoded.blob;
}

describe('the escrow of a device', () => {
  it('is for its owners, its device and its epoch, and signed by its key', async () => {
    const made = await escrowOf(OWNERS).seal([SECRET], BINDING);
    const blob = await sealed();
    const ids = OWNERS.map((key) => hex(ownerIdOf(key))).sort();
    expect(made).toMatchObject({ ok: true, owners: ids });
    expect(blob).toMatchObject(BINDING);
    expect(blob.keys.map(({ owner: id }) => hex(id))).toEqual(ids);
    expect(verifyEscrowSignature(blob, devicePoint)).toBe(true);
  });

  it('holds no secret and no name of one in clear', async () => {
    const made = await escrowOf(OWNERS).seal([SECRET], BINDING);
    if (!made.ok) throw new Error(made.detail);
    for (const clear of [SECRET.text, SECRET.name, 'verysecret']) {
      expect(Buffer.from(made.blob).includes(clear)).toBe(false);
      expect(Buffer.from(made.blob).includes(Buffer.from(clear).toString('hex'))).toBe(false);
    }
  });

  it('is as long for any secret of 1 to 256 characters', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1, maxLength: 256, unit: 'grapheme-ascii' }), async (text) => {
        expect((await sealed(escrowOf(OWNERS), [{ name: 'password:root', text }])).body.length).toBe(
          (await sealed()).body.length,
        );
      }),
      { numRuns: 20 },
    );
  });

  it('makes a new content key each time: the same secrets never give the same bytes', async () => {
    const [one, other] = [await sealed(), await sealed()];
    expect(hex(one.content)).not.toBe(hex(other.content));
    expect(hex(one.commitment)).not.toBe(hex(other.commitment));
  });

  it.each<[string, readonly Uint8Array[], number | undefined, string]>([
    ['no owner', [], undefined, 'escrow-too-few-owners'],
    ['one owner', OWNERS.slice(1), undefined, 'escrow-too-few-owners'],
    ['two owners where three are demanded', OWNERS, 3, 'escrow-too-few-owners'],
    ['one owner twice', [OWNERS[0] as Uint8Array, OWNERS[0] as Uint8Array], undefined, 'escrow-owner-key-wrong'],
    ['a key of low order', [...OWNERS, new Uint8Array(32)], undefined, 'escrow-owner-key-wrong'],
    ['a key of 31 bytes', [...OWNERS, owner().subarray(1)], undefined, 'escrow-owner-key-wrong'],
    ['seventeen owners', Array.from({ length: 17 }, owner), undefined, 'escrow-too-many-owners'],
  ])('is refused with %s', async (_what, owners, atLeast, code) => {
    expect(await escrowOf(owners, atLeast).seal([SECRET], BINDING)).toMatchObject({ ok: false, code });
  });

  it('is made for sixteen owners, and for one where a maker says that one is enough', async () => {
    expect((await sealed(escrowOf(Array.from({ length: 16 }, owner)))).keys).toHaveLength(16);
    expect((await sealed(escrowOf(OWNERS.slice(1), 1))).keys).toHaveLength(1);
  });

  it('is refused while the device has no key, and asks for it again the next time', async () => {
    let key: KeyObject | undefined;
    const escrow = new OwnerEscrow({ ownerKeys: OWNERS, deviceKey: async () => key });
    expect(await escrow.seal([SECRET], BINDING)).toMatchObject({ ok: false, code: 'device-key-missing' });
    key = deviceKey;
    expect(await escrow.seal([SECRET], BINDING)).toMatchObject({ ok: true });
  });

  it('refuses secrets that no owner could read back, and does not repeat them', async () => {
    const refused = await escrowOf(OWNERS).seal(
      [{ name: 'password:root', text: `${SECRET.text}${'x'.repeat(256)}` }],
      BINDING,
    );
    expect(refused).toMatchObject({ ok: false, code: 'escrow-secrets-malformed' });
    expect(JSON.stringify(refused)).not.toContain('verysecret');
  });

  it('ends in an exception, never in a blob, where the key cannot sign as a device does', async () => {
    const foreign = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    await expect(
      new OwnerEscrow({ ownerKeys: OWNERS, deviceKey: async () => foreign }).seal([SECRET], BINDING),
    ).rejects.toThrow();
  });
});
