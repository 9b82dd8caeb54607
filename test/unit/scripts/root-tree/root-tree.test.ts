import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IMAGE_TOOL_ENV } from '../../../../scripts/images/ext4-image.ts';
import { needProgram } from '../../../../scripts/programs.ts';
import { Ext4Tree } from '../../../../scripts/root-tree/ext4-tree.ts';
import {
  demandOnly,
  differences,
  type NewFile,
  placeIn,
  type RootTree,
  resolveIn,
  type TreeEntries,
  type TreeEntry,
} from '../../../../scripts/root-tree/root-tree.ts';
import { SquashfsTree } from '../../../../scripts/root-tree/squashfs-tree.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const bytes = (text: string) => ({ bytes: Buffer.from(text) });
let folder: string;
let squashfs: string;
let ext4: string;

/** Owners, modes and devices as no user of this machine could make them. */
const PSEUDO = `/ D 1600000000 755 0 0
etc D 1600000001 755 0 0
etc/holdfast D 1600000001 750 0 7
etc/holdfast/agent.json F 1600000002 640 12 34 printf maker
etc/a\\ name F 1600000003 644 0 0 printf spaces
etc/empty F 1600000003 644 0 0 true
etc/twice F 1600000004 4755 5 6 printf linked
etc/other-name L etc/twice
sbin D 1600000005 755 0 0
sbin/init S 1600000005 777 0 0 ../usr/bin/busybox
dev D 1600000006 755 0 0
dev/console C 1600000006 600 0 5 5 1
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-trees-'));
  await writeFile(join(folder, 'pseudo'), PSEUDO);
  squashfs = join(folder, 'maker.squashfs');
  const words = ['-comp', 'zstd', '-Xcompression-level', '7', '-b', '262144', '-quiet', '-no-progress'];
  await needProgram('mksquashfs', ['-', squashfs, '-pf', join(folder, 'pseudo'), ...words]);
  ext4 = join(folder, 'maker.ext4');
  await writeFile(ext4, '');
  await truncate(ext4, 4 * 1024 * 1024);
  await needProgram('mke2fs', ['-q', '-t', 'ext4', ext4], { env: { PATH: IMAGE_TOOL_ENV.PATH } });
  for (const [name, text] of Object.entries({ agent: 'maker', name: 'spaces', long: 'x' })) {
    await writeFile(join(folder, name), text);
  }
  const commands = `mkdir etc
