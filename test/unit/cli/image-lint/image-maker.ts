/** A clean product root as data, and images made of it by the real tools: squashfs with any owner, ext4, folders. */
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Finding } from '../../../../cli/image-lint/findings.ts';
import { lintImage } from '../../../../cli/image-lint/lint.ts';
import { openImage } from '../../../../cli/image-lint/volumes.ts';
import { IMAGE_TOOL_ENV } from '../../../../scripts/images/ext4-image.ts';
import { needProgram } from '../../../../scripts/programs.ts';

export interface PlantedEntry {
  readonly text?: string | Uint8Array;
  /** A link to there. */
  readonly link?: string;
  /** A folder. */
  readonly folder?: true;
  readonly mode?: number;
  /** Where the format can have it: squashfs. */
  readonly uid?: number;
}

/** By path without a slash in front. null: takes it away. */
export type Planted = Readonly<Record<string, PlantedEntry | string | null>>;

const unit = (...lines: readonly string[]): string => `${lines.join('\n')}\n`;
const bound = (gate: string): string =>
  unit('[Unit]', `BindsTo=holdfast-${gate}.service`, `After=holdfast-${gate}.service`);
const SYSTEM = 'usr/lib/systemd/system';
const WANTS = 'etc/systemd/system/multi-user.target.wants';

/** As a maker ships it: Debian's files where a rule looks, Holdfast on, both gates bound. Nothing is to be found in it. */
export const CLEAN: Planted = {
  'etc/passwd':
    'root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\npi:x:1000:1000::/home/pi:/bin/bash\n',
  'etc/shadow': {
    text: 'root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\npi:!:20000:0:99999:7:::\n',
    mode: 0o640,
  },
  'etc/machine-id': '',
  'etc/hostname': 'device\n',
  'etc/ssh/sshd_config': unit(
    'Include /etc/ssh/sshd_config.d/*.conf',
    '#PermitRootLogin yes',
    'UsePAM yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
  ),
  'etc/ssh/sshd_config.d': { folder: true },
  'etc/inetd.conf': unit('#telnet stream tcp nowait root /usr/sbin/in.telnetd in.telnetd'),
  'etc/holdfast/agent.json': '{}\n',
  'etc/NetworkManager/system-connections': { folder: true, mode: 0o700 },
  'etc/wpa_supplicant/wpa_supplicant.conf': unit('ctrl_interface=/run/wpa_supplicant', '# psk="an example"'),
  [`${SYSTEM}/ssh.service`]: unit(
    '[Unit]',
    'Description=OpenSSH',
    '[Service]',
    'ExecStart=/usr/sbin/sshd -D $SSHD_OPTS',
  ),
  [`${SYSTEM}/getty@.service`]: unit('[Service]', "ExecStart=-/sbin/agetty -o '-p -- \\\\u' --noclear - $TERM"),
  [`${SYSTEM}/serial-getty@.service`]: unit(
    '[Service]',
    "ExecStart=-/sbin/agetty -o '-p -- \\\\u' --keep-baud 115200,57600 - $TERM",
  ),
  [`${SYSTEM}/emergency.service`]: unit('[Service]', 'ExecStart=-/lib/systemd/systemd-sulogin-shell emergency'),
  [`${SYSTEM}/NetworkManager.service`]: unit('[Service]', 'ExecStart=/usr/sbin/NetworkManager --no-daemon'),
  [`${SYSTEM}/holdfast-agent.service`]: unit('[Service]', 'ExecStart=/usr/bin/holdfast-agent run'),
  [`${SYSTEM}/holdfast-quiet.service`]: unit(
    '[Unit]',
    'After=nftables.service',
    '[Service]',
    'ExecStart=/usr/bin/holdfast-agent quiet',
  ),
  [`${SYSTEM}/holdfast-firstboot.service`]: unit(
    '[Unit]',
    'Requires=holdfast-quiet.service',
    '[Service]',
    'ExecStart=/usr/bin/holdfast-agent firstboot',
  ),
  [`${SYSTEM}/holdfast-open.service`]: unit(
    '[Unit]',
    'Requires=holdfast-firstboot.service',
    'After=holdfast-firstboot.service',
    '[Service]',
    'ExecStart=/usr/bin/holdfast-agent open',
  ),
  [`${SYSTEM}/ssh.service.d/10-holdfast.conf`]: bound('open'),
  [`${SYSTEM}/emergency.service.d/10-holdfast.conf`]: bound('open'),
  [`${SYSTEM}/getty@.service.d/10-holdfast.conf`]: bound('open'),
  [`${SYSTEM}/serial-getty@.service.d/10-holdfast.conf`]: bound('open'),
  [`${SYSTEM}/debug-shell.service`]: unit('[Service]', 'ExecStart=/bin/sh'),
  [`${SYSTEM}/debug-shell.service.d/10-holdfast.conf`]: bound('open'),
  [`${SYSTEM}/NetworkManager.service.d/10-holdfast.conf`]: bound('quiet'),
  [`${WANTS}/holdfast-agent.service`]: { link: `/${SYSTEM}/holdfast-agent.service` },
  [`${WANTS}/holdfast-firstboot.service`]: { link: `/${SYSTEM}/holdfast-firstboot.service` },
  [`${WANTS}/ssh.service`]: { link: `/${SYSTEM}/ssh.service` },
  'usr/sbin/sshd': { text: '\x7fELF', mode: 0o755 },
  'usr/sbin/NetworkManager': { text: '\x7fELF', mode: 0o755 },
  'usr/bin/holdfast-agent': { text: '#!/bin/sh\n', mode: 0o755 },
  'usr/lib/libtls.so': 'a\0-----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----\0',
  'usr/share/doc/hostapd/hostapd.conf': 'wpa_passphrase=secret passphrase\n',
  'var/lib/dbus/machine-id': { link: '/etc/machine-id' },
  bin: { link: 'usr/bin' },
  sbin: { link: 'usr/sbin' },
  lib: { link: 'usr/lib' },
  tmp: { folder: true, mode: 0o1777 },
  'home/pi': { folder: true },
};

