/** The command as a CI runs it. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentOf, runHoldfast } from '../run-holdfast.ts';
import { inFolder, makeSquashfs, type Planted, rootWith } from './image-maker.ts';

async function withImage(planted: Planted, work: (image: string, home: string) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    const image = join(folder, 'image');
    await makeSquashfs(rootWith(planted), join(folder, 'work'), image);
    await work(image, folder);
  });
}

const SEED: Planted = { 'var/lib/systemd/random-seed': 'x'.repeat(512) };

describe('holdfast image lint', () => {
  it('ends with 0 for a clean image, and says what comes next', async () => {
    await withImage({}, async (image, home) => {
      const run = await runHoldfast(['image', 'lint', image], { home });
      expect(run.status, run.stderr).toBe(0);
      expect(run.stdout).toContain('0 errors, 0 warnings, 0 notes, 0 allowed.');
      expect(run.stdout).toContain('Next:');
    });
  });

  it('ends with 4 for an error, names its fix, and writes the same document to a file', async () => {
    await withImage(SEED, async (image, home) => {
      const run = await runHoldfast(['image', 'lint', image, '--report', 'lint.json'], { home });
      expect(run.status).toBe(4);
      expect(run.stdout).toContain(
        'error random-seed\n  /var/lib/systemd/random-seed: it holds 512 bytes\n  fix: Remove the file',
      );
      const json = await runHoldfast(['image', 'lint', image, '--json'], { home });
      expect(documentOf(json)).toMatchObject({
        ok: false,
        errors: 1,
        findings: [
          {
            code: 'random-seed',
            severity: 'error',
            volume: '',
            path: '/var/lib/systemd/random-seed',
            line: null,
            allowed: null,
          },
        ],
      });
      expect(JSON.parse(await readFile(join(home, 'lint.json'), 'utf8'))).toEqual(documentOf(json));
    });
  });

  it('ends with 0 when the error is allowed, and keeps the reason', async () => {
    await withImage(SEED, async (image, home) => {
      const run = await runHoldfast(
        ['image', 'lint', image, '--allow', 'random-seed:/var/lib/systemd/=bench only', '--json'],
        { home },
      );
      expect(run.status).toBe(0);
      expect(documentOf(run)).toMatchObject({ ok: true, errors: 0, allowed: 1, findings: [{ allowed: 'bench only' }] });
    });
  });

  it('says what is wrong with the command line or the file', async () => {
    await inFolder(async (home) => {
      await writeFile(join(home, 'text'), 'no image\n');
      const codeOf = async (...args: string[]): Promise<unknown> => {
        const run = await runHoldfast(['image', 'lint', ...args, '--json'], { home });
        return [run.status, documentOf(run).code];
      };
      expect(await codeOf('text')).toEqual([3, 'image-unknown']);
      expect(await codeOf('nothing')).toEqual([3, 'path-not-found']);
      expect(await codeOf('text', '--allow', 'x=y')).toEqual([2, 'finding-unknown']);
    });
  });

  it('needs no right to anything but the image, and without a program says which package has it', async () => {
    await withImage({}, async (image, home) => {
      const run = await runHoldfast(['image', 'lint', image, '--json'], {
        home,
        env: { PATH: '/bin-of-nobody:/nowhere' },
      });
      expect([run.status, documentOf(run).code]).toEqual([5, 'program-missing']);
      expect(run.stdout).toContain('squashfs-tools');
    });
  });
});
