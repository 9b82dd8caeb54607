import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openEscrow, resealEscrow } from '../../../keys/escrow-open.ts';
import { type HpkeKeyPair, hpkeSeal } from '../../../platform/hpke.ts';
import { decodeEscrow, encodeEscrowHead, escrowKeyBinding, ownerIdOf } from '../../../protocol/escrow.ts';
import { decodeEscrowFile } from '../../../protocol/escrow-resealed.ts';
import { concat, equalBytes, hex } from '../../../trust/bytes.ts';
import { BINDING, fileOf, makeDevice, makeOwner, SECRETS, sealBlob } from './escrow-world.ts';

const device = makeDevice();
const [ann, bob, eve] = [makeOwner(), makeOwner(), makeOwner()];
const blob = await sealBlob(device, [ann, bob]);
const expected = { ...BINDING, devicePublicKey: device.point };
const flipped = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, index) => (index === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

async function attempt(bytes: Uint8Array, owner: HpkeKeyPair, wanted: Parameters<typeof openEscrow>[2] = expected) {
  const decoded = decodeEscrowFile(bytes);
  return decoded.ok ? openEscrow(decoded.file, owner, wanted) : decoded;
}

describe('opening what a device sealed', () => {
  it('each of two owners reads it alone', async () => {
    for (const owner of [ann, bob]) expect(await attempt(blob, owner)).toEqual({ ok: true, secrets: SECRETS });
  });

  it('gives back whatever a device may seal, to every one of its owners', async () => {
    const name = fc.stringMatching(/^[a-z0-9-]{1,32}(:[A-Za-z0-9_.@-]{1,64})?$/);
    const text = fc.string({ minLength: 1, maxLength: 256, unit: 'grapheme-ascii' });
    const secrets = fc.uniqueArray(fc.record({ name, text }), { selector: (each) => each.name, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(
        fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/),
        fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        secrets,
        fc.integer({ min: 2, max: 16 }),
        async (deviceId, epoch, given, count) => {
          const owners = Array.from({ length: count }, makeOwner);
          const sealed = await sealBlob(device, owners, { deviceId, epoch }, given);
          const sorted = [...given].sort((a, b) => (a.name < b.name ? -1 : 1)).map((each) => ({ ...each }));
          for (const owner of owners)
            expect(await attempt(sealed, owner, { deviceId, epoch, devicePublicKey: device.point })).toEqual({
              ok: true,
              secrets: sorted,
            });
        },
      ),
      { numRuns: 15 },
    );
  });

  it.each([
    ['somebody who is no owner', blob, eve, expected, 'escrow-not-an-owner'],
    ['who waits for another device', blob, ann, { ...expected, deviceId: 'cam-0002' }, 'escrow-other-device'],
    ['who waits for another epoch', blob, ann, { ...expected, epoch: 4 }, 'escrow-other-epoch'],
    [
      'who knows another device key',
      blob,
      ann,
      { ...expected, devicePublicKey: makeDevice().point },
      'escrow-signature-invalid',
    ],
    ['whose halves do not belong together', blob, { ...ann, privateKey: eve.privateKey }, expected, 'escrow-altered'],
  ])('is refused to an owner %s', async (_who, bytes, owner, wanted, code) => {
    expect(await attempt(bytes, owner, wanted)).toMatchObject({ ok: false, code });
  });

  it("refuses every flipped bit when the device's key is known", async () => {
    const codes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.nat(blob.length * 8 - 1), async (bit) => {
        const opened = await attempt(flipped(blob, bit), ann);
        expect(opened.ok, `bit ${bit}`).toBe(false);
        if (!opened.ok) codes.add(opened.code);
      }),
      { numRuns: 600, seed: 9180 },
    );
    expect([...codes].sort()).toEqual(['escrow-malformed', 'escrow-signature-invalid']);
  });

  it('refuses every flipped bit but those of the signature when it is not', async () => {
    const signatureAt = (blob.length - 64) * 8;
    await fc.assert(
      fc.asyncProperty(fc.nat(signatureAt - 1), async (bit) => {
        expect((await attempt(flipped(blob, bit), ann, {})).ok, `bit ${bit}`).toBe(false);
      }),
      { numRuns: 400, seed: 9180 },
    );
    // Nothing but the device's key could tell.
    expect((await attempt(flipped(blob, signatureAt + 5), ann, {})).ok).toBe(true);
  });

  it('refuses another content key than the one the blob commits to, before it tries the content with it', async () => {
    const own = decodeEscrow(blob);
    if (!own.ok) throw new Error('not decoded');
    const sealed = await hpkeSeal(bob.publicKey, escrowKeyBinding(BINDING), new Uint8Array(32).fill(7));
    const keys = own.blob.keys.map((key) =>
      equalBytes(key.owner, ownerIdOf(bob.publicKey)) ? { owner: key.owner, ...sealed } : key,
    );
    const head = encodeEscrowHead({ ...own.blob, keys }, own.blob.content.length);
    expect(await attempt(concat(head, own.blob.content, own.blob.signature), bob, {})).toEqual({
      ok: false,
      code: 'escrow-altered',
      detail: 'the key in it that is for this owner does not open',
    });
  });

  it('refuses a blob that was put together from two of the same device', async () => {
    const other = decodeEscrow(await sealBlob(device, [ann, bob], { ...BINDING, epoch: 4 }));
    const own = decodeEscrow(blob);
    if (!own.ok || !other.ok) throw new Error('not decoded');
    const { keys } = other.blob;
    const head = encodeEscrowHead({ ...own.blob, keys }, own.blob.content.length);
    expect(await attempt(concat(head, own.blob.content, own.blob.signature), ann, {})).toMatchObject({
      ok: false,
      code: 'escrow-altered',
    });
  });

  it('never puts a secret into a refusal', async () => {
    for (const bit of [40, 900, 2000, 9000])
      expect(JSON.stringify(await attempt(flipped(blob, bit), ann))).not.toMatch(/verysecret|otter/);
  });
});

