/** Guessing with the system's crypt, and without: the same answers, or all candidates where nobody can tell. */
import { expect, it } from 'vitest';
import { guessPasswords } from '../../../../agent/first-boot/guess-password.ts';
import { shaCrypt } from '../../../../agent/first-boot/sha-crypt.ts';

const CANDIDATES = ['', 'xc3511', 'vizxv', 'pass word'];
const withoutPerl = async () => undefined;

it.each(['$6$abc', '$5$rounds=1000$abc'])(
  'finds the one that a hash of %s stands for, with perl and without',
  async (setting) => {
    for (const password of CANDIDATES) {
      const hash = shaCrypt(password, setting) ?? '';
      expect(await guessPasswords(hash, CANDIDATES)).toEqual([password]);
      expect(await guessPasswords(hash, CANDIDATES, withoutPerl)).toEqual([password]);
    }
    const other = shaCrypt('of no list', setting) ?? '';
    expect(await guessPasswords(other, CANDIDATES)).toEqual([]);
    expect(await guessPasswords(other, CANDIDATES, withoutPerl)).toEqual([]);
  },
);

it('names all of them where the form is unknown and there is no perl', async () => {
  expect(await guessPasswords('$y$j9T$abc$def', CANDIDATES, withoutPerl)).toEqual(CANDIDATES);
  expect(await guessPasswords('', CANDIDATES, withoutPerl)).toEqual(['']);
});
