/** Account files as text: nothing but what was chosen opens, whatever the image's lines look like. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  decodePasswd,
  decodeShadow,
  isLocked,
  rebuildGroups,
  rebuildPasswd,
  rebuildShadow,
} from '../../../../agent/first-boot/account-files.ts';

const PASSWD = 'root:x:0:0:root:/root:/bin/sh\nmail:x:8:8::/:/bin/false\n';

it('takes a password out of /etc/passwd itself, and gives that account a locked line in shadow', () => {
  const image = 'root:$6$salt$hash:0:0::/root:/bin/sh\ntoor::0:0::/root:/bin/sh\nmail:*:8:8::/:/bin/false\n';
  expect(rebuildPasswd(image)).toBe('root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nmail:*:8:8::/:/bin/false\n');
  expect(rebuildShadow('', image, new Map())).toBe('root:*:::::::\ntoor:*:::::::\nmail:*:::::::\n');
});

it('leaves every other field, lines of comment and locked fields as they are', () => {
  const image = '# made by the build\nroot:!:18000:0:99999:7:::\nmail:!*:18001:1:2:3:4:5:\n';
  expect(rebuildShadow(image, PASSWD, new Map())).toBe(image);
});

it('sets the chosen hash and its day, or no day while no clock told one', () => {
  const image = 'root:$1$x$y:0:0:99999:7:::\nmail:*:1:0:99999:7:::\n';
  expect(rebuildShadow(image, PASSWD, new Map([['root', { hash: '$6$a$b', lastChangeDays: 20_000 }]]))).toContain(
    'root:$6$a$b:20000:0:99999:7:::\n',
  );
  expect(rebuildShadow(image, PASSWD, new Map([['root', { hash: '$6$a$b', lastChangeDays: null }]]))).toContain(
    'root:$6$a$b::0:99999:7:::\n',
  );
});

it('takes hashes out of groups, and leaves the empty field that lets nobody in', () => {
  expect(rebuildGroups('staff:$6$s$h::pi\nusers:::\nroot:*::\n')).toBe('staff:*::pi\nusers:::\nroot:*::\n');
});

it('never lets a field of the image through, and changes nothing the second time, whatever the lines are', () => {
  const field = fc.stringMatching(/^[ -9;-~]{0,20}$/);
  const line = fc
    .tuple(fc.stringMatching(/^[a-z]{1,8}$/), fc.array(field, { maxLength: 9 }))
    .map(([name, rest]) => [name, ...rest].join(':'));
  fc.assert(
    fc.property(fc.array(line), fc.array(line), (shadow, accounts) => {
      const passwd = accounts.map((one) => `${one.split(':')[0]}:x:1:1::/:/bin/sh`).join('\n');
      const once = rebuildShadow(shadow.join('\n'), passwd, new Map([['root', { hash: '$6$a$b', lastChangeDays: 1 }]]));
      for (const [name, value] of decodeShadow(once))
        expect(name === 'root' ? value === '$6$a$b' : isLocked(value)).toBe(true);
      expect(rebuildShadow(once, passwd, new Map([['root', { hash: '$6$a$b', lastChangeDays: 1 }]]))).toBe(once);
      for (const { name } of decodePasswd(passwd)) expect(decodeShadow(once).has(name)).toBe(true);
    }),
    { numRuns: 300 },
  );
});
