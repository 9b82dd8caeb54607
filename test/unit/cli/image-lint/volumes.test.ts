import { copyFile, mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openImage, type Volume } from '../../../../cli/image-lint/volumes.ts';
import { IMAGE_TOOL_ENV } from '../../../../scripts/images/ext4-image.ts';
import { makeFatImage } from '../../../../scripts/images/fat-image.ts';
import { needProgram } from '../../../../scripts/programs.ts';
import { faultCode } from '../../keys/workshop.ts';
import { inFolder, lint, makeExt4, makeFolder, makeSquashfs, type Planted, rootWith, told } from './image-maker.ts';

const MIB = 1024 * 1024;
const WIFI = 'network={\n  psk="correct horse"\n}\n';

/** A disk with these partitions; each is 20 MiB, one after another from the second MiB on. */
async function makeDisk(disk: string, script: string, parts: readonly string[], startMib = 1): Promise<void> {
  await writeFile(disk, '');
  await truncate(disk, (parts.length * 20 + 24) * MIB);
  await needProgram('sfdisk', ['--quiet', disk], { input: script, env: IMAGE_TOOL_ENV });
  for (const [index, part] of parts.entries()) {
    const seek = `seek=${startMib + index * 20}`;
    if (part !== '')
      await needProgram('dd', [`if=${part}`, `of=${disk}`, 'bs=1M', seek, 'conv=notrunc', 'status=none']);
  }
}

async function makeParts(folder: string): Promise<{ fat: string; ext4: string; squashfs: string }> {
  const [fat, ext4, squashfs] = [join(folder, 'fat'), join(folder, 'ext4'), join(folder, 'squashfs')];
  const files = [
    { name: 'cmdline.txt', bytes: Buffer.from('root=/dev/sda2 init=/bin/sh\n') },
    { name: 'wpa_supplicant.conf', bytes: Buffer.from(WIFI) },
  ];
  await makeFatImage({ outFile: fat, sizeBytes: 8 * MIB, files, workDirectory: join(folder, 'fat.work') });
  await makeExt4(rootWith({ 'etc/machine-id': `${'ab'.repeat(16)}\n` }), join(folder, 'a'), ext4);
  const data: Planted = { 'identity/device.key': 'key\n', 'overlay/etc/shadow': 'root::20000:0:99999:7:::\n' };
  await makeSquashfs(rootWith(data, {}), join(folder, 'b'), squashfs);
  return { fat, ext4, squashfs };
}

async function volumesOf(path: string): Promise<Volume[]> {
  const opened = openImage(path);
  opened.close();
  return [...opened.volumes];
}

const part = (number: number, name = ''): string =>
  `start=${1 + (number - 1) * 20}MiB, size=20MiB${name === '' ? '' : `, name="${name}"`}\n`;

