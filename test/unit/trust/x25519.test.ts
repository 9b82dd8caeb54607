import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unhex } from '../../../trust/bytes.ts';
import { isX25519PublicKey } from '../../../trust/x25519.ts';

const key = (text: string): Uint8Array => unhex(text) ?? new Uint8Array();
const PRIME = `ed${'ff'.repeat(30)}7f`;

/** What node:crypto makes of a shared secret with these bytes; OpenSSL refuses an all-zero result (RFC 7748 §6.1). */
function sharesASecret(publicKey: Uint8Array): boolean {
  const privateKey = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), Buffer.alloc(32, 0x42)]),
    format: 'der',
    type: 'pkcs8',
  });
  try {
    const spki = Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), publicKey]);
    return (
      diffieHellman({ privateKey, publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }) }).length > 0
    );
  } catch {
    return false;
  }
}

describe('X25519 public keys', () => {
  it.each([
    ['zero', '00'.repeat(32)],
    ['one', `01${'00'.repeat(31)}`],
    ['minus one', `ec${'ff'.repeat(30)}7f`],
    ['of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
    ['of order 8, the other', '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'],
    ['the prime, which is zero again', PRIME],
    ['the prime and one', `ee${'ff'.repeat(30)}7f`],
  ])('are refused where everybody shares the secret: %s', (_what, text) => {
    expect(isX25519PublicKey(key(text))).toBe(false);
    expect(sharesASecret(key(text))).toBe(false);
  });

  it.each([
    ['31 bytes', '11'.repeat(31)],
    ['33 bytes', '11'.repeat(33)],
    ['no bytes', ''],
    ['the top bit set', `${'11'.repeat(31)}91`],
    ['two more than the prime, which is 2 again', `ef${'ff'.repeat(30)}7f`],
  ])('have one spelling: %s is refused', (_what, text) => {
    expect(isX25519PublicKey(key(text))).toBe(false);
  });

  it('are taken when they share a secret and are spelt in the one way', () => {
    expect(isX25519PublicKey(key(`eb${'ff'.repeat(30)}7f`))).toBe(true);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        bytes[31] = (bytes[31] ?? 0) & 0x3f;
        expect(isX25519PublicKey(bytes)).toBe(sharesASecret(bytes));
      }),
    );
  });
});
