import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CBOR_CAP_BYTES,
  CBOR_MAX_DEPTH,
  CborTag,
  type CborValue,
  decodeCbor,
  encodeCbor,
} from '../../../trust/cbor.ts';
import { codeOf, flipBit, unwrap } from './release-fixture.ts';

const LIMITS = { capBytes: CBOR_CAP_BYTES, tags: [18, 107] };
const decode = (text: string) => decodeCbor(new Uint8Array(Buffer.from(text, 'hex')), { capBytes: CBOR_CAP_BYTES });

const cborValue = () =>
  fc.letrec<{ value: CborValue }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', maxDepth: CBOR_MAX_DEPTH - 2 },
      fc.constantFrom(null, true, false),
      fc.maxSafeInteger().map((number) => (number === 0 ? 0 : number)),
      fc.string({ unit: 'grapheme' }).filter((text) => text.isWellFormed() && !text.startsWith('\ufeff')),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(tie('value'), { maxLength: 30 }),
      fc
        .array(fc.tuple(fc.oneof(fc.integer(), fc.string({ maxLength: 4 })), tie('value')), { maxLength: 30 })
        .map((members) => new Map(members.map(([key, value]) => [key === 0 ? 0 : key, value]))),
      fc.tuple(fc.constantFrom(18, 107), tie('value')).map(([tag, value]) => new CborTag(tag, value)),
    ),
  })).value;

describe('deterministic CBOR', () => {
  it('decodes what it encodes, to the same value', () => {
    fc.assert(
      fc.property(cborValue(), (value) => {
        const bytes = encodeCbor(value);
        fc.pre(bytes.length <= CBOR_CAP_BYTES);
        expect(unwrap(decodeCbor(bytes, LIMITS))).toEqual(value);
      }),
    );
  });

  it('accepts no bytes but those that it would write itself', () => {
    const mutated = fc.tuple(cborValue(), fc.nat(), fc.nat(7)).map(([value, at, bit]) => {
      const bytes = encodeCbor(value);
      return flipBit(bytes, at % bytes.length, bit);
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 40 })), (bytes) => {
        const verdict = decodeCbor(bytes, LIMITS);
        if (verdict.ok) expect(encodeCbor(verdict.value)).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  it('sorts map keys by their encoded bytes: 24 before -1, and both before a text', () => {
    const map = new Map<number | string, CborValue>([
      ['a', 1],
      [-1, 2],
      [24, 3],
      [1, 4],
      ['', 5],
    ]);
    expect(Buffer.from(encodeCbor(map)).toString('hex')).toBe('a50104181803200260056161' + '01');
  });
});

describe('what is refused', () => {
  it.each([
    ['an integer in two bytes that fits in one', '1817', '17'],
    ['a length in two bytes that fits in one', '580100', '4100'],
    ['map keys out of order', 'a202000100', 'a201000200'],
    ['length-first key order where bytes say otherwise', 'a22000181800', 'a21818002000'],
  ])('%s: cbor-not-deterministic', (_what, hostile, twin) => {
    expect(codeOf(decode(hostile))).toBe('cbor-not-deterministic');
    expect(codeOf(decode(twin))).toBe('accepted');
  });

  it.each([
    ['a key twice', 'a201000100', 'a201000200'],
    ['an indefinite array', '9f01ff', '8101'],
    ['an indefinite byte string', '5f4100ff', '4100'],
    ['an indefinite map', 'bf0100ff', 'a10100'],
    ['a float', 'f93c00', '01'],
    ['a double', 'fb3ff0000000000000', '01'],
    ['undefined', 'f7', 'f6'],
    ['an unassigned simple value', 'e0', 'f4'],
    ['a tag nobody asked for', 'c100', '00'],
    ['an integer of 2^53', '1b0020000000000000', '1b001fffffffffffff'],
    ['a negative integer of -2^53-1', '3b0020000000000000', '3b001ffffffffffffe'],
    ['bad UTF-8', '61ff', '6161'],
    ['a map key that is a byte string', 'a14100' + '00', 'a1616100'],
    ['a map key that is null', 'a1f600', 'a10000'],
    ['nothing', '', '00'],
    ['something after the item', '0000', '00'],
    ['a short byte string', '4400', '4100'],
    ['a short array', '8200', '820000'],
    ['an array of 2^53 items', '9b001fffffffffffff', '80'],
    ['a byte string of 2^40 bytes', '5b0000010000000000', '40'],
    ['a break on its own', 'ff', '00'],
    ['a reserved head', '1c', '00'],
  ])('%s: cbor-malformed', (_what, hostile, twin) => {
    expect(codeOf(decode(hostile))).toBe('cbor-malformed');
    expect(codeOf(decode(twin))).toBe('accepted');
  });

  it('one level beyond the depth, and a million levels', () => {
    expect(codeOf(decode(`${'81'.repeat(CBOR_MAX_DEPTH)}00`))).toBe('accepted');
    expect(codeOf(decode(`${'81'.repeat(CBOR_MAX_DEPTH + 1)}00`))).toBe('cbor-malformed');
    expect(codeOf(decodeCbor(new Uint8Array(1e6).fill(0x81), { capBytes: 1e6 }))).toBe('cbor-malformed');
  });

  it('one byte beyond the cap', () => {
    expect(codeOf(decodeCbor(Uint8Array.of(0x42, 1, 1), { capBytes: 3 }))).toBe('accepted');
    expect(codeOf(decodeCbor(Uint8Array.of(0x43, 1, 1, 1), { capBytes: 3 }))).toBe('input-too-large');
  });

  it('a tag that the caller did not name, and takes the one it did', () => {
    const bytes = encodeCbor(new CborTag(18, 1));
    expect(codeOf(decodeCbor(bytes, { capBytes: 9, tags: [18] }))).toBe('accepted');
    expect(codeOf(decodeCbor(bytes, { capBytes: 9, tags: [107] }))).toBe('cbor-malformed');
  });
});

it('encoding throws for what has no place in the profile', () => {
  expect(() => encodeCbor(1.5)).toThrow(TypeError);
  expect(() => encodeCbor([2 ** 53])).toThrow(TypeError);
});
