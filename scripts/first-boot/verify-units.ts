/** What systemd thinks of the gates' units, as the package lays them out and holdfast-gates binds others to them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needProgram, runProgram } from '../programs.ts';
import { makeDevice } from './device-files.ts';

const UNITS = [
  ...['holdfast-quiet.service', 'holdfast-quiet-guard.service', 'holdfast-firstboot.service', 'holdfast-open.service'],
  ...['holdfast-quiet.timer', 'holdfast-firstboot.timer', 'holdfast-open.timer'],
  // With their drop-ins: a cycle in the order of a boot would show here.
  ...['multi-user.target', 'ssh.service', 'emergency.service', 'rescue.service', 'systemd-networkd.service'],
];

/** Lines that systemd-analyze has to say of them; empty: all is well. `kept` is a Debian root, not written. */
export async function verifyUnits(kept: string): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-verify-'));
  const [root, upper, work] = [join(folder, 'root'), join(folder, 'upper'), join(folder, 'work')];
  try {
    await needProgram('mkdir', [root, upper, work]);
    const layers = `lowerdir=${kept},upperdir=${upper},workdir=${work}`;
    await needProgram('mount', ['-t', 'overlay', 'overlay', '-o', layers, root]);
    try {
      await makeDevice(root, '0', true);
      const enter = ['--mount', '--pid', '--fork', `--mount-proc=${root}/proc`, 'chroot', root];
      const { status, stdout, stderr } = await runProgram('unshare', [
        ...enter,
        'systemd-analyze',
        'verify',
        '--man=no',
        ...UNITS,
      ]);
      const lines = `${stdout}${stderr}`.split('\n').filter((line) => line.trim() !== '');
      return status === 0 ? lines : [`ended with status ${status}`, ...lines];
    } finally {
      await needProgram('umount', [root]);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
