/**
 * What of its factory's secrets an emulated device still has, looked up in the root that its programs see, by somebody
 * else than the agent: each login of the classic list is tried with the system's crypt(3).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { testHash } from '../../cli/image-lint/crypt.ts';
import { FACTORY_PAIRS } from '../../protocol/factory-pairs.ts';
import {
  BROKER_FILE,
  FACTORY_BROKER_PASSWORD,
  FACTORY_MACHINE_ID,
  factoryHostKeyLine,
  factoryLoginKeyLine,
} from '../images/factory-secrets.ts';

export const LOGINS_TRIED = FACTORY_PAIRS.length;
const PASSWORDS = [...new Set(FACTORY_PAIRS.map(({ password }) => password))];

export interface SecretsInEffect {
  readonly hostKey: string;
  readonly machineId: string;
  readonly brokerPassword: string;
  /** By account: what stands in shadow. */
  readonly passwords: ReadonlyMap<string, string>;
  /** What is still the factory's, or could not be tested, by name; empty when nothing is. */
  readonly left: readonly string[];
}

/** Throws where the device has not booted. */
export async function secretsInEffect(deviceDirectory: string): Promise<SecretsInEffect> {
  const read = (path: string): Promise<string> => readFile(join(deviceDirectory, 'run/rootfs', path), 'utf8');
  const passwords = shadowFields(await read('etc/shadow'));
  const hostKey = (await read('etc/ssh/ssh_host_ed25519_key.pub')).trim();
  const machineId = (await read('etc/machine-id')).trim();
  const brokerPassword = /^password=(.*)$/m.exec(await read(BROKER_FILE))?.[1] ?? '';
  const loginKeys = await read('root/.ssh/authorized_keys');
  const left = await acceptedLogins(passwords);
  if (hostKey === '' || hostKey.startsWith(factoryHostKeyLine())) left.push('host key');
  if (!/^[0-9a-f]{32}$/.test(machineId) || machineId === FACTORY_MACHINE_ID) left.push('machine-id');
  if (brokerPassword.length < 20 || brokerPassword === FACTORY_BROKER_PASSWORD) left.push('broker password');
  if (loginKeys.includes(factoryLoginKeyLine())) left.push('login key of the support');
  return { hostKey, machineId, brokerPassword, passwords, left };
}

/** Every password of the list is tried on every account that is not locked: more than the pairs. */
async function acceptedLogins(passwords: ReadonlyMap<string, string>): Promise<string[]> {
  const accepted: string[] = [];
  for (const [user, field] of passwords) {
    if (/^[!*]/.test(field)) continue;
    const tested = field === '' ? { kind: 'fits' as const, password: '' } : await testHash(field, PASSWORDS);
    if (tested.kind === 'fits') accepted.push(`login ${user}/${tested.password}`);
    if (tested.kind === 'untested') accepted.push(`login ${user}: untested`);
  }
  return accepted;
}

function shadowFields(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line !== '');
  return new Map(lines.map((line): [string, string] => [line.split(':')[0] ?? '', line.split(':')[1] ?? '']));
}
