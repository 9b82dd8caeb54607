/** What the demo calls the factory's is found where it is there, and not where it was replaced. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { secretsInEffect } from '../../../../scripts/demo/factory-left.ts';
import { factorySecretFiles } from '../../../../scripts/images/factory-secrets.ts';
import { readContent } from '../../../../scripts/images/image-tree.ts';

let device: string;
const at = (path: string): string => join(device, 'run/rootfs', path);
const left = async (): Promise<readonly string[]> => (await secretsInEffect(device)).left;

beforeEach(async () => {
  device = await mkdtemp(join(tmpdir(), 'holdfast-factory-left-'));
  for (const file of factorySecretFiles()) {
    await mkdir(dirname(at(file.path)), { recursive: true });
    await writeFile(at(file.path), await readContent(file));
  }
});
afterEach(() => rm(device, { recursive: true, force: true }));

async function change(path: string, from: RegExp, to: string): Promise<void> {
  const text = await readFile(at(path), 'utf8');
  expect(text).toMatch(from);
  await chmod(at(path), 0o600);
  await writeFile(at(path), text.replace(from, to));
}

describe('of the secrets of its factory', () => {
  it('a device that replaced none has them all', async () => {
    expect(await left()).toEqual([
      ...['login root/xc3511', 'login support/support'],
      ...['host key', 'machine-id', 'broker password', 'login key of the support'],
    ]);
  });

  it('a device that replaced them all has none', async () => {
    // The hash of a password that nobody knows: it stands here alone.
    await change('etc/shadow', /^root:\$6\$acmefactory\$j/m, 'root:$6$acmefactory$k');
    await change('etc/shadow', /^support:[^:]+/m, 'support:*');
    await change('etc/ssh/ssh_host_ed25519_key.pub', /AAAA.*/, 'AAAAC3NzaC1lZDI1NTE5AAAAIOwn');
    await change('etc/machine-id', /ac/, 'ad');
    await change('etc/acme/broker.conf', /password=.*/, 'password=abcd-efgh-ijkl-mnop-qrst');
    await change('root/.ssh/authorized_keys', /[\s\S]*/, '');
    expect(await left()).toEqual([]);
  });

  it.each([
    ['an empty password', 'support:'],
    ['a hash that crypt does not know', 'support:$x$unknown'],
  ])('%s counts as one', async (_what, field) => {
    await change('etc/shadow', /^support:[^:]+/m, field);
    expect(await left()).toContainEqual(expect.stringMatching(/^login support(\/|: untested)/));
  });
});
