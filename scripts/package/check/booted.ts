/**
 * The adopted package under a real systemd: a Debian root is booted in a container (systemd-nspawn), and the unit's own
 * sandbox is asked from inside what it allows, a reboot last.
 *
 * Not shown here: device access (DeviceAllow) and memory limits, which a container of this kind does not hand on.
 */
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram, runProgram } from '../../programs.ts';
import type { BuiltPackage } from '../build-packages.ts';
import type { Chroot } from './debian-root.ts';
import { placeDeviceFiles } from './device-files.ts';
import type { Cases } from './suite.ts';

/** A container that says nothing for this long has hung. */
const BOOT_LIMIT_SECONDS = 240;
/** How systemd-nspawn ends when what it contains rebooted, and it is not to boot it again itself (--keep-unit). */
const ASKS_FOR_REBOOT = 133;
const STATE = '/var/lib/holdfast';

/** Runs inside the unit's sandbox, before the agent. `yes` and `no` are what the kernel answered. */
const INSIDE = `#!/bin/sh
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name yes"; else echo "$name no"; fi; }
{
  try write-etc touch /etc/holdfast/probe
  try write-usr touch /usr/lib/holdfast/probe
  try write-home touch /root/probe
  try write-state touch ${STATE}/probe-write
  try write-boot touch /boot/probe
  try write-lock touch /run/lock/probe
  try mount mount -t tmpfs none /tmp
  try mknod mknod ${STATE}/node b 7 0
  try chown chown 1:1 ${STATE}/probe-write
  try hostname hostname other
  try set-clock date -s 2001-01-01
  try namespace unshare --user true
  try kernel-setting sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
  try direct-memory /usr/lib/holdfast/node -e 'new WebAssembly.Memory({ initial: 16, maximum: 16 })'
  try systemctl systemctl is-active dbus.socket
  grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
} > ${STATE}/inside.txt
if [ -e ${STATE}/ask-reboot ]; then rm ${STATE}/ask-reboot; reboot '0 tryboot'; sleep 30; fi
exit 0
`;

/** Runs outside it, as the system's own last service. */
const OUTSIDE = `#!/bin/sh
for i in $(seq 60); do [ -e ${STATE}/status.json ] && break; sleep 1; done
# A container's boot id is laid over the kernel's, and the sandbox lays it bare: ask as the agent sees it.
see="nsenter --mount --target $(systemctl show -p MainPID --value holdfast-agent)"
{ systemctl show -p ActiveState,SubState,NRestarts holdfast-agent; $see holdfast-agent status --config /etc/holdfast/agent.json; } > /outside.txt 2>&1
touch ${STATE}/ask-reboot
systemctl --no-block restart holdfast-agent
`;

const ALLOWED = ['write-state', 'write-boot', 'write-lock', 'direct-memory', 'systemctl'];
const REFUSED = [
  'write-etc',
  'write-usr',
  'write-home',
  'mount',
  'mknod',
  'chown',
  'hostname',
  'set-clock',
  'namespace',
  'kernel-setting',
];

export async function checkBooted(root: Chroot, built: BuiltPackage, files: string, cases: Cases): Promise<void> {
  await root.install(built.path);
  await placeDeviceFiles(files, root.path);
  const adopted = await root.run('holdfast-agent', 'adopt', '--answers', '/etc/holdfast/answers.json', '--yes');
  cases.check(
    'is adopted in an image that is not running',
    adopted.status === 0 ? [] : [adopted.stdout, adopted.stderr],
  );
  await plant(root.path);
  // A container's own wait for a console that nobody opens has no end.
  const run = await runProgram('timeout', [
    String(BOOT_LIMIT_SECONDS),
    'systemd-nspawn',
    ...['--directory', root.path, '--boot', '--register=no', '--keep-unit', '--console=pipe'],
  ]);
  const read = (path: string): Promise<string> => readFile(join(root.path, path), 'utf8').catch(() => '');
  const outside = await read('outside.txt');
  const said = outside === '' ? [run.stdout.slice(-800), run.stderr.slice(-800)] : [];
  cases.check('boots', said);
  if (said.length > 0) return;
  cases.holds('the unit runs, without a restart', outside, 'ActiveState=active', 'SubState=running', 'NRestarts=0');
  cases.holds('the agent works in its sandbox', outside, 'agent     running', 'state     idle');
  const inside = await read(`${STATE}/inside.txt`);
  cases.holds('the sandbox allows what an update needs', inside, ...ALLOWED.map((name) => `${name} yes`));
  cases.holds('the sandbox refuses everything else', inside, ...REFUSED.map((name) => `${name} no`));
  cases.holds(
    'no capability, no new privileges, calls filtered',
    inside,
    'CapBnd:\t0000000000000000',
    'NoNewPrivs:\t1',
    'Seccomp:\t2',
  );
  cases.holds('a reboot with its argument goes through systemd', await read('reboot-parameter'), '0 tryboot');
  cases.check(
    '… and it is one',
    run.status === ASKS_FOR_REBOOT ? [] : [`status ${run.status}`, run.stderr.slice(-400)],
  );
}

async function plant(root: string): Promise<void> {
  const units = join(root, 'etc/systemd/system');
  for (const [name, text] of [
    ['inside.sh', INSIDE],
    ['outside.sh', OUTSIDE],
  ] as const) {
    await writeFile(join(root, name), text);
    await chmod(join(root, name), 0o755);
  }
  await mkdir(join(units, 'holdfast-agent.service.d'), { recursive: true });
  await writeFile(join(units, 'holdfast-agent.service.d/probe.conf'), '[Service]\nExecStartPre=/inside.sh\n');
  await writeFile(
    join(units, 'outside.service'),
    '[Unit]\nAfter=holdfast-agent.service\n[Service]\nExecStart=/outside.sh\nType=exec\n',
  );
  // The argument stands in /run until the last moment.
  await writeFile(
    join(units, 'keep-argument.service'),
    '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/sh -c "cp /run/systemd/reboot-param /reboot-parameter"\n',
  );
  for (const name of ['outside.service', 'keep-argument.service'])
    await symlink(`/etc/systemd/system/${name}`, join(units, 'multi-user.target.wants', name));
  await needProgram('rm', ['-f', join(root, 'etc/machine-id')]);
  await writeFile(join(root, 'etc/machine-id'), '');
}