describe('an owner who left', () => {
  it('opens nothing that was sealed after the next root, and still what was sealed before', async () => {
    const after = await sealBlob(device, [bob, eve], { ...BINDING, epoch: 4 });
    const now = { ...expected, epoch: 4 };
    expect(await attempt(after, ann, now)).toMatchObject({ ok: false, code: 'escrow-not-an-owner' });
    for (const owner of [bob, eve]) expect(await attempt(after, owner, now)).toMatchObject({ ok: true });
    expect(await attempt(blob, ann)).toMatchObject({ ok: true });
  });
});

describe('sealing again, for owners who came later', () => {
  async function resealed(): Promise<Uint8Array> {
    const made = await resealEscrow(fileOf(blob), ann, [eve.publicKey], expected);
    if (!made.ok) throw new Error(made.detail);
    return made.bytes;
  }

  it("opens to them, under the device's own signature", async () => {
    const bytes = await resealed();
    for (const owner of [eve, ann, bob]) expect(await attempt(bytes, owner)).toEqual({ ok: true, secrets: SECRETS });
    expect(await attempt(bytes, eve, { ...expected, devicePublicKey: makeDevice().point })).toMatchObject({
      ok: false,
      code: 'escrow-signature-invalid',
    });
    expect(equalBytes(fileOf(bytes).blobBytes, blob)).toBe(true);
    expect(fileOf(bytes).added.map(({ owner }) => hex(owner))).toEqual([hex(ownerIdOf(eve.publicKey))]);
  });

  it('can be done again by one of them', async () => {
    const late = makeOwner();
    const again = await resealEscrow(fileOf(await resealed()), eve, [late.publicKey], expected);
    if (!again.ok) throw new Error(again.detail);
    expect(await attempt(again.bytes, late)).toEqual({ ok: true, secrets: SECRETS });
  });

  it('needs somebody who can open it', async () => {
    expect(await resealEscrow(fileOf(blob), eve, [eve.publicKey], expected)).toMatchObject({
      ok: false,
      code: 'escrow-not-an-owner',
    });
  });

  it('gives nobody other secrets: whatever is changed in it opens as the device signed it, or not at all', async () => {
    const bytes = await resealed();
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length * 8 - 1), async (bit) => {
        const opened = await attempt(flipped(bytes, bit), eve);
        if (opened.ok) expect(opened.secrets).toEqual(SECRETS);
      }),
      { numRuns: 300, seed: 9180 },
    );
  });

  it('is refused cut, and with anything behind it', async () => {
    const bytes = await resealed();
    for (const length of [0, 4, 5, 6, 100, 118, 200, bytes.length - 1])
      expect(decodeEscrowFile(bytes.subarray(0, length)).ok, String(length)).toBe(false);
    expect(decodeEscrowFile(concat(bytes, Uint8Array.of(0))).ok).toBe(false);
  });
});
