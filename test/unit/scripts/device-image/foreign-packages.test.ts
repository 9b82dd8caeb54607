import { expect, it } from 'vitest';
import { archiveOf } from '../../../../scripts/device-image/foreign-packages.ts';

it('packages come from the copy of the archive that this machine is set up with', () => {
  const uris = 'http://mirror.example/debian/\nhttp://mirror.example/debian/\nhttps://safe.example/debian-security\n';
  expect(archiveOf(uris)).toEqual({
    main: 'http://mirror.example/debian',
    security: 'https://safe.example/debian-security',
  });
});

it('another distribution, a snapshot or a medium is not that archive', () => {
  const uris =
    'http://snapshot.debian.org/archive/debian/20250520T000000Z/\nfile:/media/debian/\nhttps://deb.nodesource.com/node_20.x\n';
  expect(archiveOf(uris)).toEqual({
    main: 'http://deb.debian.org/debian',
    security: 'http://deb.debian.org/debian-security',
  });
});
