import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assembleDisk } from '../../../../../scripts/device-image/disk.ts';
import { BOOT, COMMON, DATA, partitionOf, ROOT } from '../../../../../scripts/device-image/layout.ts';
import { IMAGE_TOOL_ENV, makeExt4Image } from '../../../../../scripts/images/ext4-image.ts';
import { makeFatImage } from '../../../../../scripts/images/fat-image.ts';
import { needProgram } from '../../../../../scripts/programs.ts';
import { SlotReader } from '../../../../../scripts/qemu/booted-digest.ts';
import { makeOverlay } from '../../../../../scripts/qemu/machine.ts';
import { endingProgram } from '../../../../../scripts/qemu/own-image/arm64.ts';
import { OwnImage } from '../../../../../scripts/qemu/own-image/own-image.ts';
import { Ext4Tree } from '../../../../../scripts/root-tree/ext4-tree.ts';
import { differences } from '../../../../../scripts/root-tree/root-tree.ts';
import { SquashfsTree } from '../../../../../scripts/root-tree/squashfs-tree.ts';

const PROJECT = join(import.meta.dirname, '../../../../..');
const CONFIG = {
  format: 'holdfast-agent-1',
  vendor: 'beta.example',
  hardwareClass: 'beta-door',
  channel: 'early',
  environment: 'production',
  board: {
    kind: 'u-boot',
    slots: {
      a: { boot: '/dev/vda2', rootfs: '/dev/disk/by-partlabel/root-a' },
      b: { boot: '/dev/vda3', rootfs: '/dev/vda6' },
    },
    goodSlotFile: '/boot/common/holdfast.good',
  },
  dataDirectory: '/data/holdfast',
  factoryRoot: 'root.json',
  factoryInstalled: { sequence: 7, version: '7.1.0' },
  claimFile: '/data/factory/claim.json',
  server: { url: 'https://updates.beta.example', mqttUrl: null, anchorsFile: 'anchors/server-ca.pem' },
};
const LAB = {
  root: Buffer.from('the lab root'),
  anchors: Buffer.from('the lab anchors'),
  url: 'https://10.0.2.2:8443',
  mqttUrl: 'mqtts://10.0.2.2:8883',
};
const KERNEL = Buffer.alloc(64);
KERNEL.write('ARM\x64', 56, 'latin1');
const FOREIGN = Buffer.from(endingProgram());
FOREIGN.writeUInt16LE(62, 18);

type Files = Readonly<Record<string, string | Uint8Array | null>>;

/** Every file of the root file system; null takes one away. */
const ROOT_FILES: Files = {
  'usr/lib/holdfast/agent.mjs': 'the agent',
  'etc/holdfast/agent.json': JSON.stringify(CONFIG),
  'etc/holdfast/root.json': 'the maker’s root',
  'etc/holdfast/anchors/server-ca.pem': 'the maker’s anchors',
  'sbin/init': '#!/bin/sh\n',
};
const SCRIPTS = ['scripts/device-image/board/environment.cmd', 'agent/boards/u-boot/boot.cmd'];

let folder: string;
let count = 0;
const say = (): void => undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-own-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function scratch(): Promise<string> {
  count += 1;
  const made = join(folder, String(count));
  await mkdir(made);
  return made;
}

interface DiskWishes {
  readonly root?: Files;
  readonly scripts?: readonly string[];
  readonly kernel?: Buffer;
  readonly data?: readonly string[];
  readonly ext4?: boolean;
}

