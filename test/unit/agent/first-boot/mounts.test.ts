/** mountinfo as the kernel writes it, and copies that are shown over a file with real mounts: that needs root. */
import { expect, it } from 'vitest';
import { decodeMountinfo } from '../../../../agent/first-boot/mounts.ts';
import { runInNamespace } from './run-in-namespace.ts';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('SKIPPED, nothing was mounted over anything: this is not root');

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

it.runIf(isRoot)('shows the newest copy where mounts are shared, and leaves nothing in the older ones', async () => {
  expect(await runInNamespace('shown-copies.ts', [])).toEqual({
    shows: ['first', '', 'third', 'fourth'],
    beneath: 'of the image',
    left: ['', '', '', 'fourth'],
  });
});
