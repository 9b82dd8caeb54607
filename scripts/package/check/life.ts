/**
 * One package's whole life in a Debian root, with a picture of every file before and after each step: installed, asked
 * what adopting would change, adopted, given back, adopted again, removed, purged.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../../programs.ts';
import type { BuiltPackage } from '../build-packages.ts';
import type { Chroot } from './debian-root.ts';
import { placeDeviceFiles } from './device-files.ts';
import { difference, type Snapshot, snapshot } from './snapshot.ts';
import type { Cases } from './suite.ts';

const WATCHED = ['/etc', '/boot', '/usr', '/var'];
/** dpkg's own books and log: that it knows the package is what installing means. */
const BOOKS = ['/var/lib/dpkg', '/var/log/dpkg.log'];
const DEVICE_FILES = ['root.json', 'server-ca.pem', 'claim.json', 'answers.json'];
const WANTS = '/etc/systemd/system/multi-user.target.wants/holdfast-agent.service';
const ADOPT = ['holdfast-agent', 'adopt', '--answers', '/etc/holdfast/answers.json'];
const GATES = '/usr/lib/holdfast/first-boot/holdfast-gates';
const GATE_UNITS = ['quiet', 'quiet-guard', 'firstboot', 'open'].map((name) => `holdfast-${name}.service`);
const AGENT_FILES =
  /^\+ \/(etc\/holdfast|usr\/(bin\/holdfast-agent|lib\/holdfast(\/.*)?|lib\/systemd\/system(-preset)?(\/.*)?|share\/(holdfast-agent|doc\/holdfast-agent(-node)?|lintian|man)(\/.*)?))$/;

export async function checkLife(root: Chroot, built: BuiltPackage, files: string, cases: Cases): Promise<void> {
  const look = (): Promise<Snapshot> => snapshot(root.path, WATCHED, BOOKS);
  const before = await look();
  const installed = await root.install(built.path);
  cases.check('installs', installed.status === 0 ? [] : [installed.stderr]);
  const fresh = await look();
  const added = difference(before, fresh);
  cases.check('installing adds files of its own and changes nothing', [
    ...added.filter((line) => !AGENT_FILES.test(line)),
    ...(added.length === 0 ? ['nothing was added'] : []),
  ]);
  cases.holds(
    'is inactive and not enabled',
    (await root.run('systemctl', 'is-enabled', 'holdfast-agent')).stdout,
    'disabled',
  );
  await checkGates(root, cases, look, fresh);
  const version = await root.run('holdfast-agent', '--version');
  cases.check(
    'says its version',
    version.stdout.trim() === built.path.split('_')[1] ? [] : [version.stdout, version.stderr],
  );
  const bare = await root.run('holdfast-agent', 'adopt');
  cases.holds(
    'without a configuration, adopt says what is missing',
    bare.stdout,
    'missing',
    '/etc/holdfast/agent.json',
  );
  cases.check('… and ends with 4', bare.status === 4 ? [] : [`status ${bare.status}`, bare.stderr]);
  await placeDeviceFiles(files, root.path);
  await checkAdoption(root, cases, look);
  await checkRemoval(root, built, files, before, cases, look);
}

/** Put up by one command, in /etc alone; taken away by another, without a trace. */
async function checkGates(root: Chroot, cases: Cases, look: () => Promise<Snapshot>, fresh: Snapshot): Promise<void> {
  const enabled = await root.run(GATES, 'enable');
  const added = difference(fresh, await look());
  cases.check('holdfast-gates enable adds drop-ins and changes nothing', [
    ...added.filter((line) => !/^\+ \/etc\/systemd\/system\/[^/]+\.d(\/10-holdfast-gate\.conf)?$/.test(line)),
    ...(enabled.status === 0 && added.length > 0 ? [] : [enabled.stderr]),
  ]);
  const verified = await root.run('systemd-analyze', 'verify', '--man=no', ...GATE_UNITS);
  cases.check('systemd has nothing to say of the gates', verified.status === 0 ? [] : [verified.stderr]);
  await root.run(GATES, 'disable');
  cases.check('holdfast-gates disable takes every one away', difference(fresh, await look()));
}