async function rootImage(work: string, { root = {}, ext4 = false }: DiskWishes): Promise<string> {
  const outFile = join(work, 'root.img');
  const files = Object.entries({ ...ROOT_FILES, ...root }).filter(([, bytes]) => bytes !== null);
  if (ext4) {
    await makeExt4Image({
      outFile,
      sizeBytes: 8 * 1024 * 1024,
      files: [...files, ['data/.keep', '']].map(([path, bytes]) => ({
        path: `/${path}`,
        mode: 0o644,
        content: { kind: 'bytes', bytes: Buffer.from((bytes ?? '') as string) },
      })),
      workDirectory: join(work, 'root-files'),
    });
    await needProgram('debugfs', ['-w', '-R', 'rm /data/.keep', outFile], { env: IMAGE_TOOL_ENV });
    return outFile;
  }
  const tree = join(work, 'tree');
  await mkdir(join(tree, 'data'), { recursive: true });
  for (const [path, bytes] of files) {
    await mkdir(join(tree, path, '..'), { recursive: true });
    await writeFile(join(tree, path), bytes ?? '');
  }
  await needProgram('mksquashfs', [tree, outFile, '-quiet', '-no-progress', '-all-root', '-no-xattrs']);
  return outFile;
}

const made = new Map<string, Promise<string>>();
/** Parts that disks have in common are made once. */
function shared(key: string, make: (work: string) => Promise<string>): Promise<string> {
  const known = made.get(key) ?? scratch().then(make);
  made.set(key, known);
  return known;
}

function fat(partition: number, name: string, bytes: Uint8Array): Promise<string> {
  return shared(`${partition} ${name} ${createHash('sha256').update(bytes).digest('hex')}`, async (work) => {
    const outFile = join(work, 'fat.img');
    const { sizeBytes } = partitionOf(partition);
    await makeFatImage({ outFile, sizeBytes, files: [{ name, bytes }], workDirectory: join(work, 'fat') });
    return outFile;
  });
}

async function commonPartition(scripts: readonly string[]): Promise<string> {
  if (scripts.length === 0) return fat(COMMON, 'readme', Buffer.from('no script'));
  const work = await scratch();
  const [script, compiled] = [join(work, 'boot.cmd'), join(work, 'boot.scr')];
  const texts = await Promise.all(scripts.map((path) => readFile(join(PROJECT, path), 'utf8')));
  await writeFile(script, texts.join('\n'));
  const words = ['-A', 'arm64', '-T', 'script', '-C', 'none', '-d', script, compiled];
  await needProgram('mkimage', words, { env: IMAGE_TOOL_ENV });
  return fat(COMMON, 'boot.scr', await readFile(compiled));
}

function dataPartition(paths: readonly string[]): Promise<string> {
  return shared(`data ${paths.join()}`, async (work) => {
    const outFile = join(work, 'data.img');
    await makeExt4Image({
      outFile,
      sizeBytes: 8 * 1024 * 1024,
      files: paths.map((path) => ({ path, mode: 0o600, content: { kind: 'bytes', bytes: Buffer.from('x') } })),
      workDirectory: join(work, 'files'),
    });
    return outFile;
  });
}

async function makerDisk(wishes: DiskWishes = {}): Promise<string> {
  const work = await scratch();
  const { scripts = SCRIPTS, kernel = KERNEL, data = [] } = wishes;
  const parts: [number, string][] = [
    [COMMON, await commonPartition(scripts)],
    [BOOT.a, await fat(BOOT.a, 'Image', kernel)],
    [ROOT.a, await rootImage(work, wishes)],
    [DATA, await dataPartition(data)],
  ];
  const disk = join(work, 'disk.img');
  await assembleDisk(disk, new Map(parts));
  return disk;
}

const open = async (disk: string): Promise<OwnImage> => OwnImage.open(disk, await scratch(), say);

