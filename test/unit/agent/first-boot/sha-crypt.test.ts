/** Hashes made here against the specification's own vectors and against OpenSSL. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { runProgram } from '../../../../agent/boards/board-program.ts';
import { makeSha512Crypt, matchesShaCrypt, shaCrypt } from '../../../../agent/first-boot/sha-crypt.ts';

const random = { bytes: (length: number) => new Uint8Array(randomBytes(length)) };

/** From SHA-crypt.txt, version 0.6: those within the limit of rounds, with salts of at most 16 characters. */
const VECTORS = [
  ['Hello world!', '$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5'],
  ['This is just a test', '$5$rounds=5000$toolongsaltstrin$Un/5jzAHMgOGZ5.mWJpuVolil07guHPvOW8mGRcvxa5'],
  [
    'we have a short salt string but not a short password',
    '$5$rounds=77777$short$JiO1O3ZpDAxGJeaDIuqCoEFysAe1mZNJRs3pw0KQRd/',
  ],
  [
    'Hello world!',
    '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1',
  ],
  [
    'This is just a test',
    '$6$rounds=5000$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0',
  ],
  [
    'the minimum number is still observed',
    '$6$rounds=1000$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.',
  ],
] as const;

it('gives the hashes of the specification, and knows the password of each', () => {
  for (const [password, hash] of VECTORS) {
    expect(shaCrypt(password, hash)).toBe(hash);
    expect(matchesShaCrypt(password, hash)).toBe(true);
    expect(matchesShaCrypt(`${password}x`, hash)).toBe(false);
  }
});

it('agrees with OpenSSL for passwords of every length around a block, and in UTF-8', async () => {
  const passwords = ['', 'a', 'pässwörter', ...[15, 31, 32, 33, 63, 64, 65, 127].map((length) => 'x'.repeat(length))];
  for (const password of passwords.filter((text) => text !== '')) {
    for (const kind of ['5', '6']) {
      const end = await runProgram('openssl', ['passwd', `-${kind}`, '-salt', 'aB./9xyz', '-stdin'], {
        input: `${password}\n`,
      });
      expect(end.status, end.said).toBe(0);
      expect(shaCrypt(password, `$${kind}$aB./9xyz`)).toBe(end.stdout.trim());
    }
  }
});

it('makes another hash each time, and says nothing of hashes of other forms', () => {
  const [one, other] = [makeSha512Crypt('secret', random), makeSha512Crypt('secret', random)];
  expect(one).not.toBe(other);
  expect(one).toMatch(/^\$6\$[./0-9A-Za-z]{16}\$[./0-9A-Za-z]{86}$/);
  expect(matchesShaCrypt('secret', one)).toBe(true);
  for (const hash of ['', '*', '!', '$y$j9T$abc$def', '$1$salt$hash', '$6$salt', '$6$rounds=999999999$salt$x']) {
    expect(matchesShaCrypt('secret', hash)).toBeUndefined();
  }
});
