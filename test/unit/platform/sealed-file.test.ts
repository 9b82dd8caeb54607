import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../../platform/fault.ts';
import { decodeSealingKey, encodeSealingKey, openSealed, sealBytes } from '../../../platform/sealed-file.ts';

const key = randomBytes(32);
const secret = new TextEncoder().encode('{"snapshot":"…"}');

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof Fault ? error.code : `not a Fault: ${error}`;
  }
  return 'no error';
}

describe('sealed files', () => {
  it('opens with the same key and context, and holds nothing readable', () => {
    const sealed = sealBytes(key, secret, 'keys 1');
    expect(openSealed(key, sealed, 'keys 1')).toEqual(Uint8Array.from(secret));
    expect(Buffer.from(sealed).includes(Buffer.from(secret))).toBe(false);
    expect(sealBytes(key, secret, 'keys 1')).not.toEqual(sealed);
  });

  it('says that the key is wrong', () => {
    expect(codeOf(() => openSealed(randomBytes(32), sealBytes(key, secret, 'keys 1'), 'keys 1'))).toBe(
      'sealing-key-wrong',
    );
  });

  it('refuses a file sealed for another purpose', () => {
    expect(codeOf(() => openSealed(key, sealBytes(key, secret, 'keys 1'), 'keys 2'))).toBe('sealed-file-malformed');
  });

  it('refuses every single flipped bit and every truncation', () => {
    const sealed = sealBytes(key, secret, 'keys 1');
    for (let at = 0; at < sealed.length; at += 1) {
      const altered = sealed.slice();
      altered[at] = (altered[at] ?? 0) ^ 1;
      const expected = at >= 8 && at < 16 ? 'sealing-key-wrong' : 'sealed-file-malformed';
      expect(codeOf(() => openSealed(key, altered, 'keys 1'))).toBe(expected);
      expect(codeOf(() => openSealed(key, sealed.subarray(0, at), 'keys 1'))).toBe('sealed-file-malformed');
    }
  });

  it('takes a sealing key file back, and nothing else', () => {
    expect(decodeSealingKey(encodeSealingKey(key))).toEqual(Uint8Array.from(key));
    for (const text of ['', 'zz', 'ab'.repeat(31), `${'ab'.repeat(32)}ab`, 'AB'.repeat(32)]) {
      expect(codeOf(() => decodeSealingKey(new TextEncoder().encode(text)))).toBe('sealing-key-malformed');
    }
  });
});