mkdir etc/holdfast
mkdir sbin
mkdir dev
cd /etc/holdfast
write ${join(folder, 'agent')} agent.json
sif agent.json mode 0100640
sif agent.json uid 12
sif agent.json gid 34
cd /etc
write ${join(folder, 'name')} "a name"
symlink long /${'far/'.repeat(30)}away
cd /sbin
symlink init ../usr/bin/busybox
cd /dev
mknod console c 5 1
`;
  await writeFile(join(folder, 'commands'), commands);
  await needProgram('debugfs', ['-w', '-f', join(folder, 'commands'), ext4], { env: IMAGE_TOOL_ENV });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function replaced(tree: RootTree, name: string, files: Parameters<RootTree['replace']>[1]): Promise<string> {
  const out = join(folder, name);
  await tree.replace(out, files);
  expect((await stat(out)).size % 4096).toBe(0);
  return out;
}

const REPLACEMENTS = new Map<string, NewFile>([
  ['etc/holdfast/agent.json', bytes('the lab')],
  ['sbin/init', { ...bytes('no link any more'), mode: '755' }],
  ['etc/holdfast/lab-release', bytes('2.0.0\n')],
]);

describe('a squashfs', () => {
  it('is read with owners, modes, links, devices and hard links', async () => {
    const tree = await SquashfsTree.open(squashfs);
    expect(tree.entries.get('etc/holdfast')).toEqual({ kind: 'folder', mode: '750', uid: 0, gid: 7, what: '' });
    expect(tree.entries.get('etc/holdfast/agent.json')).toEqual({
      kind: 'file',
      mode: '640',
      uid: 12,
      gid: 34,
      what: sha256('maker'),
    });
    expect(tree.entries.get('etc/a name')?.what).toBe(sha256('spaces'));
    expect(tree.entries.get('etc/empty')?.what).toBe(sha256(''));
    expect(tree.entries.get('sbin/init')).toMatchObject({ kind: 'link', what: '../usr/bin/busybox' });
    expect(tree.entries.get('dev/console')).toMatchObject({ kind: 'other', mode: '600', gid: 5, what: 'C 5 1' });
    expect(tree.entries.get('etc/other-name')).toEqual(tree.entries.get('etc/twice'));
    expect(Buffer.from(await tree.read('etc/holdfast/agent.json', 10)).toString()).toBe('maker');
    await expect(tree.read('etc/holdfast/agent.json', 4)).rejects.toThrow('4 at most are read');
  });

  it('differs in the replaced files alone, and keeps owner, mode, compression, block size and times', async () => {
    const before = await SquashfsTree.open(squashfs);
    const out = await replaced(before, 'lab.squashfs', REPLACEMENTS);
    const after = await SquashfsTree.open(out);
    expect(differences(before.entries, after.entries)).toEqual([...REPLACEMENTS.keys()].sort());
    expect(after.entries.get('etc/holdfast/agent.json')).toMatchObject({
      mode: '640',
      uid: 12,
      gid: 34,
      what: sha256('the lab'),
    });
    expect(after.entries.get('sbin/init')).toMatchObject({ kind: 'file', mode: '755' });
    expect(after.entries.get('etc/holdfast/lab-release')).toMatchObject({ mode: '644', uid: 0, gid: 0 });
    const { stdout: summary } = await needProgram('unsquashfs', ['-s', out]);
    expect(summary).toMatch(/^Compression zstd$/m);
    expect(summary).toMatch(/compression-level 7$/m);
    expect(summary).toMatch(/^Block size 262144$/m);
    const listing = async (image: string): Promise<string[]> =>
      (await needProgram('unsquashfs', ['-lln', image])).stdout
        .split('\n')
        .filter((line) => /twice|name|console/.test(line));
    expect(await listing(out)).toEqual(await listing(squashfs));
  });

  it('keeps the other name of a file whose first is replaced', async () => {
    const before = await SquashfsTree.open(squashfs);
    const first = before.entries.get('etc/twice') as TreeEntry;
    for (const name of ['etc/twice', 'etc/other-name']) {
      const out = await replaced(before, 'linked.squashfs', new Map([[name, bytes('changed')]]));
      const { entries } = await SquashfsTree.open(out);
      expect(differences(before.entries, entries)).toEqual([name]);
      expect(entries.get(name)?.what).toBe(sha256('changed'));
      const other = name === 'etc/twice' ? 'etc/other-name' : 'etc/twice';
      expect(entries.get(other)).toEqual(first);
    }
  });
});

describe('an ext4', () => {
  it('is read with owners, modes and links, long ones too', async () => {
    const { entries } = await Ext4Tree.open(ext4);
    expect(entries.get('etc/holdfast/agent.json')).toEqual({
      kind: 'file',
      mode: '640',
      uid: 12,
      gid: 34,
      what: sha256('maker'),
    });
    expect(entries.get('etc/a name')?.what).toBe(sha256('spaces'));
    expect(entries.get('etc/long')).toMatchObject({ kind: 'link', what: `/${'far/'.repeat(30)}away` });
    expect(entries.get('dev/console')).toMatchObject({ kind: 'other', what: '20000 05:01' });
    expect(entries.has('lost+found')).toBe(false);
  });

  it('differs in the replaced files alone, keeps owner and mode, and is whole', async () => {
    const before = await Ext4Tree.open(ext4);
    const out = await replaced(before, 'lab.ext4', REPLACEMENTS);
    const after = await Ext4Tree.open(out);
    expect(differences(before.entries, after.entries)).toEqual([...REPLACEMENTS.keys()].sort());
    expect(after.entries.get('etc/holdfast/agent.json')).toMatchObject({
      mode: '640',
      uid: 12,
      gid: 34,
      what: sha256('the lab'),
    });
    expect(after.entries.get('sbin/init')).toMatchObject({ kind: 'file', mode: '755' });
    expect((await stat(out)).size).toBe((await stat(ext4)).size);
  });

  it('takes files with their folders at an offset of a disk', async () => {
    const disk = join(folder, 'disk');
    await writeFile(disk, Buffer.concat([Buffer.alloc(1024 * 1024), await readFile(ext4)]));
    const place = `${disk}?offset=${1024 * 1024}`;
    await (await Ext4Tree.open(place)).add(new Map([['factory/deep/claim.json', { ...bytes('secret'), mode: '600' }]]));
    const after = await Ext4Tree.open(place);
    expect(after.entries.get('factory/deep/claim.json')).toMatchObject({ mode: '600', uid: 0, what: sha256('secret') });
    expect((await readFile(disk)).subarray(0, 1024 * 1024).equals(Buffer.alloc(1024 * 1024))).toBe(true);
  });

  it('says so when there is no room', async () => {
    const large = new Map([['etc/large', { bytes: Buffer.alloc(8 * 1024 * 1024, 1) }]]);
    await expect((await Ext4Tree.open(ext4)).replace(join(folder, 'full.ext4'), large)).rejects.toMatchObject({
      code: 'image-not-made',
    });
  });
});

describe('what may differ', () => {
  const file: TreeEntry = { kind: 'file', mode: '644', uid: 0, gid: 0, what: 'one' };
  const before: TreeEntries = new Map([
    ['etc/kept', file],
    ['etc/named', file],
  ]);
  const files = new Map([['etc/named', bytes('two')]]);
  const changed = (changes: Readonly<Record<string, TreeEntry>>): TreeEntries =>
    new Map([...before, ...Object.entries(changes)]);

  it('is what was named', () => {
    expect(() => demandOnly(before, changed({ 'etc/named': { ...file, what: 'two' } }), files)).not.toThrow();
  });

  it.each<[string, Readonly<Record<string, TreeEntry>>]>([
    ['content', { 'etc/kept': { ...file, what: 'other' } }],
    ['owner', { 'etc/kept': { ...file, uid: 1000 } }],
    ['group', { 'etc/kept': { ...file, gid: 1000 } }],
    ['mode', { 'etc/kept': { ...file, mode: '4644' } }],
    ['kind', { 'etc/kept': { ...file, kind: 'link' } }],
  ])('is no other %s', (_what, changes) => {
    expect(() => demandOnly(before, changed(changes), files)).toThrow('etc/kept');
  });

  it('is no other file, there or gone', () => {
    expect(() => demandOnly(before, changed({ 'etc/new': file }), files)).toThrow('etc/new');
    expect(() => demandOnly(before, new Map([['etc/named', file]]), files)).toThrow('etc/kept');
  });
});

describe('a path in a tree', () => {
  const link = (what: string): TreeEntry => ({ kind: 'link', mode: '777', uid: 0, gid: 0, what });
  const plain: TreeEntry = { kind: 'file', mode: '644', uid: 0, gid: 0, what: '' };
  const tree: TreeEntries = new Map([
    ['usr', { ...plain, kind: 'folder' }],
    ['usr/sbin', { ...plain, kind: 'folder' }],
    ['usr/lib', { ...plain, kind: 'folder' }],
    ['usr/lib/systemd', plain],
    ['sbin', link('usr/sbin')],
    ['usr/sbin/init', link('/lib/systemd')],
    ['lib', link('usr/lib')],
    ['round', link('round')],
  ]);

  it('leads where the device would go', () => {
    expect(resolveIn(tree, '/sbin/init')).toBe('usr/lib/systemd');
    expect(resolveIn(tree, '/usr/sbin/../lib/./systemd')).toBe('usr/lib/systemd');
    expect(resolveIn(tree, '/../../usr')).toBe('usr');
  });

  it('leads nowhere', () => {
    expect(resolveIn(tree, '/sbin/other')).toBeUndefined();
    expect(resolveIn(tree, '/round')).toBeUndefined();
  });

  it('is replaced itself, and not what it links to', () => {
    expect(placeIn(tree, '/sbin/init')).toBe('usr/sbin/init');
    expect(placeIn(tree, '/sbin/new')).toBe('usr/sbin/new');
    expect(placeIn(tree, '/nowhere/new')).toBeUndefined();
  });
});