async function checkAdoption(root: Chroot, cases: Cases, look: () => Promise<Snapshot>): Promise<void> {
  const stocked = await look();
  const dry = await root.run(...ADOPT);
  cases.check('adopt without --yes changes nothing', [
    ...difference(stocked, await look()),
    ...(dry.status === 0 ? [] : [`status ${dry.status}`, dry.stdout, dry.stderr]),
  ]);
  const made = ['/etc/holdfast/adopted.json', '/etc/holdfast/agent.json', WANTS, '/var/lib/holdfast'].map(
    (path) => `+ ${path}`,
  );
  cases.holds(
    '… and lists what it would',
    dry.stdout,
    'would change',
    '/var/lib/holdfast',
    '/etc/holdfast/agent.json',
    'enable',
  );
  const yes = await root.run(...ADOPT, '--yes');
  const adopted = await look();
  cases.check('adopt --yes makes exactly that', [
    ...(yes.status === 0 ? [] : [`status ${yes.status}`, yes.stdout, yes.stderr]),
    ...unlike(difference(stocked, adopted), made),
  ]);
  const mode = adopted.get('/var/lib/holdfast') ?? 'none';
  cases.check('the data folder is 0700', mode.startsWith('folder 700 0:0') ? [] : [mode]);
  await root.run(...ADOPT, '--yes');
  cases.check('adopt --yes again changes nothing', difference(adopted, await look()));
  const undo = await root.run('holdfast-agent', 'adopt', '--undo');
  cases.check('adopt --undo restores every byte', [
    ...difference(stocked, await look()),
    ...(undo.status === 0 ? [] : [`status ${undo.status}`, undo.stderr]),
  ]);
  await root.run(...ADOPT, '--yes');
  const doctor = await root.run('holdfast-agent', 'doctor', '--config', '/etc/holdfast/agent.json');
  // No server answers here, so the doctor must say so, and nothing else may be missing.
  const missing = doctor.stdout.split('\n').filter((line) => /^missing /.test(line) && !/^missing +server /.test(line));
  cases.check(
    'doctor runs, and misses only the server',
    doctor.stdout.includes('trusted-root') ? missing : [doctor.stderr],
  );
}

/** What a device has after its first minutes: the agent has run, and kept what it trusts. */
async function runAgent(root: Chroot): Promise<void> {
  await root.run('timeout', '20', 'holdfast-agent', 'run', '--config', '/etc/holdfast/agent.json');
}

/** The device is adopted. */
async function checkRemoval(
  root: Chroot,
  built: BuiltPackage,
  files: string,
  before: Snapshot,
  cases: Cases,
  look: () => Promise<Snapshot>,
): Promise<void> {
  await runAgent(root);
  await root.run(GATES, 'enable');
  const removed = await root.run('dpkg', '--remove', built.variant);
  cases.check('is removed', removed.status === 0 ? [] : [removed.stderr]);
  cases.holds('removal says what it leaves', removed.stdout, 'left: /var/lib/holdfast');
  const purged = await root.run('dpkg', '--purge', built.variant);
  cases.holds('purge keeps the state, and says so', purged.stdout, '/var/lib/holdfast stays');
  await takeDeviceFiles(root);
  const state = difference(before, await look());
  cases.check('nothing but the state is left', [
    ...state.filter((line) => !/^\+ \/var\/lib\/holdfast(\/|$)/.test(line)),
    ...(state.length === 0 ? ['the state is gone'] : []),
  ]);
  await root.install(built.path);
  await placeDeviceFiles(files, root.path);
  await root.run(...ADOPT, '--yes');
  await runAgent(root);
  await takeDeviceFiles(root);
  const asked = await root.run('env', 'HOLDFAST_PURGE_STATE=yes', 'dpkg', '--purge', built.variant);
  cases.holds(
    'asked for it, purge takes the state too, and says so',
    asked.stdout,
    'trusted root and sequence are gone',
  );
  cases.check('after that every byte is as before', difference(before, await look()));
}

/** What a person put there, a person takes away. */
async function takeDeviceFiles(root: Chroot): Promise<void> {
  for (const name of DEVICE_FILES) await rm(join(root.path, 'etc/holdfast', name), { force: true });
  await needProgram('sh', [
    '-c',
    'rmdir "$1" 2>/dev/null || [ ! -e "$1" ] || [ "$(ls -A "$1")" != "" ]',
    'sh',
    join(root.path, 'etc/holdfast'),
  ]);
}

function unlike(found: readonly string[], wanted: readonly string[]): string[] {
  return [
    ...found.filter((line) => !wanted.includes(line)),
    ...wanted.filter((line) => !found.includes(line)).map((line) => `not there: ${line}`),
  ];
}
