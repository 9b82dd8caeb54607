/** The stock roots: what is in them, what they really have wrong, and how they are made. */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Chroot } from '../package/check/debian-root.ts';
import { needProgram } from '../programs.ts';

/** An error that is true: a package's script made it on the machine that built the root. */
export interface TrueError {
  readonly code: string;
  readonly path: RegExp;
  /** Says with status 0 that it is so; `$1` is the file. */
  readonly proof: readonly string[];
}

export interface StockRoot {
  readonly name: string;
  readonly about: string;
  readonly suite: string;
  readonly packages: readonly string[];
  readonly errors: readonly TrueError[];
}

const MACHINE_ID: TrueError = {
  code: 'machine-id',
  path: /^\/(etc|var\/lib\/dbus)\/machine-id$/,
  proof: ['grep', '-qE', '^[0-9a-f]{32}$'],
};

export const STOCK_ROOTS: readonly StockRoot[] = [
  { name: 'bookworm-minimal', about: 'Debian 12 as debootstrap makes it', suite: 'bookworm', packages: [], errors: [] },
  { name: 'trixie-minimal', about: 'Debian 13 as debootstrap makes it', suite: 'trixie', packages: [], errors: [] },
  {
    name: 'bookworm-services',
    about: 'Debian 12 with systemd, SSH, network managers, servers, a login manager, languages',
    suite: 'bookworm',
    // Each for a rule that could be wrong about it: configuration with examples, keys in documentation, units of all kinds.
    packages: [
      ...['systemd-sysv', 'dbus', 'polkitd', 'sudo', 'cron', 'openssh-server', 'dropbear-bin', 'xinetd', 'lightdm'],
      ...[
        'network-manager',
        'wpasupplicant',
        'hostapd',
        'iwd',
        'ifupdown',
        'isc-dhcp-client',
        'dnsmasq',
        'avahi-daemon',
      ],
      ...[
        'mosquitto',
        'nginx-light',
        'ssl-cert',
        'curl',
        'git',
        'openssl',
        'python3',
        'python3-cryptography',
        'nodejs',
        'npm',
      ],
      ...['libnet-ssleay-perl'],
    ],
    errors: [
      MACHINE_ID,
      { code: 'host-key', path: /^\/etc\/ssh\/ssh_host_[a-z0-9]+_key$/, proof: ['ssh-keygen', '-y', '-P', '', '-f'] },
      {
        code: 'private-key',
        path: /^\/etc\/ssl\/private\/ssl-cert-snakeoil\.key$/,
        proof: ['openssl', 'pkey', '-noout', '-in'],
      },
    ],
  },
];

/** The kept root; made when there is none. */
export async function makeStockRoot(root: StockRoot, cache: string): Promise<string> {
  const kept = join(cache, root.name);
  if (existsSync(kept)) return kept;
  await mkdir(cache, { recursive: true });
  const fresh = `${kept}.new`;
  const base =
    root.packages.length === 0 ? undefined : STOCK_ROOTS.find((one) => one.suite === root.suite && one !== root);
  if (base === undefined) {
    await rm(fresh, { recursive: true, force: true });
    await needProgram('debootstrap', ['--variant=minbase', root.suite, fresh]);
  } else await addPackages(await makeStockRoot(base, cache), fresh, root.packages);
  await rename(fresh, kept);
  return kept;
}

/** With the scripts of the packages, as an image builder runs them: what they leave behind is what is looked for. */
async function addPackages(base: string, fresh: string, packages: readonly string[]): Promise<void> {
  const chroot = await Chroot.copyOf(base, fresh);
  const noServices = join(fresh, 'usr/sbin/policy-rc.d');
  await writeFile(noServices, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const commands = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')} && apt-get clean`;
  const { status, stderr } = await chroot.run('sh', '-c', commands);
  if (status !== 0) throw new Error(`apt-get ended with ${status}: ${stderr.trim().split('\n').slice(-3).join(' | ')}`);
  await rm(noServices);
}
