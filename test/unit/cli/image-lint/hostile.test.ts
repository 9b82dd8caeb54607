/** Images that were not made properly: they may hide nothing, read nothing of this machine, and never end the program. */
import { mkdir, open, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { applyAllowances } from '../../../../cli/image-lint/allowance.ts';
import { openImage } from '../../../../cli/image-lint/volumes.ts';
import { Fault } from '../../../../platform/fault.ts';
import { IMAGE_TOOL_ENV } from '../../../../scripts/images/ext4-image.ts';
import { makeFatImage } from '../../../../scripts/images/fat-image.ts';
import { needProgram } from '../../../../scripts/programs.ts';
import { seededRandom } from '../../../../scripts/seeded-random.ts';
import { inFolder, lint, makeErofs, makeExt4, makeFolder, makeSquashfs, rootWith, told } from './image-maker.ts';

describe('links', () => {
  it('that lead out of the image or round in a circle lead nowhere', async () => {
    await inFolder(async (folder) => {
      const outside = join(folder, 'outside');
      await writeFile(outside, 'root::0:0::/:/bin/sh\n');
      const planted = {
        'etc/passwd': { link: outside },
        'etc/shadow': { link: '../../../../../../../../../../etc/shadow' },
        'etc/inittab': { link: 'inittab' },
        'etc/rc.local': { link: 'a' },
        'etc/a': { link: 'b' },
        'etc/b': { link: 'a' },
        'etc/ssh/sshd_config': { link: '/dev/zero' },
        'opt/self': { link: '.' },
        'opt/app': { link: 'self/self/self/app' },
      };
      const place = join(folder, 'root');
      await makeFolder(rootWith(planted), place);
      const image = join(folder, 'image');
      await makeSquashfs(rootWith(planted), join(folder, 'work'), image);
      for (const path of [place, image]) {
        expect(told(await lint(path)).filter((line) => !line.startsWith('owned-by-user'))).toEqual([]);
      }
    });
  });

  it('inside of the image are followed as the device would', async () => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      const planted = {
        'etc/passwd': { link: '/usr/./share/../factory/passwd' },
        'etc/inittab': { link: '../../../usr/factory/inittab' },
        'usr/factory/inittab': '::respawn:/bin/sh\n',
        'usr/factory/passwd': 'root::0:0::/:/bin/sh\n',
        'etc/shadow': null,
      };
      await makeSquashfs(rootWith(planted), folder, image);
      expect(told(await lint(image))).toEqual([
        'console-shell /etc/inittab:1',
        'password-empty /etc/passwd:1',
        'root-unlocked /etc/passwd:1',
      ]);
    });
  });
});

describe('names', () => {
  it('that lead out of a folder are refused and reported', async () => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeExt4(rootWith({ 'opt/AAAAAAAAAAAA': 'x' }), folder, image);
      const bytes = await readFile(image);
      const at = bytes.indexOf('AAAAAAAAAAAA');
      bytes.write('../../../etc', at);
      await writeFile(image, bytes);
      const found = await lint(image);
      expect(found.filter(({ code }) => code === 'image-hostile').map(({ what }) => what)).toEqual([
        'a folder has an entry with the name "../../../etc": /opt',
      ]);
    });
  });

  it('with line breaks cannot hide another file of a squashfs', async () => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      const place = join(folder, 'plain');
      await makeFolder(rootWith({ 'etc/passwd': 'root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n' }), place);
      // It sorts before `etc`, so that its forged line comes first.
      await writeFile(join(place, 'a\netc R 1 600 0 0 0 0\nb'), 'x');
      await needProgram('mksquashfs', [place, image, '-noappend', '-quiet', '-no-progress', '-all-root']);
      const codes = (await lint(image)).map(({ code }) => code);
      expect(codes).toContain('uid-zero');
      expect(codes).toContain('image-hostile');
    });
  });

  it('with control characters cannot move the cursor', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      await makeFolder(
        rootWith({ 'home/pi/\u001b[2J/.ssh/authorized_keys': 'ssh-ed25519 AAAAC3Nz \u001b[31mred\n' }),
        place,
      );
      const found = (await lint(place)).filter(({ code }) => code === 'authorized-keys');
      // `Output.say` replaces them; the JSON escapes them.
      expect(JSON.stringify(found)).toContain('\\u001b');
      expect(found).toHaveLength(1);
    });
  });
});