describe("a maker's image", () => {
  it('is copied; three files of the copy are the lab’s, and nothing else differs', async () => {
    const disk = await makerDisk();
    const before = await stat(disk);
    const own = await open(disk);
    expect(own).toMatchObject({ vendor: 'beta.example', hardwareClass: 'beta-door', channel: 'early' });
    expect(own.factory).toEqual({ sequence: 7, version: '7.1.0' });
    const images = await own.makeFactory(LAB);
    expect(own.replaced).toMatchObject({
      paths: ['/etc/holdfast/agent.json', '/etc/holdfast/anchors/server-ca.pem', '/etc/holdfast/root.json'],
      configFields: ['server.url', 'environment'],
    });
    const root = await SquashfsTree.open(images.get('rootfs') ?? '');
    const text = Buffer.from(await root.read('etc/holdfast/agent.json', 10_000)).toString();
    expect(JSON.parse(text)).toEqual({
      ...CONFIG,
      environment: 'rehearsal',
      server: { ...CONFIG.server, url: LAB.url },
    });
    expect(Buffer.from(await root.read('etc/holdfast/root.json', 100)).toString()).toBe('the lab root');
    expect(await stat(disk)).toMatchObject({ mtimeMs: before.mtimeMs, ctimeMs: before.ctimeMs, size: before.size });
  });

  it('gives devices that hold the lab’s slot and a claim of their own', async () => {
    const own = await open(await makerDisk({ data: ['/factory/claim.json'] }));
    const images = await own.makeFactory(LAB);
    const device = join(await scratch(), 'device.raw');
    await own.makeDevice(device, Buffer.from('a claim'));
    await makeOverlay(`${device}.qcow2`, device, 'raw');
    const releases = [{ version: '7.1.0', images }];
    const reader = new SlotReader();
    expect(await reader.versionIn(`${device}.qcow2`, own.slots.a, releases)).toBe('7.1.0');
    expect(await reader.versionIn(`${device}.qcow2`, own.slots.b, releases)).toBeUndefined();
    const data = await Ext4Tree.open(`${device}?offset=${partitionOf(DATA).startBytes}`);
    expect(data.entries.get('factory/claim.json')).toMatchObject({
      mode: '600',
      what: createHash('sha256').update('a claim').digest('hex'),
    });
  });

  it.each([
    ['squashfs', SquashfsTree],
    ['ext4', Ext4Tree],
  ] as const)('gives releases that differ from the factory’s in one file each (%s)', async (kind, tree) => {
    const own = await open(await makerDisk({ ext4: kind === 'ext4' }));
    const factory = await own.makeFactory(LAB);
    const before = await tree.open(factory.get('rootfs') ?? '');
    for (const [fault, path] of [
      ['', 'etc/holdfast/lab-release'],
      ['panic', 'sbin/init'],
      ['agent-crash', 'usr/lib/holdfast/agent.mjs'],
    ] as const) {
      const release = await own.imagesOf({ version: `8.0.0-${fault}`, fault });
      const after = await tree.open(release.get('rootfs') ?? '');
      expect(differences(before.entries, after.entries)).toEqual([path]);
      expect(release.get('boot')).toBe(factory.get('boot'));
    }
    await expect(own.imagesOf({ version: '9.0.0', fault: 'hang' })).rejects.toThrow('hang');
  });
});

const without = (path: string): DiskWishes => ({ root: { [path]: null } });
const configured = (change: object): DiskWishes => ({
  root: { 'etc/holdfast/agent.json': JSON.stringify({ ...CONFIG, ...change }) },
});
const elsewhere = {
  a: { boot: '/dev/mmcblk0p2', rootfs: '/dev/mmcblk0p5' },
  b: { boot: '/dev/mmcblk0p3', rootfs: '/dev/mmcblk0p6' },
};

