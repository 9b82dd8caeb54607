import fc from 'fast-check';
import { AEAD_AES_128_GCM, AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from 'hpke';
import { describe, expect, it } from 'vitest';
import { hpkeOpen, hpkeSeal } from '../../../platform/hpke.ts';
import { openByTheBook } from './hpke-oracle.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('latin1');

const INFO = hex('4f6465206f6e2061204772656369616e2055726e');
const AAD = hex('436f756e742d30');
const PLAINTEXT = 'Beauty is truth, truth beauty';

/** RFC 9180, appendix A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode, sequence number 0. */
const A11 = {
  ikmR: hex('6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037'),
  pkRm: hex('3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d'),
  skRm: hex('4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8'),
  enc: hex('37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431'),
  ct: hex('f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a'),
};
/** RFC 9180, appendix A.2.1: the same with ChaCha20-Poly1305. */
const A21 = {
  pkRm: hex('4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a'),
  skRm: hex('8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb'),
  enc: hex('1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a'),
  ct: hex('1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28'),
};

describe('RFC 9180', () => {
  const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_128_GCM);

  it('A.1.1: the library derives the recipient of the appendix from its seed', async () => {
    const pair = await suite.DeriveKeyPair(A11.ikmR, true);
    expect(await suite.SerializePublicKey(pair.publicKey)).toEqual(A11.pkRm);
    // §7.1.2: what is serialised is clamped; the appendix prints it as it came out of the expansion.
    const clamped = Uint8Array.from(A11.skRm);
    clamped[0] = (clamped[0] ?? 0) & 248;
    clamped[31] = ((clamped[31] ?? 0) & 127) | 64;
    const derived = await suite.SerializePrivateKey(pair.privateKey);
    expect([Buffer.from(clamped), Buffer.from(A11.skRm)]).toContainEqual(Buffer.from(derived));
  });

  it('A.1.1: the library opens the ciphertext of the appendix', async () => {
    const key = {
      privateKey: await suite.DeserializePrivateKey(A11.skRm),
      publicKey: await suite.DeserializePublicKey(A11.pkRm),
    };
    expect(text(await suite.Open(key, A11.enc, A11.ct, { info: INFO, aad: AAD }))).toBe(PLAINTEXT);
  });

  it('A.1.1 and A.2.1: the implementation that stands beside it in these tests opens both', () => {
    const common = { info: INFO, aad: AAD };
    expect(text(openByTheBook(A11.skRm, { aead: 1, enc: A11.enc, ciphertext: A11.ct, ...common }))).toBe(PLAINTEXT);
    expect(text(openByTheBook(A21.skRm, { aead: 3, enc: A21.enc, ciphertext: A21.ct, ...common }))).toBe(PLAINTEXT);
  });

  it('the suite in use is X25519, HKDF-SHA256 and AES-256-GCM by its registered numbers', () => {
    const { KEM, KDF, AEAD } = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
    expect([KEM.id, KDF.id, AEAD.id, KEM.Nenc, AEAD.Nt]).toEqual([0x20, 1, 2, 32, 16]);
  });
});

describe('sealing to a key', () => {
  const own = { publicKey: A21.pkRm, privateKey: A21.skRm };
  const other = { publicKey: A11.pkRm, privateKey: A11.skRm };
  const bytes = fc.uint8Array({ maxLength: 200 });

  it('is opened by an implementation that shares nothing with it', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, bytes, bytes, async (info, aad, plaintext) => {
        const { encapsulated, ciphertext } = await hpkeSeal(A21.pkRm, { info, aad }, plaintext);
        const opened = openByTheBook(A21.skRm, { aead: 2, enc: encapsulated, ciphertext, info, aad });
        expect(Buffer.from(opened)).toEqual(Buffer.from(plaintext));
        expect(await hpkeOpen(own, { info, aad }, { encapsulated, ciphertext })).toEqual(plaintext);
      }),
      { numRuns: 40 },
    );
  });

  it('opens with no other key, binding or ciphertext', async () => {
    const binding = { info: INFO, aad: AAD };
    const message = await hpkeSeal(A21.pkRm, binding, Buffer.from(PLAINTEXT));
    const flip = (from: Uint8Array): Uint8Array => from.map((byte, index) => (index === 3 ? byte ^ 1 : byte));
    expect(text(await hpkeOpen(own, binding, message))).toBe(PLAINTEXT);
    expect(await hpkeOpen(other, binding, message)).toBeUndefined();
    expect(await hpkeOpen(own, { ...binding, info: flip(INFO) }, message)).toBeUndefined();
    expect(await hpkeOpen(own, { ...binding, aad: flip(AAD) }, message)).toBeUndefined();
    expect(await hpkeOpen(own, binding, { ...message, ciphertext: flip(message.ciphertext) })).toBeUndefined();
    expect(await hpkeOpen(own, binding, { ...message, encapsulated: flip(message.encapsulated) })).toBeUndefined();
    expect(await hpkeOpen(own, binding, { ...message, encapsulated: new Uint8Array(32) })).toBeUndefined();
  });

  it('never makes the same bytes twice', async () => {
    const binding = { info: INFO, aad: AAD };
    const [one, again] = [await hpkeSeal(A21.pkRm, binding, AAD), await hpkeSeal(A21.pkRm, binding, AAD)];
    expect(Buffer.from(one.ciphertext).equals(again.ciphertext)).toBe(false);
  });
});