describe('contents', () => {
  it('made to take hours end', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      const spaces = `PermitRootLogin${' '.repeat(400_000)}x\n`;
      await makeFolder(
        rootWith({
          'opt/keys': '-----BEGIN PRIVATE KEY-----\n'.repeat(300_000),
          'opt/putty': 'PuTTY-User-Key-File-3: x\n'.repeat(300_000),
          'opt/jwt': `eyJ${'A'.repeat(1000)}.`.repeat(3000),
          'opt/jwk': '{"kty"'.repeat(300_000),
          'etc/ssh/sshd_config': spaces,
          'etc/hostapd/hostapd.conf': spaces,
          'usr/lib/systemd/system/a.service': `[Service]\nExecStart=/sbin/agetty \\\n${` -f ${' '.repeat(100)}\\\n`.repeat(4000)}`,
        }),
        place,
      );
      expect(told(await lint(place)).filter((line) => !line.startsWith('owned'))).toEqual([]);
    });
  });

  it('of one kind in thousands hide none of another place behind an allowance', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      await makeFolder(rootWith({}), place);
      await mkdir(join(place, 'opt'), { recursive: true });
      const names = Array.from({ length: 10_050 }, (_, index) => `ssh_host_a${index}_key`);
      for (const name of names) await writeFile(join(place, 'opt', name), 'x');
      const findings = applyAllowances(await lint(place), [{ code: 'host-key', path: '/opt/', reason: 'a test' }]);
      const open = findings.filter(({ severity, allowed }) => severity === 'error' && allowed === null);
      expect(open.map(({ code }) => code)).toEqual(['scan-incomplete']);
    });
  });
});

describe('damage', () => {
  it('of a chain of clusters that is a circle ends', async () => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      const files = [{ name: 'long.txt', bytes: Buffer.alloc(64 * 1024, 'x') }];
      await makeFatImage({ outFile: image, sizeBytes: 2 * 1024 * 1024, files, workDirectory: join(folder, 'work') });
      const bytes = await readFile(image);
      const fatAt = bytes.readUInt16LE(14) * bytes.readUInt16LE(11);
      // FAT12: clusters 2 and 3 lead to each other.
      bytes.set([0xf8, 0xff, 0xff, 0x03, 0x20, 0x00], fatAt);
      await writeFile(image, bytes);
      expect((await lint(image)).map(({ code }) => code)).toEqual(['root-absent']);
    });
  });

  it('of a folder that is its own child is reported', async () => {
    await inFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeExt4(rootWith({ 'opt/app/x': 'x' }), folder, image);
      await needProgram('debugfs', ['-w', '-R', 'link /opt /opt/app/again', image], { env: IMAGE_TOOL_ENV });
      expect(told(await lint(image)).filter((line) => !line.startsWith('owned'))).toContain('image-hostile ');
    });
  });

  it.each(['ext4', 'fat', 'squashfs', 'erofs'] as const)(
    'anywhere in %s ends in findings or a fault, never in a bug',
    async (format) => {
      await inFolder(async (folder) => {
        const image = join(folder, 'image');
        const planted = rootWith({ 'opt/long': 'x'.repeat(50_000), 'opt/many/a': '1', 'opt/many/b': '2' });
        if (format === 'ext4') await makeExt4(planted, folder, image, ['-b', '1024']);
        else if (format === 'squashfs') await makeSquashfs(planted, folder, image);
        else if (format === 'erofs') await makeErofs(planted, folder, image, ['-zlz4hc', '-Eztailpacking']);
        else {
          const files = [{ name: 'cmdline.txt', bytes: Buffer.alloc(5000, 'x') }];
          await makeFatImage({
            outFile: image,
            sizeBytes: 2 * 1024 * 1024,
            files,
            workDirectory: join(folder, 'work'),
          });
        }
        const whole = await readFile(image);
        const random = seededRandom(Number(process.env.HOLDFAST_SEED ?? 1));
        const used = whole.findLastIndex((byte) => byte !== 0) + 1;
        for (let round = 0; round < 60; round += 1) {
          const file = await open(image, 'w');
          const bytes = Buffer.from(whole);
          for (let hit = 0; hit < 1 + (round % 40); hit += 1) {
            bytes[Math.floor(random() * (round % 2 === 0 ? used : Math.min(used, 8192)))] = Math.floor(random() * 256);
          }
          await file.write(bytes);
          await file.close();
          try {
            await lint(image);
          } catch (error) {
            expect(error, `round ${round}`).toBeInstanceOf(Fault);
          }
        }
      });
    },
  );

  it('of a folder does not make a link of it a way out', async () => {
    await inFolder(async (folder) => {
      const place = join(folder, 'root');
      await makeFolder(rootWith({}), place);
      await symlink('/etc', join(place, 'host'));
      const opened = openImage(place);
      const view = opened.volumes[0]?.view;
      expect(view?.resolve('host/passwd')?.path).toBe('etc/passwd');
      expect(view?.text('host/passwd')).toContain('pi:x:1000');
      opened.close();
    });
  });
});
