/** The password file as the broker itself judges it: the real mosquitto takes what was made here, and nothing else. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeMosquittoHash } from '../../../../agent/first-boot/mosquitto-hash.ts';
import { makeSha512Crypt } from '../../../../agent/first-boot/sha-crypt.ts';
import { freePorts } from '../../../../scripts/demo/free-ports.ts';
import { triesBroker } from '../../../../scripts/qemu/first-boot/broker-login.ts';
import { seededSecrets } from './folder-device.ts';

const PATH = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
const OWN = 'abcd-efgh-ijkm-npqr-stuv-wxyz-2345';
const folder = mkdtempSync(join(tmpdir(), 'holdfast-mosquitto-'));
let port = 0;
let end = async (): Promise<void> => undefined;

beforeAll(async () => {
  [port = 0] = await freePorts(1);
  const random = seededSecrets('broker');
  const lines = [`own:${makeMosquittoHash(OWN, random)}`, `crypt:${makeSha512Crypt(OWN, random)}`];
  writeFileSync(join(folder, 'passwords'), `${lines.join('\n')}\n`, { mode: 0o600 });
  const user = process.getuid?.() === 0 ? 'user root\n' : '';
  const settings = `listener ${port} 127.0.0.1\nallow_anonymous false\npassword_file ${join(folder, 'passwords')}\n${user}`;
  writeFileSync(join(folder, 'mosquitto.conf'), settings);
  // Without it: apt-get install mosquitto.
  const broker = spawn('mosquitto', ['-c', join(folder, 'mosquitto.conf')], { env: PATH, stdio: 'ignore' });
  await once(broker, 'spawn');
  end = async () => {
    broker.kill('SIGTERM');
    if (broker.exitCode === null) await once(broker, 'exit');
  };
});

afterAll(async () => {
  await end();
  rmSync(folder, { recursive: true });
});

/** In the broker's own word; it may not listen yet. */
async function answerTo(user: string, password: string): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    const said = await triesBroker(port, { user, password });
    if (!said.includes('ECONNREFUSED') || tries > 50) return said;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

it('lets in who has the password, and refuses every other, as the real broker reads the file', async () => {
  expect(await answerTo('own', OWN)).toBe('accepted');
  expect(await answerTo('own', 'own')).toBe('refused');
  expect(await answerTo('own', '')).toBe('refused');
  expect(await answerTo('nobody', OWN)).toBe('refused');
});

it("has a form of its own, for the broker's $6$ is not that of crypt(5)", async () => {
  expect(await answerTo('crypt', OWN)).toBe('refused');
});

it('has the form of mosquitto_passwd, with another salt each time', () => {
  const file = join(folder, 'theirs');
  writeFileSync(file, `own:${OWN}\n`, { mode: 0o600 });
  execFileSync('mosquitto_passwd', ['-U', file]);
  const shape = (hash: string): string[] => hash.split('$').map((part) => (part.length > 4 ? `${part.length}` : part));
  const random = seededSecrets('form');
  const [one, other] = [makeMosquittoHash(OWN, random), makeMosquittoHash(OWN, random)];
  expect(shape(one)).toEqual(shape(readFileSync(file, 'utf8').trim().slice('own:'.length)));
  expect(one).not.toBe(other);
});
