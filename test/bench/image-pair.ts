/**
 * Image pairs to measure deltas on, made once and kept in a folder: `rebuilt` (a Debian bookworm root file system before
 * and after its pending upgrades, each built anew by mke2fs) and `small` (a few files changed, built anew).
 * Needs root, debootstrap, and a machine with Debian bookworm whose own package sources name updates and security,
 * unless the folder has the images already.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
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

const SCRIPT = `set -e
debootstrap --variant=minbase --include=${PACKAGES} bookworm v1
printf '#!/bin/sh\\nexit 101\\n' > v1/usr/sbin/policy-rc.d; chmod +x v1/usr/sbin/policy-rc.d
cp /etc/resolv.conf v1/etc/resolv.conf
chroot v1 sh -c '${APT} --no-install-recommends install ${LATER} && apt-get clean'
cp -a v1 v2
if [ -e /etc/apt/sources.list.d/debian.sources ]; then cp /etc/apt/sources.list.d/debian.sources v2/etc/apt/sources.list.d/
else cp /etc/apt/sources.list v2/etc/apt/sources.list; fi
chroot v2 sh -c 'apt-get update && ${APT} upgrade && apt-get clean'
rm -rf v2/etc/apt/sources.list*; cp -a v1/etc/apt/sources.list* v2/etc/apt/
for tree in v1 v2; do rm -rf $tree/var/lib/apt/lists/* $tree/var/cache/apt/*.bin; done
cp -a v1 v3
echo 'Acme camera' > v3/etc/issue
echo 'net.ipv4.ip_forward = 0' >> v3/etc/sysctl.conf
sed -i 's/import/import  /' v3/usr/lib/python3.11/json/__init__.py
head -c 100000 /dev/urandom > v3/usr/lib/firmware-blob
for number in 1 2 3; do mke2fs -q -t ext4 -b 4096 -d v$number v$number.img 512M; done
rm -rf v1 v2 v3`;

/** Makes what is missing. Throws when a program fails: its output stands on stderr. */
export function imagePairs(folder: string): ImagePair[] {
  mkdirSync(folder, { recursive: true });
  const image = (number: number): string => join(folder, `v${number}.img`);
  if (![1, 2, 3].every((number) => existsSync(image(number)))) {
    execFileSync('sh', ['-c', SCRIPT], { cwd: folder, stdio: ['ignore', 2, 2] });
  }
  return [
    { name: 'rebuilt', oldPath: image(1), newPath: image(2) },
    { name: 'small', oldPath: image(1), newPath: image(3) },
  ];
}
