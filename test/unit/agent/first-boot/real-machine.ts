/**
 * A first boot against the real sshd, ssh and crypt of this machine, in a mount namespace of its own: /etc, /root and
 * /run are copies, so nothing of the machine is changed. Started by private-sshd.test.ts as
 *   unshare --mount --propagation private node real-machine.ts FOLDER NAMESPACE (in-place|bound|cuts) [CUTS]
 * where NAMESPACE is what /proc/self/ns/mnt says outside: without another one it does nothing.
 * Prints one line of JSON: what was accepted and what the checks said, step by step; with `cuts`, of each cut.
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CredentialProvider, SecretSource } from '../../../../agent/core/first-boot-ports.ts';
import { type LoginTry, PrivateSshd } from '../../../../agent/first-boot/private-sshd.ts';
import { AuthorizedKeys } from '../../../../agent/first-boot/providers/authorized-keys.ts';
import { SshHostKeys } from '../../../../agent/first-boot/providers/ssh-host-keys.ts';
import { UnixPasswords } from '../../../../agent/first-boot/providers/unix-passwords.ts';
import { openWorld } from '../../../../agent/first-boot/world.ts';
import { type Disk, nodeDisk } from '../../../../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../../../../platform/durable-file.ts';
import { seededRandom } from '../../../../scripts/seeded-random.ts';
import { demandOwnNamespace } from './own-namespace.ts';

const PACKAGED_ASKPASS = join(import.meta.dirname, '../../../../agent/systemd/first-boot/askpass');
const [folder = '', callersNamespace, way = 'in-place', wantedCuts = '0'] = process.argv.slice(2);
const OWNER_KEY = `ssh-ed25519 ${'A'.repeat(67)}= owner`;
/** The gate takes a sample; docs/FIRST_BOOT.md names the command for all. */
const CUTS = Number(wantedCuts);
const FACTORY_TRIES = [
  { user: 'root', password: 'xc3511' },
  { user: 'pi', password: 'raspberry' },
  { user: 'guest', password: '' },
];

