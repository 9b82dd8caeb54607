import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeEscrowSecrets,
  ESCROW_PLAINTEXT_STEP_BYTES,
  encodeEscrowSecrets,
} from '../../../protocol/escrow-secrets.ts';

type Secret = { name: string; text: string };
const encode = (secrets: readonly Secret[]): Uint8Array => {
  const encoded = encodeEscrowSecrets(secrets);
  if (!encoded.ok) throw new Error(`${encoded.code}: ${encoded.detail}`);
  return encoded.bytes;
};
const name = fc.stringMatching(/^[a-z0-9-]{1,32}(:[A-Za-z0-9_.@-]{1,64})?$/);
const text = fc
  .string({ minLength: 1, maxLength: 60, unit: 'grapheme' })
  .filter((each) => Buffer.byteLength(each) <= 256);
const secrets = fc.uniqueArray(fc.record({ name, text }), { selector: (each) => each.name, maxLength: 64 });

describe('what lies in an escrow blob', () => {
  it('comes back as it went in, sorted by name', () => {
    fc.assert(
      fc.property(secrets, (given) => {
        const decoded = decodeEscrowSecrets(encode(given));
        const sorted = [...given].sort((a, b) => (a.name < b.name ? -1 : 1));
        expect(decoded).toEqual({ ok: true, secrets: sorted.map((each) => ({ ...each })) });
      }),
    );
  });

  it('has one spelling, whatever order it was given in', () => {
    fc.assert(
      fc.property(secrets, (given) => {
        expect(encode([...given].reverse())).toEqual(encode(given));
      }),
    );
  });

  it('is as long for one character as for 256, and for few secrets as for one', () => {
    const lengths = [
      [{ name: 'password:root', text: 'x' }],
      [{ name: 'password:root', text: 'x'.repeat(256) }],
      [
        { name: 'password:root', text: 'x'.repeat(22) },
        { name: 'access-point-passphrase:wlan0', text: 'y'.repeat(63) },
      ],
    ].map((given) => encode(given).length);
    expect(new Set(lengths)).toEqual(new Set([ESCROW_PLAINTEXT_STEP_BYTES]));
  });

  it('takes the most there may be, and nothing beyond', () => {
    const most = Array.from({ length: 64 }, (_, index) => ({
      name: `maker:${String(index).padStart(64, '0')}`,
      text: '~'.repeat(256),
    }));
    expect(decodeEscrowSecrets(encode(most)).ok).toBe(true);
    expect(encodeEscrowSecrets([...most, { name: 'maker', text: 'x' }])).toMatchObject({
      ok: false,
      code: 'escrow-secrets-malformed',
    });
  });

  it.each<[string, Secret[]]>([
    [
      'a name twice',
      [
        { name: 'maker', text: 'a' },
        { name: 'maker', text: 'b' },
      ],
    ],
    ['a name that is none', [{ name: 'Maker', text: 'a' }]],
    ['an empty text', [{ name: 'maker', text: '' }]],
    ['a text of 257 bytes', [{ name: 'maker', text: 'é'.repeat(129) }]],
    ['a text that is no Unicode', [{ name: 'maker', text: '\ud800' }]],
  ])('refuses %s, and does not repeat the text', (_what, given) => {
    const refused = encodeEscrowSecrets(given);
    expect(refused).toMatchObject({ ok: false, code: 'escrow-secrets-malformed' });
    expect(JSON.stringify(refused)).not.toContain('é');
  });

  it('is read strictly: whatever is taken is exactly what would have been written', () => {
    const one = encode([
      { name: 'maker:a', text: 'first' },
      { name: 'maker:b', text: 'second' },
    ]);
    fc.assert(
      fc.property(fc.nat(one.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = one.map((byte, index) => (index === at ? byte ^ mask : byte));
        const decoded = decodeEscrowSecrets(changed);
        if (decoded.ok) expect(encode([...decoded.secrets])).toEqual(changed);
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(decodeEscrowSecrets(bytes).ok).toBe(false);
      }),
    );
    expect(decodeEscrowSecrets(one.subarray(0, one.length - 1)).ok).toBe(false);
    expect(decodeEscrowSecrets(new Uint8Array(ESCROW_PLAINTEXT_STEP_BYTES))).toEqual({ ok: true, secrets: [] });
    expect(decodeEscrowSecrets(new Uint8Array(2 * ESCROW_PLAINTEXT_STEP_BYTES)).ok).toBe(false);
  });
});
