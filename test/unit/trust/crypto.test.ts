import { createHash } from 'node:crypto';
import { sha512 as nobleSha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { hex, utf8 } from '../../../trust/bytes.ts';
import { Sha256, sha1ForNames, sha256, sha256Hex, sha512, sha512Hex, verifyP256 } from '../../../trust/crypto.ts';
import { esp256TestKey, flipBit } from './release-fixture.ts';

describe('hashes', () => {
  it('are the known ones', () => {
    expect(sha256Hex(utf8('abc'))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    expect(hex(sha1ForNames(utf8('abc')))).toBe('a9993e364706816aba3e25717850c26c9cd0d89d');
    expect(sha512Hex(utf8('abc'))).toBe(createHash('sha512').update('abc').digest('hex'));
  });

  it('come out the same in pieces', () => {
    expect(new Sha256().update(utf8('a')).update(utf8('bc')).digest()).toEqual(sha256(utf8('abc')));
  });
});

describe('verifyP256', () => {
  const key = esp256TestKey();
  const message = utf8('message');
  const signature = key.sign(message);

  it('accepts the signature, and nothing that differs in a bit', () => {
    expect(verifyP256(key.publicKey, message, signature)).toBe(true);
    expect(verifyP256(key.publicKey, message, flipBit(signature, 40))).toBe(false);
    expect(verifyP256(key.publicKey, flipBit(message, 0), signature)).toBe(false);
  });

  it('says false for a point off the curve, another form, or a DER signature', () => {
    expect(verifyP256(flipBit(key.publicKey, 10), message, signature)).toBe(false);
    expect(verifyP256(key.publicKey.with(0, 2), message, signature)).toBe(false);
    expect(verifyP256(key.publicKey.slice(0, 33), message, signature)).toBe(false);
    expect(verifyP256(key.publicKey, message, new Uint8Array(71))).toBe(false);
    expect(verifyP256(key.publicKey, message, new Uint8Array(64))).toBe(false);
  });
});

describe('sha512, which Ed25519 verdicts stand on', () => {
  it('is the function that noble has, whatever the length', () => {
    for (let length = 0; length < 300; length += 7) {
      const bytes = Uint8Array.from({ length }, (_, at) => (at * 31 + length) & 0xff);
      expect(hex(sha512(bytes))).toBe(hex(nobleSha512(bytes)));
    }
  });
});
