import { describe, expect, it } from 'vitest';
import { unhex, utf8 } from '../../../trust/bytes.ts';
import { CborTag, type CborValue, encodeCbor } from '../../../trust/cbor.ts';
import {
  decodeSign1,
  encodeProtected,
  encodeSign1,
  type Sign1Check,
  sigStructure,
  verifySign1,
} from '../../../trust/cose.ts';
import { codeOf, esp256TestKey, flipBit, type TestKey, testKey, unwrap } from './release-fixture.ts';

const ED = testKey('cose test');
const ES = esp256TestKey();
const PAYLOAD = utf8('what is signed');
const NOTHING = new Uint8Array(0);

function signed(key: TestKey): Uint8Array {
  const protectedBytes = encodeProtected(key.algorithm, unhex(key.authorId) ?? NOTHING);
  return encodeSign1({ protectedBytes, signature: key.sign(sigStructure(protectedBytes, NOTHING, PAYLOAD)) });
}

function check(key: TestKey, changes: Partial<Sign1Check> = {}): string {
  return codeOf(verifySign1({ sign1: unwrap(decodeSign1(signed(key))), detachedPayload: PAYLOAD, key, ...changes }));
}

/** A COSE_Sign1 of four parts of our choice. */
function sign1Of(parts: readonly CborValue[], tag = 18): Uint8Array {
  return encodeCbor(new CborTag(tag, parts));
}

const header = (members: readonly (readonly [number, CborValue])[]) => encodeCbor(new Map(members));

describe('verifySign1', () => {
  it.each([
    ['Ed25519', ED],
    ['ESP256', ES],
  ])('accepts %s over the detached payload, and nothing else', (_name, key) => {
    expect(check(key)).toBe('accepted');
    expect(check(key, { detachedPayload: flipBit(PAYLOAD, 0) })).toBe('envelope-signature-invalid');
    expect(check(key, { externalAad: utf8('x') })).toBe('envelope-signature-invalid');
    const other = {
      algorithm: key.algorithm,
      publicKey: key === ED ? testKey('other').publicKey : flipBit(ES.publicKey, 9),
    };
    expect(check(key, { key: other })).toBe('envelope-signature-invalid');
  });

  it('holds a key to its own algorithm, whatever the header says', () => {
    expect(check(ED, { key: { algorithm: 'esp256', publicKey: ED.publicKey } })).toBe('signature-algorithm-refused');
    expect(check(ES, { key: { algorithm: 'ed25519', publicKey: ES.publicKey } })).toBe('signature-algorithm-refused');
  });

  it('refuses a payload that is not detached', () => {
    const sign1 = { ...unwrap(decodeSign1(signed(ED))), payload: PAYLOAD };
    expect(check(ED, { sign1 })).toBe('envelope-malformed');
  });

  it('refuses -8 and -7 unless a test asks for them', () => {
    const protectedBytes = header([
      [1, -8],
      [4, utf8('k')],
    ]);
    const signature = ED.sign(sigStructure(protectedBytes, NOTHING, PAYLOAD));
    const sign1 = unwrap(decodeSign1(encodeSign1({ protectedBytes, signature })));
    expect(check(ED, { sign1 })).toBe('signature-algorithm-refused');
    expect(check(ED, { sign1, acceptPolymorphic: true })).toBe('accepted');
  });
});

describe('decodeSign1', () => {
  const good = header([
    [1, -19],
    [4, utf8('k')],
  ]);
  const none = new Map<number, CborValue>();
  const twin = [good, none, null, new Uint8Array(64)] as const;

  it('reads algorithm and key id', () => {
    expect(unwrap(decodeSign1(sign1Of(twin)))).toMatchObject({ algorithm: -19, kid: utf8('k'), payload: null });
  });

  it.each<[string, Uint8Array]>([
    ['five parts', encodeCbor(new CborTag(18, [...twin, 1]))],
    ['no tag', encodeCbor([...twin])],
    ['three parts', sign1Of(twin.slice(0, 3))],
    ['a protected header that is no bytes', sign1Of([none, none, null, NOTHING])],
    ['a protected header that holds no map', sign1Of([encodeCbor([1]), none, null, NOTHING])],
    ['an unprotected header that is no map', sign1Of([good, 1, null, NOTHING])],
    ['a payload that is text', sign1Of([good, none, 'x', NOTHING])],
    ['a signature that is no bytes', sign1Of([good, none, null, 1])],
    ['no algorithm', sign1Of([header([[4, utf8('k')]]), none, null, NOTHING])],
    ['an algorithm by name', sign1Of([header([[1, 'EdDSA']]), none, null, NOTHING])],
    ['the algorithm outside', sign1Of([header([[4, utf8('k')]]), new Map([[1, -19]]), null, NOTHING])],
    ['the algorithm outside as well', sign1Of([good, new Map([[1, -19]]), null, NOTHING])],
    ['the key id in both headers', sign1Of([good, new Map([[4, utf8('k')]]), null, NOTHING])],
    [
      'a key id that is text',
      sign1Of([
        header([
          [1, -19],
          [4, 'k'],
        ]),
        none,
        null,
        NOTHING,
      ]),
    ],
    [
      'a critical header',
      sign1Of([
        header([
          [1, -19],
          [2, [99]],
        ]),
        none,
        null,
        NOTHING,
      ]),
    ],
    ['an unknown header', sign1Of([good, new Map([[99, 1]]), null, NOTHING])],
  ])('refuses %s', (_what, bytes) => {
    expect(codeOf(decodeSign1(bytes))).toBe('envelope-malformed');
  });

  it('refuses what is no deterministic CBOR', () => {
    expect(codeOf(decodeSign1(sign1Of(twin, 19 - 1).with(0, 0xd3)))).toBe('cbor-malformed');
    const loose = Uint8Array.of(0xa1, 0x18, 0x01, 0x32);
    expect(codeOf(decodeSign1(sign1Of([loose, none, null, NOTHING])))).toBe('cbor-not-deterministic');
  });
});