type Entries = ReadonlyMap<string, PlantedEntry>;

/** The clean root with `planted` in it, and the folders that all need. */
export function rootWith(planted: Planted, base: Planted = CLEAN): Entries {
  const entries = new Map<string, PlantedEntry>();
  for (const [path, entry] of Object.entries({ ...base, ...planted })) {
    if (entry !== null) entries.set(path, typeof entry === 'string' ? { text: entry } : entry);
  }
  for (const path of [...entries.keys()]) {
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) {
      if (!entries.has(folder)) entries.set(folder, { folder: true });
    }
  }
  return new Map([...entries].sort(([left], [right]) => (left < right ? -1 : 1)));
}

export async function makeFolder(entries: Entries, place: string): Promise<void> {
  await mkdir(place, { recursive: true });
  for (const [path, { text = '', link, folder, mode }] of entries) {
    const to = join(place, path);
    if (folder !== undefined) await mkdir(to, { recursive: true });
    else if (link !== undefined) await symlink(link, to);
    else await writeFile(to, text);
    if (link === undefined) await chmod(to, mode ?? (folder === undefined ? 0o644 : 0o755));
  }
}

/** All is root's, whoever runs this. */
export async function makeErofs(
  entries: Entries,
  work: string,
  outFile: string,
  words: readonly string[] = [],
): Promise<void> {
  await makeFolder(entries, join(work, 'tree'));
  await needProgram('mkfs.erofs', ['--quiet', '--all-root', ...words, outFile, join(work, 'tree')]);
}

/** Owners come from a pseudo file: 0 unless planted otherwise, whoever runs this. */
export async function makeSquashfs(entries: Entries, work: string, outFile: string): Promise<void> {
  await makeFolder(entries, join(work, 'tree'));
  const lines = [...entries].map(([path, { link, folder, mode, uid = 0 }]) => {
    const bits = (mode ?? (folder === undefined ? 0o644 : 0o755)).toString(8);
    return link === undefined ? `${path} m ${bits} ${uid} 0` : '';
  });
  await writeFile(join(work, 'pseudo'), `${lines.filter((line) => line !== '').join('\n')}\n`);
  // Modes of a pseudo file also give the owner; -root-owned of all would take planted ones away.
  const words = [join(work, 'tree'), outFile, '-pf', join(work, 'pseudo'), '-noappend', '-quiet', '-no-progress'];
  await needProgram('mksquashfs', [...words, '-comp', 'gzip']);
}

export async function makeExt4(
  entries: Entries,
  work: string,
  outFile: string,
  words: readonly string[] = [],
): Promise<void> {
  await makeFolder(entries, join(work, 'tree'));
  const options = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-E',
    'root_owner=0:0',
    ...words,
    '-d',
    join(work, 'tree'),
    outFile,
    '16M',
  ];
  await needProgram('mke2fs', options, { env: IMAGE_TOOL_ENV });
}

/** Runs `work` with a folder of its own. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-lint-test-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export async function lint(path: string, isProduct = false): Promise<Finding[]> {
  const opened = openImage(path);
  try {
    return await lintImage(opened, { isProduct, onProgress: () => undefined });
  } finally {
    opened.close();
  }
}

/** `code path:line`, sorted. */
export function told(findings: readonly Finding[]): string[] {
  return findings.map(({ code, path, line }) => `${code} ${path}${line === null ? '' : `:${line}`}`).sort();
}

/** Lints the clean root with `planted` in it, as a squashfs or an ext4. */
export function lintPlanted(
  planted: Planted,
  format: 'squashfs' | 'ext4' = 'squashfs',
  isProduct = false,
): Promise<Finding[]> {
  return inFolder(async (folder) => {
    const image = join(folder, 'image');
    if (format === 'squashfs') await makeSquashfs(rootWith(planted), folder, image);
    else await makeExt4(rootWith(planted), folder, image);
    const findings = await lint(image, isProduct);
    // mke2fs keeps the owner of the folder that it copies: of whoever runs this.
    const ours = format === 'ext4' && process.getuid?.() !== 0;
    return findings.filter(({ code }) => !(ours && code === 'owned-by-user'));
  });
}
