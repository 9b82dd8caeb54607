/**
 * The first boot of the package itself, in a container: it opens by itself, the image's password and host keys are gone,
 * and what a person sets at the device works.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { askUntil } from '../demo/patience.ts';
import type { Container } from './container.ts';
import { lay } from './device-files.ts';
import { FACTORY_LOGIN, logIn } from './logins.ts';

/** It asks a private sshd for every well-known password; each refusal takes PAM two seconds. */
const OPEN_LIMIT_MS = 15 * 60_000;
const ASK_MS = 500;
const CONFIG = '/etc/holdfast/agent.json';
const CHOSEN = 'five random words here';

/** A whole machine-id is there once PID 1 has made one: then it reboots once by itself, as on a device. */
export async function opensByItself(container: Container): Promise<void> {
  let reboots = 0;
  const opened = await askUntil(OPEN_LIMIT_MS, ASK_MS, async () => {
    if (container.isDown && reboots < 2) {
      reboots += 1;
      await container.powerOn();
    }
    return (await container.property('holdfast-open.service', 'ActiveState')) === 'active' ? true : undefined;
  });
  if (opened === undefined) {
    const said = await container.run('journalctl', '--boot', '--no-pager', '--lines=40', '--unit=holdfast-*');
    throw new Error(`it does not open: ${said.stdout}\n${(await container.console()).slice(-1500)}`);
  }
  await container.becomes('ssh.service', ['active'], OPEN_LIMIT_MS);
}

export async function seeOwnSecrets(container: Container): Promise<readonly string[]> {
  const findings = [...(await logIn(container, FACTORY_LOGIN, 'refused')), ...(await hostKeysOf(container))];
  await lay(container.root, 'run-logins/chosen', `${CHOSEN}\n`, 0o600);
  const words = ['holdfast-agent', 'password', '--user', FACTORY_LOGIN.user, '--config', CONFIG, '--stdin'];
  const set = await container.run('sh', '-c', `${words.join(' ')} < /run-logins/chosen`);
  if (set.status !== 0) findings.push(`holdfast-agent password ends with ${set.status}: ${set.stderr.trim()}`);
  findings.push(...(await logIn(container, { ...FACTORY_LOGIN, password: CHOSEN }, 'accepted')));
  findings.push(...(await logIn(container, FACTORY_LOGIN, 'refused')));
  return findings;
}

/** None of those that the image brought, which stand aside in the kept root. */
async function hostKeysOf(container: Container): Promise<string[]> {
  const folder = join(container.root, 'etc/ssh');
  const shown = (await container.run('ssh-keyscan', '-T', '60', '127.0.0.1')).stdout;
  const image = await readFile(join(container.root, 'factory-host-keys'), 'utf8');
  const keys = image.split('\n').filter((line) => line !== '');
  const left = keys.filter((key) => shown.includes(key));
  const files = (await readdir(folder)).filter((name) => /^ssh_host_.*_key$/.test(name));
  return [
    ...(keys.length === 0 ? ['the image had no host key: nothing is shown by this'] : []),
    ...(shown.includes('ssh-ed25519 ') ? [] : [`sshd shows no host key: ${shown.trim()}`]),
    ...left.map((key) => `sshd shows a host key of the image: ${key.slice(0, 40)}`),
    ...(files.join() === 'ssh_host_ed25519_key' ? [] : [`host keys on the device: ${files.join(', ')}`]),
  ];
}
