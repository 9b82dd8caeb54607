/** What is tried of an image: the list's pairs for the accounts that it has, and what its hashes stand for, in any form. */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { decodePasswd } from '../../../../agent/first-boot/account-files.ts';
import { formerLogins } from '../../../../agent/first-boot/logins.ts';
import { shaCrypt } from '../../../../agent/first-boot/sha-crypt.ts';
import { FACTORY_PAIRS } from '../../../../protocol/factory-pairs.ts';

const crypt = (password: string, setting: string): string =>
  execFileSync('perl', ['-e', 'print crypt($ARGV[0], $ARGV[1])', password, setting], { encoding: 'utf8' });
const accounts = (...names: string[]) => decodePasswd(names.map((name) => `${name}:x:1:1::/:/bin/sh\n`).join(''));

it('tries every pair of the list for the accounts that are there, though they are locked, and for no other', async () => {
  const tries = await formerLogins(
    accounts('root', 'ubnt', 'daemon'),
    new Map([
      ['root', '*'],
      ['ubnt', '!'],
    ]),
  );
  expect(tries.filter(({ user }) => user === 'root')).toEqual(FACTORY_PAIRS.filter(({ user }) => user === 'root'));
  expect(tries.filter(({ user }) => user !== 'root')).toEqual([{ user: 'ubnt', password: 'ubnt' }]);
});

it.each([
  ['sha512crypt', shaCrypt('xc3511', '$6$abc')],
  ['sha256crypt', shaCrypt('xc3511', '$5$abc')],
  ['yescrypt', crypt('xc3511', '$y$j9T$F5Jx5fExrKuPp53xLKQ..1$')],
  ['MD5', crypt('xc3511', '$1$abc$')],
  ['DES', crypt('xc3511', 'ab')],
])('finds what a hash of %s stands for, for an account that is in no list', async (_, hash) => {
  expect(await formerLogins(accounts('acme'), new Map([['acme', hash ?? '']]))).toEqual([
    { user: 'acme', password: 'xc3511' },
  ]);
});

it('tries the empty password where the field is empty, and nothing where the hash is of no listed one', async () => {
  expect(await formerLogins(accounts('acme'), new Map([['acme', '']]))).toEqual([{ user: 'acme', password: '' }]);
  expect(await formerLogins(accounts('acme'), new Map([['acme', crypt('nobody guesses this', '$6$abc')]]))).toEqual([]);
});