describe('a disk', () => {
  it('with a GPT is looked into partition by partition, each by its name', async () => {
    await inFolder(async (folder) => {
      const { fat, ext4, squashfs } = await makeParts(folder);
      const disk = join(folder, 'disk');
      const script = `label: gpt\n${part(1, 'boot')}${part(2, 'root-a')}${part(3, 'data')}${part(4, 'env')}`;
      const noise = join(folder, 'noise');
      await writeFile(noise, 'bootdelay=2\0'.repeat(1000));
      await makeDisk(disk, script, [fat, ext4, squashfs, noise]);
      const volumes = await volumesOf(disk);
      expect(volumes.map(({ name, format, state, isRoot }) => [name, format, state, isRoot])).toEqual([
        ['partition 1 (boot)', 'vfat', 'read', false],
        ['partition 2 (root-a)', 'ext4', 'read', true],
        ['partition 3 (data)', 'squashfs', 'read', false],
        ['partition 4 (env)', 'unknown', 'unknown', false],
      ]);
      const findings = (await lint(disk)).filter(({ code }) => code !== 'owned-by-user');
      expect(findings.map(({ code, volume, path }) => `${volume} ${code} ${path}`)).toEqual([
        'partition 1 (boot) console-shell /cmdline.txt',
        'partition 1 (boot) wifi-secret /wpa_supplicant.conf',
        'partition 2 (root-a) machine-id /etc/machine-id',
        'partition 3 (data) password-empty /overlay/etc/shadow',
        'partition 3 (data) root-unlocked /overlay/etc/shadow',
        'partition 3 (data) identity-baked /identity/device.key',
        'partition 4 (env) partition-unknown ',
      ]);
    });
  });

  it('with an MBR is too, logical partitions with it, and an empty one is nothing', async () => {
    await inFolder(async (folder) => {
      const { fat, ext4 } = await makeParts(folder);
      const disk = join(folder, 'disk');
      const script =
        'label: dos\nstart=1MiB, size=20MiB, type=c\nstart=21MiB, size=62MiB, type=5\nstart=22MiB, size=20MiB, type=83\nstart=43MiB, size=20MiB, type=83\n';
      await makeDisk(disk, script, [fat, '', '']);
      await needProgram('dd', [`if=${ext4}`, `of=${disk}`, 'bs=1M', 'seek=22', 'conv=notrunc', 'status=none']);
      expect((await volumesOf(disk)).map(({ name, format, state }) => [name, format, state])).toEqual([
        ['partition 1', 'vfat', 'read'],
        ['partition 5', 'ext4', 'read'],
        ['partition 6', 'empty', 'empty'],
      ]);
    });
  });

  it('that ends before its last partition does is read as far as it goes, and said to be damaged', async () => {
    await inFolder(async (folder) => {
      const { ext4 } = await makeParts(folder);
      const disk = join(folder, 'disk');
      await makeDisk(disk, `label: gpt\n${part(1, 'root')}`, [ext4]);
      await truncate(disk, MIB + 64 * 1024);
      expect((await lint(disk)).map(({ code }) => code)).toContain('image-hostile');
    });
  });
});

describe('an image', () => {
  it.each([
    ['erofs', 1024, '\xe2\xe1\xf5\xe0'],
    ['btrfs', 0x10040, '_BHRfS_M'],
    ['LUKS', 0, 'LUKS\xba\xbe'],
  ])('of %s is an error, because nothing is known about it', async (_, offset, bytes) => {
    await inFolder(async (folder) => {
      const path = join(folder, 'image');
      await writeFile(path, '');
      await truncate(path, MIB);
      const file = await open(path, 'r+');
      await file.write(Buffer.from(bytes, 'latin1'), 0, bytes.length, offset);
      await file.close();
      expect(told(await lint(path))).toEqual(['filesystem-unread ', 'root-absent ']);
    });
  });

  it.each([
    ['image-packed', '\x1f\x8b\x08\0rest of it'],
    ['image-packed', '\xfd7zXZ\0rest of it'],
    ['image-unknown', 'just text\n'],
    ['image-unknown', ''],
  ])('that cannot be looked into is the fault %s', async (code, text) => {
    await inFolder(async (folder) => {
      const path = join(folder, 'image');
      await writeFile(path, Buffer.from(text, 'latin1'));
      expect(await faultCode(() => openImage(path))).toBe(code);
      expect(await faultCode(() => openImage(join(folder, 'nothing')))).toBe('path-not-found');
    });
  });

  it('that is a folder is read where it lies, and a file that may not be read is an error', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      await makeFolder(rootWith({ 'opt/secret': { text: 'x', mode: 0 } }), place);
      const codes = (await lint(place)).map(({ code }) => code);
      // root may read everything.
      expect(codes.includes('file-unread')).toBe(process.getuid?.() !== 0);
    });
  });

  it('that is a folder with a name that is no UTF-8 says so', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      await makeFolder(rootWith({}), place);
      await writeFile(Buffer.concat([Buffer.from(`${place}/name-`), Buffer.from([0xff, 0xfe])]), 'x');
      expect((await lint(place)).map(({ code }) => code)).toContain('file-unread');
    });
  });

  it('whose file is larger than what is looked through says so', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      await makeFolder(rootWith({}), place);
      await mkdir(join(place, 'var/lib/app'), { recursive: true });
      await writeFile(join(place, 'var/lib/app/film'), '');
      await truncate(join(place, 'var/lib/app/film'), 33 * MIB);
      expect((await lint(place)).map(({ code }) => code)).toContain('file-cut');
    });
  });
});

