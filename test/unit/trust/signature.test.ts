import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../trust/bytes.ts';
import { verifyEd25519 } from '../../../trust/signature.ts';
import { flipBit, testKey } from './release-fixture.ts';

const key = testKey('signature test');
const message = utf8('message');
const signature = key.sign(message);

describe('verifyEd25519', () => {
  it('accepts the signature, and no other bit of key, message or signature', () => {
    expect(verifyEd25519(key.publicKey, message, signature)).toBe(true);
    for (let at = 0; at < 64; at += 3)
      expect(verifyEd25519(key.publicKey, message, flipBit(signature, at, at % 8))).toBe(false);
    for (let at = 0; at < 32; at += 3)
      expect(verifyEd25519(flipBit(key.publicKey, at, at % 8), message, signature)).toBe(false);
    expect(verifyEd25519(key.publicKey, flipBit(message, 0), signature)).toBe(false);
  });

  it('refuses a small-order key, under which one signature would cover every message', () => {
    // The neutral element as key, and as R, with S = 0: valid under ZIP-215 rules for any message.
    const neutral = new Uint8Array(32).with(0, 1);
    const universal = new Uint8Array(64).with(0, 1);
    expect(verifyEd25519(neutral, message, universal)).toBe(false);
  });

  it('refuses S beyond the group order: the same signature in another spelling', () => {
    const order = BigInt('0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed');
    let s = 0n;
    for (let i = 63; i >= 32; i -= 1) s = (s << 8n) | BigInt(signature[i] ?? 0);
    const other = Uint8Array.from(signature);
    let rest = s + order;
    for (let i = 32; i < 64; i += 1) {
      other[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    expect(verifyEd25519(key.publicKey, message, other)).toBe(false);
  });

  it('says false, and does not throw, for wrong lengths', () => {
    expect(verifyEd25519(key.publicKey.slice(1), message, signature)).toBe(false);
    expect(verifyEd25519(key.publicKey, message, signature.slice(1))).toBe(false);
    expect(verifyEd25519(new Uint8Array(0), message, new Uint8Array(0))).toBe(false);
  });
});
