import { describe, expect, it } from 'vitest';
import { testHash } from '../../../../cli/image-lint/crypt.ts';

describe('a hash', () => {
  it.each([
    ['yescrypt', '$y$j9T$saltsaltsalt$8Md6L0sdW27sCEX2NH3NwZhGgK1JkWPL2LdTAMsTWT/', 'root'],
    ['bcrypt', '$2b$04$abcdefghijklmnopqrstuu1CYDLmnT.tkvJTwsjKPJjYExGDs87N2', 'ubnt'],
    ['md5crypt', '$1$saltsalt$Y3BMhxQHmg7scgLILa56u1', 'admin'],
    ['descrypt', 'ab6TRGT20sY26', 'root'],
  ])('of %s fits its password and no other', async (_, hash, password) => {
    expect(await testHash(hash, ['other', 'a\nb', password])).toEqual({ kind: 'fits', password });
    expect(await testHash(hash, ['other', 'a\nb', `${password} `.padEnd(8, '.')])).toEqual({ kind: 'none' });
  });

  it('that names costs beyond the time is left untested', async () => {
    const slow = '$2b$31$abcdefghijklmnopqrstuu1CYDLmnT.tkvJTwsjKPJjYExGDs87N2';
    expect(await testHash(slow, ['x'], { timeMs: 1500, memoryKib: 512 * 1024 })).toEqual({ kind: 'untested' });
  });

  it('that names costs beyond the memory is left untested', async () => {
    // 64 MiB where usual costs take 16.
    const large = '$y$jBT$saltsaltsalt$8Md6L0sdW27sCEX2NH3NwZhGgK1JkWPL2LdTAMsTWT/';
    expect(await testHash(large, ['x'], { timeMs: 60_000, memoryKib: 48 * 1024 })).toEqual({ kind: 'untested' });
    expect(await testHash(large, ['x'])).toEqual({ kind: 'none' });
  });

  it.each(['$zz$salt$hash', '*', 'x', '$6$', "'; exit 0 #"])(
    'that is none (%s) is left untested or fits nothing',
    async (hash) => {
      expect(['untested', 'none']).toContain((await testHash(hash, ['x'])).kind);
    },
  );
});