describe('ext4', () => {
  it.each([
    ['blocks of 1 KiB and data in inodes', ['-b', '1024', '-I', '256', '-O', 'inline_data']],
    ['block maps, as ext2', ['-O', '^extent,^has_journal,^64bit']],
    ['groups of metadata', ['-O', 'meta_bg,^resize_inode']],
    ['small inodes', ['-I', '128', '-O', '^metadata_csum']],
  ])('with %s reads as the folder that it was made of', async (_, words) => {
    await inFolder(async (folder) => {
      const long = `${'0123456789abcdef'.repeat(5000)}end`;
      const names = Object.fromEntries(
        Array.from({ length: 300 }, (_, index) => [`many/a-rather-long-name-of-a-file-${index}`, `${index}`]),
      );
      const planted: Planted = {
        ...names,
        long,
        'very-long': long.repeat(12),
        'long-link': { link: `../${'deep/'.repeat(20)}end` },
        'set-id': { text: 'x', mode: 0o4755 },
        tiny: 'in the inode',
        // Not more than the inode holds: mke2fs 1.47.0 cuts the ends of such files.
        small: 'x'.repeat(140),
      };
      const image = join(folder, 'image');
      await makeExt4(rootWith(planted, {}), folder, image, words);
      const [fromImage, fromFolder] = [openImage(image), openImage(join(folder, 'tree'))];
      try {
        const [left, right] = [fromImage, fromFolder].map(({ volumes }) => volumes[0]?.view?.tree);
        expect(left?.troubles).toEqual([]);
        const paths = [...(left?.entries.keys() ?? [])].filter((path) => path !== 'lost+found');
        expect(paths.sort()).toEqual([...(right?.entries.keys() ?? [])].sort());
        for (const path of paths) {
          const entry = left?.entries.get(path);
          expect(entry).toEqual(right?.entries.get(path));
          if (entry?.kind === 'file') expect(left?.read(entry, 2 * MIB), path).toEqual(right?.read(entry, 2 * MIB));
        }
      } finally {
        fromImage.close();
        fromFolder.close();
      }
    });
  });
});

describe('FAT', () => {
  it.each([12, 16, 32])('%i reads long names, folders and files of many clusters', async (bits) => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      const sizeKib = bits === 12 ? 2048 : bits === 16 ? 16_384 : 65_536;
      await needProgram('mkfs.fat', ['-F', String(bits), '-s', '1', '-C', image, String(sizeKib)], {
        env: IMAGE_TOOL_ENV,
      });
      const long = 'x'.repeat(100_000);
      await writeFile(join(folder, 'content'), long);
      const env = { ...IMAGE_TOOL_ENV, MTOOLS_SKIP_CHECK: '1' };
      await needProgram('mmd', ['-i', image, '::overlays'], { env });
      for (const name of ['::A long name, with ümlaut.txt', '::overlays/x.dtbo', '::KERNEL.IMG']) {
        await needProgram('mcopy', ['-i', image, join(folder, 'content'), name], {
          env: { ...env, LC_ALL: 'C.UTF-8' },
        });
      }
      const opened = openImage(image);
      const tree = opened.volumes[0]?.view?.tree;
      expect([...(tree?.entries.values() ?? [])].map(({ path, kind }) => `${kind} ${path}`).sort()).toEqual([
        'file A long name, with ümlaut.txt',
        'file kernel.img',
        'file overlays/x.dtbo',
        'folder overlays',
      ]);
      for (const entry of tree?.entries.values() ?? []) {
        if (entry.kind === 'file') expect(Buffer.from(tree?.read(entry, MIB) ?? []).toString()).toBe(long);
      }
      opened.close();
    });
  });
});

it('nothing of an opened image stays in the folder for temporary files', async () => {
  await inFolder(async (folder) => {
    const before = process.env.TMPDIR;
    const place = join(folder, 'tmp');
    await mkdir(place);
    const image = join(folder, 'image');
    await makeSquashfs(rootWith({}), join(folder, 'a'), image);
    await copyFile(image, join(folder, 'twin'));
    process.env.TMPDIR = place;
    try {
      await lint(image);
      expect((await needProgram('ls', ['-A', place])).stdout).toBe('');
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
    }
  });
});
