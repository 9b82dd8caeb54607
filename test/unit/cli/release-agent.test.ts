/** Whether a release brings an agent: what is seen in images, and what `holdfast release build` makes of it. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { seekAgent } from '../../../cli/release-agent.ts';
import type { Environment } from '../../../trust/tuf/metadata.ts';
import { holdCeremony, workshop } from '../keys/workshop.ts';
import { inFolder, makeExt4, makeFolder, makeSquashfs, type Planted, rootWith } from './image-lint/image-maker.ts';
import { buildWords, documentOf, type Run, runHoldfast } from './run-holdfast.ts';

const AGENT: Planted = { 'usr/lib/holdfast/agent.mjs': '// the agent\n', 'usr/bin/holdfast-agent': null };
const NO_AGENT: Planted = { 'usr/bin/holdfast-agent': null };
const NO_CONFIGURATION: Planted = { 'etc/holdfast/agent.json': null };
let home: string;
const at = (name: string): string => join(home, name);

beforeAll(async () => {
  home = await workshop();
  await makeFolder(rootWith(AGENT), at('with'));
  await makeFolder(rootWith(NO_AGENT), at('without'));
  await inFolder((work) => makeSquashfs(rootWith(AGENT), work, at('with.squashfs')));
  await inFolder((work) => makeExt4(rootWith(NO_AGENT), work, at('without.ext4')));
  await writeFile(at('bytes.img'), Buffer.alloc(8192, 7));
  await writeFile(at('packed.img'), Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, ...Buffer.alloc(4096, 1)]));
  await holdCeremony(at('production'), { environment: 'production' });
  await holdCeremony(at('rehearsal'), { environment: 'rehearsal' });
});

describe('an agent is seen', () => {
  it('in a folder, and in a file system beside another that has none', () => {
    expect(seekAgent([at('with')])).toEqual({ seen: 'agent', where: at('with') });
    expect(seekAgent([at('without.ext4'), at('with.squashfs')])).toEqual({ seen: 'agent', where: at('with.squashfs') });
  });

  it('though it is a link’s end, but not where configuration or program is missing', async () => {
    await makeFolder(
      rootWith({ ...AGENT, 'usr/lib/holdfast/agent.mjs': { link: '/opt/agent.mjs' }, 'opt/agent.mjs': '' }),
      at('linked'),
    );
    expect(seekAgent([at('linked')])).toMatchObject({ seen: 'agent' });
    await makeFolder(rootWith(NO_CONFIGURATION), at('unconfigured'));
    for (const name of ['without', 'unconfigured', 'without.ext4'])
      expect(seekAgent([at(name)])).toMatchObject({ seen: 'none' });
  });

  it('in nothing that cannot be read, which is said and is not the same as none', () => {
    expect(seekAgent([at('bytes.img')])).toMatchObject({
      seen: 'not-all',
      why: expect.stringContaining('bytes.img: the file is no disk'),
    });
    expect(seekAgent([at('without'), at('packed.img')])).toMatchObject({
      seen: 'not-all',
      why: expect.stringContaining('gzip'),
    });
  });
});

describe('holdfast release build', () => {
  const build = (environment: Environment, image: string, ...more: string[]): Promise<Run> => {
    runs += 1;
    const place = ['--metadata', join(at(environment), 'public'), '--out', at(`rel-${runs}`)];
    return runHoldfast([...buildWords('2.0.0', 2), '--image', `rootfs=${at(image)}`, ...place, '--json', ...more], {
      home,
    });
  };
  let runs = 0;

  it.each([
    ['an image without one', 'without.ext4', 'agent-absent', '--without-agent'],
    ['an image that cannot be read', 'bytes.img', 'agent-unseen', '--agent-in'],
  ])('on a production root refuses %s, and leaves nothing', async (_what, image, code, cure) => {
    const { status, stdout } = await build('production', image);
    expect(status).toBe(4);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, code, cure: expect.stringContaining(cure) });
    await expect(readFile(at(`rel-${runs}/release.json`))).rejects.toThrow('ENOENT');
  });

  it('takes an image that has one, and one that was made from a folder that has', async () => {
    expect(documentOf(await build('production', 'with.squashfs')).release).not.toHaveProperty('withoutAgent');
    expect(documentOf(await build('production', 'bytes.img', '--agent-in', at('with'))).ok).toBe(true);
  });

  it('writes the exception into what is signed, and shows it', async () => {
    const why = 'this class leaves the fleet';
    const built = documentOf(await build('production', 'without.ext4', '--without-agent', why));
    expect(built.release).toMatchObject({ withoutAgent: why });
    expect(await readFile(at(`rel-${runs}/manifest.cbor`), 'latin1')).toContain(why);
    const { stdout } = await runHoldfast(['release', 'show', at(`rel-${runs}`)], { home });
    expect(stdout).toMatch(/^WITHOUT AGENT +this class leaves the fleet$/m);
  });

  it('refuses an exception that is not true, and a reason that is none', async () => {
    const untrue = await build('production', 'with.squashfs', '--without-agent', 'we thought so');
    expect(JSON.parse(untrue.stdout)).toMatchObject({ code: 'agent-present' });
    const empty = await build('production', 'without.ext4', '--without-agent', '');
    expect(JSON.parse(empty.stdout)).toMatchObject({ code: 'reason-malformed' });
  });

  it('in a rehearsal, whose devices run theirs beside the images, says so and goes on', async () => {
    const { status, stderr } = await build('rehearsal', 'bytes.img');
    expect(status).toBe(0);
    expect(stderr).toContain('With a production root this is refused.');
  });
});
