/**
 * Image pairs to measure with, made once and kept in a folder: `rebuilt` (a Debian bookworm root file system before and
 * after its pending upgrades, each built anew by mke2fs), `small` (a few files changed, built anew) and `squashfs` (the
 * trees of `rebuilt` by mksquashfs as it is, without options).
 *
 * Needs root, debootstrap, e2fsprogs, squashfs-tools, and a machine with Debian bookworm whose own package sources name
 * updates and security, unless the folder has the images already. A run that was broken off goes on at the stage where
 * it broke: nothing has its name before it is whole.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ImagePair {
  readonly name: string;
  readonly oldPath: string;
  readonly newPath: string;
}

const PACKAGES =
  'systemd-sysv,python3,openssh-server,nodejs,linux-image-cloud-amd64,ca-certificates,curl,iproute2,nftables';
const LATER = 'default-dbus-system-bus libpam-systemd network-manager';
const APT = 'DEBIAN_FRONTEND=noninteractive apt-get -y';
const IMAGES = ['v1.img', 'v2.img', 'v3.img', 'v1.squashfs', 'v2.squashfs'] as const;

const SCRIPT = `set -e
if [ ! -d v1 ]; then
  rm -rf making v2 v3 v?.img v?.squashfs large.img
  debootstrap --variant=minbase --include=${PACKAGES} bookworm making
  printf '#!/bin/sh\\nexit 101\\n' > making/usr/sbin/policy-rc.d; chmod +x making/usr/sbin/policy-rc.d
  cp /etc/resolv.conf making/etc/resolv.conf
  chroot making sh -c '${APT} --no-install-recommends install ${LATER} && apt-get clean'
  rm -rf making/var/lib/apt/lists/* making/var/cache/apt/*.bin
  mv making v1
fi
if [ ! -d v2 ]; then
  rm -rf making; cp -a v1 making
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then cp /etc/apt/sources.list.d/debian.sources making/etc/apt/sources.list.d/
  else cp /etc/apt/sources.list making/etc/apt/sources.list; fi
  chroot making sh -c 'apt-get update && ${APT} upgrade && apt-get clean'
  rm -rf making/etc/apt/sources.list*; cp -a v1/etc/apt/sources.list* making/etc/apt/
  rm -rf making/var/lib/apt/lists/* making/var/cache/apt/*.bin
  mv making v2
fi
if [ ! -d v3 ]; then
  rm -rf making; cp -a v1 making
  echo 'Acme camera' > making/etc/issue
  echo 'net.ipv4.ip_forward = 0' >> making/etc/sysctl.conf
  sed -i 's/import/import  /' making/usr/lib/python3.11/json/__init__.py
  head -c 100000 /dev/urandom > making/usr/lib/firmware-blob
  mv making v3
fi
for tree in v1 v2; do dpkg-query --admindir=$tree/var/lib/dpkg -W > $tree.packages; done
for tree in v1 v2 v3; do
  [ -e $tree.img ] && continue
  rm -f making.img; mke2fs -q -t ext4 -b 4096 -d $tree making.img 512M; mv making.img $tree.img
done
for tree in v1 v2; do
  [ -e $tree.squashfs ] && continue
  rm -f making.squashfs; mksquashfs $tree making.squashfs -noappend -no-progress -quiet; mv making.squashfs $tree.squashfs
done
rm -rf v1 v2 v3
`;

/** Makes what is missing. Throws when a program fails: its output stands on stderr. */
export async function imagePairs(folder: string, progress: (line: string) => void): Promise<ImagePair[]> {
  mkdirSync(folder, { recursive: true });
  const path = (name: (typeof IMAGES)[number]): string => join(folder, name);
  if (!IMAGES.every((name) => existsSync(path(name)))) {
    progress(`making images in ${folder}: some ten minutes, once`);
    const child = spawn('sh', ['-c', SCRIPT], { cwd: folder, stdio: ['ignore', 2, 2] });
    const [status] = await once(child, 'exit');
    if (status !== 0) throw new Error(`making the images in ${folder} ended with status ${status}`);
  }
  return [
    { name: 'rebuilt', oldPath: path('v1.img'), newPath: path('v2.img') },
    { name: 'small', oldPath: path('v1.img'), newPath: path('v3.img') },
    { name: 'squashfs', oldPath: path('v1.squashfs'), newPath: path('v2.squashfs') },
  ];
}

/** How many packages the second image has in another version than the first; undefined where no list was kept. */
export function upgradedPackages(folder: string): number | undefined {
  const lists = ['v1.packages', 'v2.packages'].map((name) => join(folder, name));
  if (!lists.every((list) => existsSync(list))) return undefined;
  const [before, after] = lists.map((list) => new Set(readFileSync(list, 'utf8').trim().split('\n')));
  return [...(after ?? [])].filter((line) => !before?.has(line)).length;
}
