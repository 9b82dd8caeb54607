import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../trust/bytes.ts';
import {
  canonicalJson,
  decodeJson,
  decodeJsonDocument,
  type JsonValue,
  tryCanonicalJson,
} from '../../../trust/json.ts';
import { codeOf, unwrap } from './release-fixture.ts';

const CAP = { capBytes: 64 * 1024 };
const decode = (text: string) => decodeJson(utf8(text), CAP);
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** JSON values that have a canonical form. */
const canonicalValue = () =>
  fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(null, true, false),
      fc.maxSafeInteger(),
      fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed() && !/\p{Cc}/u.test(text)),
      fc.array(tie('value')),
      fc.dictionary(
        fc.string().filter((text) => !/\p{Cc}/u.test(text)),
        tie('value'),
      ),
    ),
  })).value;

describe('decodeJson', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const ours = decode(text);
        if (ours.ok) expect(plain(ours.value)).toEqual(JSON.parse(text));
      }),
    );
    const text = ' {"a" : [1, -2.5e3, true,false,null, "\\u00fc\\n\\ud83d\\ude00"], "": {}} \n';
    expect(plain(unwrap(decode(text)))).toEqual(JSON.parse(text));
  });

  it('never throws and never reads what JSON.parse refuses', () => {
    const pieces = fc.constantFrom(...'{}[]",:\\ue0-1.+tfn /\u0000\n', '"a"', 'true', 'null', '\\ud800');
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 20 }), (parts) => {
        const text = parts.join('');
        if (decode(text).ok) expect(() => JSON.parse(text)).not.toThrow();
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ['a name twice', '{"a":1,"a":1}'],
    ['a name twice, once escaped', '{"a":1,"\\u0061":1}'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}'],
    ['something after the document', '{} {}'],
    ['nothing', ''],
    ['a trailing comma', '[1,]'],
    ['a comment', '[1/**/]'],
    ['a leading zero', '[01]'],
    ['a bare minus', '[-]'],
    ['NaN', '[NaN]'],
    ['single quotes', "['a']"],
    ['a raw line break in a string', '["a\nb"]'],
    ['an unknown escape', '["\\x41"]'],
    ['a short escape', '["\\u12"]'],
    ['a lone surrogate', '["\\ud800"]'],
    ['an integer beyond 2^53', '[9007199254740993]'],
    ['a number beyond all', '[1e999]'],
    ['a string without an end', '["a'],
    ['an object without an end', '{"a":1'],
    ['a byte order mark', '\ufeff{}'],
    ['a no-break space', '\u00a0{}'],
  ])('refuses %s', (_what, text) => {
    expect(codeOf(decode(text))).toBe('json-malformed');
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(codeOf(decodeJson(Uint8Array.of(0x22, 0xff, 0x22), CAP))).toBe('json-malformed');
    // An overlong slash.
    expect(codeOf(decodeJson(Uint8Array.of(0x22, 0xc0, 0xaf, 0x22), CAP))).toBe('json-malformed');
  });

  it('refuses one byte beyond the cap', () => {
    expect(codeOf(decodeJson(utf8('[1]'), { capBytes: 3 }))).toBe('accepted');
    expect(codeOf(decodeJson(utf8('[11]'), { capBytes: 3 }))).toBe('input-too-large');
  });

  it('refuses one level beyond the depth, and survives a million', () => {
    expect(codeOf(decodeJson(utf8('[[[1]]]'), { capBytes: 99, maxDepth: 3 }))).toBe('accepted');
    expect(codeOf(decodeJson(utf8('[[[[1]]]]'), { capBytes: 99, maxDepth: 3 }))).toBe('json-malformed');
    expect(codeOf(decodeJson(utf8('['.repeat(1e6)), { capBytes: 1e6 }))).toBe('json-malformed');
    expect(codeOf(decodeJson(utf8('{"a":'.repeat(1e5)), { capBytes: 1e6 }))).toBe('json-malformed');
  });

  it('makes objects that inherit nothing', () => {
    const value = unwrap(decode('{"__proto__":{"polluted":true}}'));
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it('keeps the received bytes of the outer members', () => {
    const { members } = unwrap(decodeJsonDocument(utf8('{"x": {"y" : 1.50, "ü":[ ]} ,"z":"\\u0041"}'), CAP));
    expect(new TextDecoder().decode(members.get('x'))).toBe('{"y" : 1.50, "ü":[ ]}');
    expect(new TextDecoder().decode(members.get('z'))).toBe('"\\u0041"');
    expect(members.size).toBe(2);
  });
});

describe('canonicalJson', () => {
  const text = (value: unknown) => new TextDecoder().decode(canonicalJson(value));

  it('is read back as what it was made of', () => {
    fc.assert(
      fc.property(canonicalValue(), (value) => {
        const bytes = canonicalJson(value);
        const back = unwrap(decodeJson(bytes, { capBytes: bytes.length, maxDepth: 100 }));
        expect(canonicalJson(back)).toEqual(bytes);
        expect(plain(back)).toEqual(plain(value));
      }),
    );
  });

  it('has one form, whatever the order of members', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.integer()), (object) => {
        const reversed = Object.fromEntries(Object.entries(object).reverse());
        const bytes = tryCanonicalJson(object);
        expect(tryCanonicalJson(reversed)).toEqual(bytes);
      }),
    );
  });

  it('sorts by code point, not by UTF-16 unit', () => {
    expect(text({ '\u{10000}': 1, '\uffff': 2, b: 3, a: 4, ab: 5 })).toBe(
      '{"a":4,"ab":5,"b":3,"\uffff":2,"\u{10000}":1}',
    );
  });

  it('escapes quotes and backslashes only', () => {
    expect(text('a"b\\c/ü\u007f')).toBe('"a\\"b\\\\c/ü\u007f"');
  });

  it('leaves out members that are undefined', () => {
    expect(text({ a: undefined, b: 1 })).toBe('{"b":1}');
  });

  it.each([
    ['a float', 1.5],
    ['NaN', Number.NaN],
    ['an integer beyond 2^53', 2 ** 53],
    ['undefined', undefined],
    ['a function', () => 1],
    ['a bigint', 1n],
    ['a line break', 'a\nb'],
    ['a control character in a name', { '\u0001': 1 }],
    ['a lone surrogate', '\ud800'],
  ])('throws for %s', (_what, value) => {
    expect(() => canonicalJson([value])).toThrow(TypeError);
  });

  it('writes minus zero as zero', () => {
    expect(text(-0)).toBe('0');
  });

  it('lets control characters stand for the conformance mode only', () => {
    expect(tryCanonicalJson('a\nb')).toBeUndefined();
    expect(tryCanonicalJson('a\nb', { controlCharacters: 'literal' })).toEqual(utf8('"a\nb"'));
  });
});
