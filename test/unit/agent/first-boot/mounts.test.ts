/** mountinfo as the kernel writes it. What is done with it is tried with real mounts in private-sshd.test.ts. */
import { expect, it } from 'vitest';
import { decodeMountinfo } from '../../../../agent/first-boot/mounts.ts';

it('reads places with spaces, and read-only mounts and file systems alike', () => {
  const text = [
    '22 1 179:5 / / ro,relatime shared:1 - ext4 /dev/mmcblk0p5 ro',
    '30 22 179:7 / /data rw,nosuid shared:2 master:3 - ext4 /dev/mmcblk0p7 rw,errors=remount-ro',
    '31 22 0:30 / /mnt/a\\040b\\134c rw - tmpfs tmpfs ro,size=4k',
    '32 22 179:7 /own/etc/shadow /etc/shadow rw - ext4 /dev/mmcblk0p7 rw',
    '',
  ].join('\n');
  expect(decodeMountinfo(text)).toEqual([
    { at: '/', readOnly: true },
    { at: '/data', readOnly: false },
    { at: '/mnt/a b\\c', readOnly: true },
    { at: '/etc/shadow', readOnly: false },
  ]);
});
