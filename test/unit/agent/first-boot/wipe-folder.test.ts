import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { wipeFolder } from '../../../../agent/first-boot/wipe-folder.ts';

it('empties a folder, follows no link out of it, leaves the folder, and may run again', async () => {
  const root = await mkdtemp(join(tmpdir(), 'wipe-'));
  try {
    await mkdir(join(root, 'app/deep'), { recursive: true });
    await mkdir(join(root, 'agent'));
    await writeFile(join(root, 'app/deep/file'), 'x');
    await writeFile(join(root, 'app/.hidden'), 'x');
    await writeFile(join(root, 'agent/counters'), 'x');
    await symlink(join(root, 'agent'), join(root, 'app/link'));
    await wipeFolder(join(root, 'app'));
    await wipeFolder(join(root, 'app'));
    await wipeFolder(join(root, 'none'));
    expect(await readdir(join(root, 'app'))).toEqual([]);
    expect(await readdir(join(root, 'agent'))).toEqual(['counters']);
  } finally {
    await rm(root, { recursive: true });
  }
});