const sh = (command: string): string =>
  execFileSync('sh', ['-c', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const crypt = (password: string, setting: string): string =>
  execFileSync('perl', ['-e', 'my ($w, $s) = split /\n/, join("", <STDIN>); print crypt($w, $s)'], {
    input: `${password}\n${setting}\n`,
    encoding: 'utf8',
  });

/** The image: two well-known passwords, an empty one, host keys and a stranger's key for root. */
function layOut(): void {
  demandOwnNamespace(callersNamespace);
  for (const path of ['etc', 'root/.ssh', 'home/pi/.ssh', 'data']) mkdirSync(join(folder, path), { recursive: true });
  cpSync('/etc', join(folder, 'etc'), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  // Refusals need not be waited for here.
  const auth = join(folder, 'etc/pam.d/common-auth');
  writeFileSync(auth, readFileSync(auth, 'utf8').replace('pam_unix.so nullok', 'pam_unix.so nullok nodelay'));
  // cpSync keeps no owners.
  const add = (path: string, lines: string[]): void =>
    writeFileSync(join(folder, path), `${[readFileSync(join(folder, path), 'utf8').trim(), ...lines].join('\n')}\n`);
  const home = join(folder, 'home/pi');
  add('etc/passwd', [`pi:x:4711:4711::${home}:/bin/sh`, `guest:x:4712:4712::/:/bin/sh`]);
  const shadow = readFileSync(join(folder, 'etc/shadow'), 'utf8')
    .split('\n')
    .filter((line) => !line.startsWith('root:'));
  const yescrypt = crypt('raspberry', '$y$j9T$F5Jx5fExrKuPp53xLKQ..1$');
  shadow.unshift(`root:${crypt('xc3511', '$6$factory$')}:18000:0:99999:7:::`);
  writeFileSync(
    join(folder, 'etc/shadow'),
    `${shadow.join('\n').trim()}\npi:${yescrypt}:18000:0:99999:7:::\nguest::18000:0:99999:7:::\n`,
    { mode: 0o640 },
  );
  cpSync(join(folder, 'etc/shadow'), join(folder, 'shadow.factory'));
  for (const name of readdirSync(join(folder, 'etc/ssh')))
    if (name.startsWith('ssh_host_')) rmSync(join(folder, 'etc/ssh', name));
  for (const type of ['ed25519', 'rsa']) sh(`ssh-keygen -q -t ${type} -N '' -f ${folder}/etc/ssh/ssh_host_${type}_key`);
  for (const path of ['root', 'home/pi'])
    writeFileSync(join(folder, path, '.ssh/authorized_keys'), `ssh-ed25519 ${'B'.repeat(67)}= factory\n`, {
      mode: 0o600,
    });
  sh(`mount --bind ${folder}/root /root`);
  sh(`mount --bind ${folder}/etc /etc`);
  sh('mount -t tmpfs -o mode=755,noexec tmpfs /run');
  if (way === 'bound') sh('mount -o remount,bind,ro /etc && mount -o remount,bind,ro /root');
  // As systemd has every mount: what is bound from /run over a file is then a peer of /run itself.
  sh('mount --make-rshared /');
}

const secrets: SecretSource = { bytes: (length) => new Uint8Array(randomBytes(length)) };
/** The machine's disk, at which this process dies after so many changes. */
function dyingDisk(changes: number): { readonly disk: Disk; readonly done: () => number } {
  let done = 0;
  const counted = <T extends unknown[], R>(change: (...given: T) => Promise<R>) => {
    return async (...given: T): Promise<R> => {
      done += 1;
      if (done > changes) throw new Error('cut');
      return change(...given);
    };
  };
  const disk: Disk = {
    ...nodeDisk,
    async open(path, mode, permissions) {
      if (mode === 'read') return nodeDisk.open(path, mode);
      const file = await counted(nodeDisk.open)(path, mode, permissions);
      const { write, sync, truncate } = file;
      return Object.assign(file, {
        write: counted(write.bind(file)),
        sync: counted(sync.bind(file)),
        truncate: counted(truncate.bind(file)),
      });
    },
    rename: counted(nodeDisk.rename),
    remove: counted(nodeDisk.remove),
    makeDirectory: counted(nodeDisk.makeDirectory),
    syncDirectory: counted(nodeDisk.syncDirectory),
  };
  return { disk, done: () => done };
}

const worldOn = (disk: Disk) =>
  openWorld(
    {
      root: '/',
      dataDirectory: join(folder, 'data'),
      way: 'auto',
      scratchDirectory: '/run/holdfast',
      ownerKeys: [OWNER_KEY],
      nowUnixMs: () => Date.now(),
    },
    disk,
  );

const providers = (disk: Disk = nodeDisk): CredentialProvider[] => {
  const world = worldOn(disk);
  return [
    new SshHostKeys(world, { types: ['ed25519'] }),
    new UnixPasswords(world, { breakGlass: 'root' }),
    new AuthorizedKeys(world, { accounts: ['root'] }),
  ];
};

function stagingOf(epoch: number, provider: CredentialProvider) {
  const at = join(folder, 'data', `staging-${epoch}-${provider.name}`);
  return {
    epoch,
    read: (name: string, capBytes: number) => nodeDisk.readFile(join(at, name), capBytes),
    async write(name: string, bytes: Uint8Array) {
      await makeDirectoryDurably(nodeDisk, at);
      await writeDurably(nodeDisk, join(at, name), bytes);
    },
  };
}

/** A PAM that takes two seconds over each of four refusals, in connections of three seconds. */
async function triedSlowly(): Promise<unknown> {
  const steps = ['auth optional pam_faildelay.so delay=2000000', 'auth required pam_unix.so nodelay'];
  steps.push('account required pam_permit.so', 'session required pam_permit.so');
  writeFileSync('/etc/pam.d/sshd', `${steps.join('\n')}\n`);
  const sshd = await PrivateSshd.open('/run/holdfast', PACKAGED_ASKPASS, 3000);
  if ('missing' in sshd) return sshd.missing;
  try {
    const tries = ['first', 'second', 'third', 'fourth'].map((password) => ({ user: 'root', password }));
    return await sshd.tryPasswords(tries);
  } finally {
    await sshd.close();
  }
}

async function accepted(tries: readonly LoginTry[]): Promise<string[] | string> {
  // Both that there are: Node, where no package is installed, as on this machine, and the package's own.
  const sshd = await PrivateSshd.open('/run/holdfast', way === 'bound' ? PACKAGED_ASKPASS : undefined);
  if ('missing' in sshd) return sshd.missing;
  try {
    const result = await sshd.tryPasswords(tries);
    return result.unclear ?? result.accepted.map(({ user }) => user).sort();
  } finally {
    await sshd.close();
  }
}

/** The slot as a reboot finds it: nothing is bound yet; in place, an update has put the factory's files back. */
function bringFactoryBack(): void {
  if (way === 'bound')
    return void sh(
      "while mount | grep -q ' on /etc/'; do umount -l $(mount | sed -n 's/.* on \\(\\/etc\\/[^ ]*\\) .*/\\1/p'); done",
    );
  cpSync(join(folder, 'shadow.factory'), '/etc/shadow');
  sh("rm -f /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key");
}

const apply = async (epoch: number, list: readonly CredentialProvider[]): Promise<void> => {
  for (const one of list) await one.apply(stagingOf(epoch, one));
};

/** The rotation of a factory-fresh device, cut at a change of the disk that a seed chooses, then done again. */
async function cutMany(): Promise<void> {
  layOut();
  sh(`cp -a /etc ${folder}/etc.factory && cp -a /root ${folder}/root.factory`);
  const random = seededRandom(5);
  const cuts: unknown[] = [];
  let changes = Number.POSITIVE_INFINITY;
  for (let number = 0; number <= CUTS; number += 1) {
    sh(
      `cd ${folder} && rm -rf data && mkdir data && find /etc /root -xdev -mindepth 1 -delete && cp -a etc.factory/. /etc/ && cp -a root.factory/. /root/`,
    );
    let typed = '';
    for (const one of providers())
      for (const secret of await one.stage(stagingOf(1, one), secrets)) typed = secret.text;
    // The first one is not cut: it counts.
    const after = number === 0 ? changes : Math.floor(random() * changes);
    const dying = dyingDisk(after);
    await apply(1, providers(dying.disk)).catch((error) => {
      if (!(error instanceof Error) || error.message !== 'cut') throw error;
    });
    if (number === 0) changes = dying.done();
    const rebooted = providers();
    await apply(1, rebooted);
    const said = await accepted([...FACTORY_TRIES, { user: 'root', password: typed }]);
    cuts.push({
      after,
      said,
      checks: [
        await rebooted[0]?.verifyNew(),
        await rebooted[0]?.verifyOldRefused(),
        await rebooted[2]?.verifyOldRefused(),
      ].map((one) => one?.ok),
    });
  }
  process.stdout.write(`${JSON.stringify({ changes, cuts: cuts.slice(1) })}\n`);
}

/** What systemd starts with `ProtectSystem=` or its like: it has a view of its own, made before what comes later. */
async function startService(): Promise<{ sees(path: string): boolean; end(): void }> {
  const child = spawn('unshare', ['--mount', '--propagation', 'slave', 'sleep', 'infinity'], { stdio: 'ignore' });
  while (readlinkSync(`/proc/${child.pid}/ns/mnt`) === readlinkSync('/proc/self/ns/mnt')) await sleep(10);
  return {
    sees: (path) => readFileSync(path).equals(readFileSync(`/proc/${child.pid}/root${path}`)),
    end: () => void child.kill(),
  };
}

async function main(): Promise<void> {
  layOut();
  const said: { [step: string]: unknown } = {};
  const slotDigest = () => sh(`cd ${folder}/etc && sha256sum shadow ssh/ssh_host_* | sha256sum`);
  const untouched = slotDigest();
  said.before = await accepted([...FACTORY_TRIES, { user: 'root', password: 'wrong' }]);
  writeFileSync('/run/nologin', 'the system is starting');
  said.beforeWhileStarting = await accepted(FACTORY_TRIES);
  rmSync('/run/nologin');
  const first = providers();
  said.inspectedBefore = (await Promise.all(first.map((one) => one.inspect())))
    .flat()
    .filter(({ state }) => state === 'factory')
    .map(({ name }) => name)
    .sort();
  let typed = '';
  for (const one of first) for (const secret of await one.stage(stagingOf(1, one), secrets)) typed = secret.text;
  await apply(1, first);
  await apply(1, first);
  const started = Date.now();
  said.verifyNew = await Promise.all(first.map((one) => one.verifyNew()));
  said.verifyOld = await Promise.all(first.map((one) => one.verifyOldRefused()));
  said.verifySeconds = (Date.now() - started) / 1000;
  said.after = await accepted([...FACTORY_TRIES, { user: 'root', password: typed }]);
  said.inspected = (await Promise.all(first.map((one) => one.inspect())))
    .flat()
    .map(({ name, state, epoch }) => `${name} ${state} ${epoch}`)
    .sort();
  said.hostKeyModes = ['', '.pub'].map((end) =>
    (statSync(`/etc/ssh/ssh_host_ed25519_key${end}`).mode & 0o777).toString(8),
  );
  said.rsaLeft = existsSync('/etc/ssh/ssh_host_rsa_key') && statSync('/etc/ssh/ssh_host_rsa_key').size > 0;
  said.rootKeys = readFileSync('/root/.ssh/authorized_keys', 'utf8').trim().split(' ').at(-1);
  const pis = join(folder, 'home/pi/.ssh/authorized_keys');
  said.piKeys = existsSync(pis) ? readFileSync(pis, 'utf8') : '';
  if (way === 'bound') said.slotUntouched = slotDigest() === untouched;

  bringFactoryBack();
  said.factoryBack = await accepted([...FACTORY_TRIES, { user: 'root', password: typed }]);
  const rebooted = providers();
  said.oldBeforeReconcile =
    (await Promise.all(rebooted.map((one) => one.verifyOldRefused()))).filter(({ ok }) => !ok).length > 0;
  for (const one of rebooted) await one.reconcile();
  for (const one of rebooted) await one.reconcile();
  said.mountsOverShadow = sh("grep -c ' /etc/shadow ' /proc/self/mountinfo || true").trim();
  said.reconciled = await accepted([...FACTORY_TRIES, { user: 'root', password: typed }]);
  said.hostKeysAfter = [await rebooted[0]?.verifyNew(), await rebooted[0]?.verifyOldRefused()];

  const second = providers();
  let newer = '';
  for (const one of second) for (const secret of await one.stage(stagingOf(2, one), secrets)) newer = secret.text;
  const service = await startService();
  try {
    await apply(2, second);
    said.sameInService = service.sees('/etc/ssh/ssh_host_ed25519_key.pub') && service.sees('/etc/shadow');
  } finally {
    service.end();
  }
  said.rotated = [
    await accepted([{ user: 'root', password: typed }]),
    await accepted([{ user: 'root', password: newer }]),
  ];
  said.rotatedChecks = [
    ...(await Promise.all(second.map((one) => one.verifyNew()))),
    ...(await Promise.all(second.filter(({ name }) => name !== 'unix-passwords').map((one) => one.verifyOldRefused()))),
  ].map(({ ok }) => ok);
  if (way === 'in-place') {
    const stack = ['auth', 'account', 'password', 'session'].map((step) => `${step} required pam_permit.so\n`).join('');
    writeFileSync('/etc/pam.d/sshd', stack);
    said.pamLetsAllIn = await second[1]?.verifyOldRefused();
    said.slow = await triedSlowly();
  }
  for (const one of second) await one.wipe();
  for (const one of second) await one.wipe();
  said.wiped = readFileSync('/etc/shadow', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(':')[1])
    .filter((field) => !/^[*!]+$/.test(field ?? ''));
  // The boot that wiped goes on to the next epoch.
  for (const one of second) await one.stage(stagingOf(3, one), secrets);
  await apply(3, second);
  said.afterWipe = await Promise.all(second.map((one) => one.verifyNew()));
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

await (way === 'cuts' ? cutMany() : main());
