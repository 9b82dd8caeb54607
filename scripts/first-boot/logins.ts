/** A password tried at the device's own sshd, with the real ssh, on its loopback: what it accepts there, it accepts of everybody. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needProgram } from '../programs.ts';
import { judgedLogin } from '../qemu/first-boot/stranger-logins.ts';
import type { Container } from './container.ts';
import { lay } from './device-files.ts';

export interface Login {
  readonly user: string;
  readonly password: string;
}

/** As Raspberry Pi OS had it for years. */
export const FACTORY_LOGIN: Login = { user: 'pi', password: 'raspberry' };
const WORDS = [
  ...['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=INFO'],
  ...['-o', 'PreferredAuthentications=password,keyboard-interactive', '-o', 'PubkeyAuthentication=no'],
  ...['-o', 'NumberOfPasswordPrompts=1', '-o', 'ConnectTimeout=60'],
];

/** The account that everybody knows, in the image. */
export async function plantFactoryLogin(root: string): Promise<void> {
  const { user, password } = FACTORY_LOGIN;
  const { stdout } = await needProgram('openssl', ['passwd', '-6', '-stdin'], { input: `${password}\n` });
  const append = async (path: string, line: string): Promise<void> =>
    writeFile(join(root, path), `${(await readFile(join(root, path), 'utf8')).trimEnd()}\n${line}\n`);
  await append('etc/passwd', `${user}:x:4711:4711::/:/bin/sh`);
  await append('etc/group', `${user}:x:4711:`);
  await append('etc/shadow', `${user}:${stdout.trim()}:19000:0:99999:7:::`);
}

/** A finding when sshd says anything else. */
export async function logIn(
  container: Container,
  { user, password }: Login,
  wanted: 'accepted' | 'refused',
): Promise<readonly string[]> {
  await lay(container.root, 'run-logins/password', `${password}\n`, 0o600);
  await lay(container.root, 'run-logins/askpass', '#!/bin/sh\ncat /run-logins/password\n', 0o700);
  const env = ['env', 'SSH_ASKPASS=/run-logins/askpass', 'SSH_ASKPASS_REQUIRE=force'];
  const said = judgedLogin(await container.run(...env, 'ssh', ...WORDS, `${user}@127.0.0.1`, 'exit 0'));
  return said === wanted ? [] : [`the login of ${user} must be ${wanted}: ${said}`];
}
