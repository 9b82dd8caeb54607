import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { base64url, concat, equalBytes, hex, unbase64url, unhex } from '../../../trust/bytes.ts';

const bytes = () => fc.uint8Array({ maxLength: 100 });

describe('hexadecimal', () => {
  it('gives back what it was given', () => {
    fc.assert(
      fc.property(bytes(), (value) => {
        expect(unhex(hex(value))).toEqual(value);
      }),
    );
  });

  it('agrees with Buffer', () => {
    fc.assert(
      fc.property(bytes(), (value) => {
        expect(hex(value)).toBe(Buffer.from(value).toString('hex'));
      }),
    );
  });

  it.each(['0', 'AB', '0g', ' 00', '00\n', '0x00'])('refuses %j', (text) => {
    expect(unhex(text)).toBeUndefined();
  });
});

describe('base64url', () => {
  it('gives back what it was given, as Buffer would', () => {
    fc.assert(
      fc.property(bytes(), (value) => {
        expect(base64url(value)).toBe(Buffer.from(value).toString('base64url'));
        expect(unbase64url(base64url(value))).toEqual(value);
      }),
    );
  });

  it('has one text per value: every other text is refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'AQgw-_9z=+/ \n'), maxLength: 8 }), (text) => {
        const value = unbase64url(text);
        if (value !== undefined) expect(base64url(value)).toBe(text);
      }),
    );
    expect(unbase64url('AB')).toBeUndefined();
    expect(unbase64url('AA')).toEqual(new Uint8Array(1));
  });

  it.each(['A', 'AA==', 'A+', 'A/', 'A A', '😀😀'])('refuses %j', (text) => {
    expect(unbase64url(text)).toBeUndefined();
  });
});

describe('equalBytes', () => {
  it('is equality', () => {
    fc.assert(
      fc.property(bytes(), bytes(), (a, b) => {
        expect(equalBytes(a, Uint8Array.from(a))).toBe(true);
        expect(equalBytes(a, b)).toBe(Buffer.from(a).equals(Buffer.from(b)));
      }),
    );
  });

  it('sees a difference in any single byte, and in length', () => {
    const value = new Uint8Array(32);
    for (let at = 0; at < 32; at += 1) expect(equalBytes(value, value.with(at, 1))).toBe(false);
    expect(equalBytes(value, value.slice(1))).toBe(false);
  });
});

it('concat puts parts one after another', () => {
  expect(concat(Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3))).toEqual(Uint8Array.of(1, 2, 3));
});