describe('an image that the lab cannot use', () => {
  it.each<[code: string, wishes: DiskWishes, says: string]>([
    ['agent-missing', without('usr/lib/holdfast/agent.mjs'), 'docs/PACKAGING.md'],
    ['config-missing', without('etc/holdfast/agent.json'), 'docs/PACKAGING.md'],
    ['config-invalid', configured({ vendr: 'misspelt' }), ''],
    ['config-malformed', { root: { 'etc/holdfast/agent.json': '{ "format"' } }, ''],
    ['board-not-emulated', configured({ board: { kind: 'none' } }), 'docs/BOARDS.md'],
    ['slot-elsewhere', configured({ board: { ...CONFIG.board, slots: elsewhere } }), '/dev/vda'],
    ['data-elsewhere', configured({ claimFile: '/etc/holdfast/claim.json' }), 'claimFile'],
    ['device-not-fresh', { data: ['/holdfast/state.json'] }, 'as it was built'],
    ['architecture-foreign', { root: { 'sbin/init': FOREIGN } }, 'arm64'],
    ['architecture-foreign', { kernel: Buffer.alloc(64, 1) }, 'booti'],
    ['init-missing', without('sbin/init'), 'init='],
    ['boot-script-missing', { scripts: [] }, 'docs/BOARDS.md'],
    ['boot-script-foreign', { scripts: SCRIPTS.slice(0, 1) }, 'boot.cmd'],
    ['boot-environment-missing', { scripts: SCRIPTS.slice(1) }, 'environment.cmd'],
  ])('%s', async (code, wishes, says) => {
    const fault = await open(await makerDisk(wishes)).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(fault).toMatchObject({ code });
    expect((fault as { cure: string }).cure).toContain(says);
  });

  it('is no disk', async () => {
    const work = await scratch();
    const file = join(work, 'file');
    const codeOf = async (bytes: Uint8Array, sizeBytes = bytes.length): Promise<unknown> => {
      await writeFile(file, bytes);
      await truncate(file, sizeBytes);
      return OwnImage.open(file, work, say).catch((error: unknown) => (error as { code?: string }).code);
    };
    expect(await codeOf(Buffer.from('hello'))).toBe('image-unusable');
    expect(await codeOf(Buffer.alloc(2 * 1024 * 1024, 7))).toBe('image-without-gpt');
    expect(await codeOf(Buffer.from([0x1f, 0x8b, 8, 0]), 4 * 1024 * 1024)).toBe('image-packed');
    expect(await codeOf(Buffer.alloc(1), 65 * 1024 ** 3)).toBe('image-unusable');
    await expect(OwnImage.open(join(work, 'nothing'), work, say)).rejects.toMatchObject({ code: 'image-missing' });
    await expect(OwnImage.open(work, work, say)).rejects.toMatchObject({ code: 'image-unusable' });
    expect((await readdir(work)).sort()).toEqual(['file']);
  });

  it('has no partition for a slot', async () => {
    const disk = join(await scratch(), 'disk.img');
    await writeFile(disk, '');
    await truncate(disk, 8 * 1024 * 1024);
    await needProgram('sfdisk', ['--quiet', disk], {
      input: 'label: gpt\n1: size=2048, name=common\n',
      env: IMAGE_TOOL_ENV,
    });
    await expect(open(disk)).rejects.toMatchObject({ code: 'partition-missing' });
  });

  it('is open in an emulator', async () => {
    const disk = await makerDisk();
    const drive = `file=${disk},if=none,id=disk,format=raw`;
    const board = ['-M', 'virt', '-S', '-display', 'none', '-nodefaults', '-monitor', 'stdio'];
    const words = [...board, '-drive', drive, '-device', 'virtio-blk-pci,drive=disk'];
    const qemu = spawn('qemu-system-aarch64', words, { stdio: ['pipe', 'pipe', 'ignore'] });
    try {
      await once(qemu.stdout, 'data');
      await expect(open(disk)).rejects.toMatchObject({ code: 'image-in-use' });
    } finally {
      qemu.kill('SIGKILL');
      await once(qemu, 'exit');
    }
    await expect(open(disk)).resolves.toBeInstanceOf(OwnImage);
  });

  it('has a slot into which the lab’s files no longer fit', async () => {
    const own = await open(await makerDisk());
    const large = { ...LAB, anchors: randomBytes(partitionOf(ROOT.a).sizeBytes + 1024 * 1024) };
    await expect(own.makeFactory(large)).rejects.toMatchObject({ code: 'slot-too-small' });
  });
});
