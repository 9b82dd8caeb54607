import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { entryOf } from '../../../../scripts/device-image/debian-packages.ts';
import type { DeviceBase } from '../../../../scripts/device-image/device-base.ts';
import { writeOwners } from '../../../../scripts/device-image/owners.ts';
import { makeRootImage } from '../../../../scripts/device-image/root-image.ts';
import { SMALL } from '../../../../scripts/device-image/small-userspace.ts';
import { needProgram } from '../../../../scripts/programs.ts';

const SETGID = { path: 'usr/sbin/unix_chkpwd', mode: 0o2755, user: 'root', group: 'shadow' };
const LAB = { ...SMALL, labFiles: async () => ({ 'usr/lib/lab/start': join(import.meta.filename) }) };
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'root-image-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A tree with what an image of systemd has: users, a name with a backslash, a link, a program of another group. */
async function baseIn(place: string, timeUnixS: number): Promise<DeviceBase> {
  const at = join(folder, place);
  const tree = join(at, 'tree');
  const files: Record<string, string> = {
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
    'etc/group': 'root:x:0:\nshadow:x:42:\n',
    'etc/holdfast/note': '',
    'usr/lib/holdfast/node': 'node',
    'usr/lib/systemd/system/system-a\\x2db.slice': '[Unit]\n',
    'usr/sbin/unix_chkpwd': 'program',
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), text);
    await chmod(join(tree, path), 0o644);
    await utimes(join(tree, path), timeUnixS, timeUnixS);
  }
  await symlink('unix_chkpwd', join(tree, 'usr/sbin/other'));
  await writeFile(join(at, 'agent.mjs'), 'agent');
  await writeFile(join(at, 'agent.json'), '{}');
  const ownersFile = join(at, 'owners');
  await writeOwners(tree, [SETGID], ownersFile);
  const agentBundle = join(at, 'agent.mjs');
  return { userspace: LAB, tree, ownersFile, agentBundle, bootImage: '', kernelFile: '', ramDisk: '', kernel: '' };
}

async function imageIn(place: string, timeUnixS: number, fault?: string): Promise<string> {
  const outFile = join(folder, place, 'root.img');
  const factory = [join(folder, place, 'agent.json')];
  const base = await baseIn(place, timeUnixS);
  await makeRootImage({ base, version: '1.0.0', factory, outFile, ...(fault === undefined ? {} : { fault }) });
  return outFile;
}

const listing = async (image: string): Promise<string> =>
  (await needProgram('unsquashfs', ['-lln', image], { env: { TZ: 'UTC' } })).stdout;

const digest = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

describe('a root file system', () => {
  it('is the same bytes of files with other dates, in another folder', async () => {
    const first = await imageIn('first', 1_000_000_000);
    const second = await imageIn('second/deeper', 2_000_000_000);
    expect(await digest(second)).toBe(await digest(first));
  });

  it('gives files to whom their packages give them, and everything else to root', async () => {
    const lines = (await listing(await imageIn('owners', 1_000_000_000))).split('\n');
    const strange = lines.filter((line) => line.includes('squashfs-root') && !line.includes(' 0/0 '));
    expect(strange).toEqual([expect.stringMatching(/^-rwxr-sr-x 0\/42 .* squashfs-root\/usr\/sbin\/unix_chkpwd$/)]);
    expect(lines).toContainEqual(expect.stringMatching(/^-rw-r--r-- 0\/0 .*system-a\\x2db\.slice$/));
  });

  it('lacks what a variant is without, has its own in that place, and keeps secret files secret', async () => {
    const base = await baseIn('variant', 1);
    const secret = join(folder, 'variant/secret');
    await writeFile(secret, 'another\n', { mode: 0o600 });
    const outFile = join(folder, 'variant/root.img');
    const [gone, replaced] = ['usr/lib/holdfast/node', 'etc/passwd'];
    const without = [gone, replaced];
    await makeRootImage({ base, version: '1.0.0', factory: [], files: { [replaced]: secret }, without, outFile });
    const lines = await listing(outFile);
    expect(lines).not.toContain(gone);
    expect(lines).toMatch(/^-rw------- 0\/0 .* squashfs-root\/etc\/passwd$/m);
    expect((await needProgram('unsquashfs', ['-cat', outFile, replaced])).stdout).toBe('another\n');
  });

  it('has what the lab needs in the lab only', async () => {
    const [device, lab] = [await imageIn('device', 1), await imageIn('lab', 1, 'hang')];
    expect(await listing(device)).not.toMatch(/etc\/fault|lib\/lab/);
    expect(await listing(lab)).toMatch(/usr\/lib\/lab\/start\n/);
    expect((await needProgram('unsquashfs', ['-cat', lab, 'etc/fault'])).stdout).toBe('hang\n');
  });
});

describe('what a package holds', () => {
  it('is read from dpkg-deb', () => {
    const of = (letters: string, owner: string, name: string) =>
      entryOf(`${letters} ${owner}     67680 2025-08-10 15:54 ./${name}`);
    expect(of('-rwxr-sr-x', 'root/shadow', 'sbin/unix_chkpwd')).toEqual({ ...SETGID, path: 'sbin/unix_chkpwd' });
    expect(of('-rwsr-xr-x', 'root/root', 'bin/su').mode).toBe(0o4755);
    expect(of('drwxrwxrwt', 'root/root', 'tmp/')).toEqual({ path: 'tmp', mode: 0o1777, user: 'root', group: 'root' });
    expect(of('lrwxrwxrwx', 'root/root', 'usr/bin/a b -> c').path).toBe('usr/bin/a b');
    expect(() => entryOf('something else')).toThrow('something else');
  });
});
