import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Ext4Places } from '../../../../scripts/byte-scan/ext4-places.ts';
import { textSecret } from '../../../../scripts/byte-scan/key-secrets.ts';
import { ByteScan } from '../../../../scripts/byte-scan/scan.ts';

const SECRET = 'k7fm-tq2x-9hcd-w4zr-61pb-yv3n-s8gj';
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-ext4-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('a secret in a file, in a removed one and in the journal of a raw ext4 is found, and it is said in which', async () => {
  const image = join(folder, 'image');
  await writeFile(join(folder, 'file'), `password ${SECRET}\n`, { mode: 0o600 });
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-b', '1024', image, '8M']);
  const debugfs = (words: string) => execFileSync('debugfs', ['-w', '-R', words, image], { stdio: 'pipe' });
  debugfs('mkdir /own');
  debugfs(`write ${folder}/file /own/kept`);
  debugfs('set_inode_field /own/kept mode 0100600');
  debugfs(`write ${folder}/file /own/removed`);
  debugfs('rm /own/removed');
  // The journal's first block after its superblock, as data=journal would have it.
  const block = Number(
    String(execFileSync('debugfs', ['-R', 'blocks <8>', image]))
      .trim()
      .split(/\s+/)[9],
  );
  const bytes = await readFile(image);
  bytes.write(SECRET, block * 1024 + 7);
  await writeFile(image, bytes);
  const hits = await new ByteScan([textSecret('password', SECRET)]).file(image);
  const places = await Ext4Places.of(image, join(folder, 'copy'));
  const found = await places.at(hits.map(({ offsetBytes }) => offsetBytes));
  expect([...found.values()].map(String).sort()).toEqual(['/own/kept', '<journal>', 'null']);
  expect(await places.read('/own/kept')).toBe(`password ${SECRET}\n`);
  expect(await places.read('/own/removed')).toBeUndefined();
  expect(await places.modeOf('/own/kept')).toBe(0o600);
  expect(await places.list('/own')).toEqual(['kept']);
});
