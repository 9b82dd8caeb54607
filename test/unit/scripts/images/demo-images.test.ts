import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testHash } from '../../../../cli/image-lint/crypt.ts';
import { FACTORY_PAIRS } from '../../../../protocol/factory-pairs.ts';
import { type DemoImageRequest, makeDemoImages } from '../../../../scripts/images/demo-images.ts';
import { IMAGE_TOOL_ENV } from '../../../../scripts/images/ext4-image.ts';
import { FACTORY_MACHINE_ID, factoryHostKeyLine } from '../../../../scripts/images/factory-secrets.ts';
import { runProgram } from '../../../../scripts/programs.ts';

const MIB = 1024 * 1024;
let directory: string;
let agentFile: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-images-'));
  agentFile = join(directory, 'agent.mjs');
  await writeFile(agentFile, 'console.log("agent");\n');
});

afterAll(() => rm(directory, { recursive: true, force: true }));

function request(name: string, changes: Partial<DemoImageRequest> = {}): DemoImageRequest {
  const outDirectory = join(directory, name);
  return {
    version: '1.0.0',
    sequence: 1,
    outDirectory,
    brokenApp: false,
    rootfsMib: 8,
    bootMib: 1,
    agentFile,
    firstBootFile: agentFile,
    ...changes,
  };
}

const digest = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

const fileIn = async (rootfs: string, path: string): Promise<string> =>
  (await runProgram('debugfs', ['-R', `cat ${path}`, rootfs], { env: IMAGE_TOOL_ENV })).stdout;

describe('demo images', () => {
  it('are the same bytes for the same inputs', async () => {
    const first = await makeDemoImages(request('same-1'));
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const second = await makeDemoImages(request('same-2'));
    expect(await digest(second.boot)).toBe(await digest(first.boot));
    expect(await digest(second.rootfs)).toBe(await digest(first.rootfs));
  });

  it('differ in the app and in other files when the version differs', async () => {
    const first = await makeDemoImages(request('v1'));
    const second = await makeDemoImages(request('v2', { version: '2.0.0', sequence: 2 }));
    expect(await digest(second.boot)).not.toBe(await digest(first.boot));
    expect(await fileIn(second.rootfs, '/usr/lib/acme/app.mjs')).toContain('VERSION = "2.0.0"');
    const [one, two] = [await readFile(first.rootfs), await readFile(second.rootfs)];
    const blocks = one.length / 4096;
    const changed = Array.from({ length: blocks }, (_, index) => index * 4096).filter(
      (at) => !one.subarray(at, at + 4096).equals(two.subarray(at, at + 4096)),
    );
    expect(changed.length).toBeGreaterThan(10);
  });

  it('are sound file systems of the size asked for, mostly filled with data', async () => {
    const { boot, rootfs } = await makeDemoImages(request('sound'));
    expect((await stat(boot)).size).toBe(MIB);
    expect((await stat(rootfs)).size).toBe(8 * MIB);
    expect((await runProgram('e2fsck', ['-fn', rootfs], { env: IMAGE_TOOL_ENV })).status).toBe(0);
    const bytes = await readFile(rootfs);
    const blocks = Array.from({ length: bytes.length / 4096 }, (_, index) =>
      bytes.subarray(index * 4096, index * 4096 + 4096),
    );
    expect(blocks.filter((block) => block.some((byte) => byte !== 0)).length / blocks.length).toBeGreaterThan(0.85);
  });

  it('carry a broken sensor when the app is to fail', async () => {
    const { rootfs } = await makeDemoImages(request('broken', { brokenApp: true }));
    expect(await fileIn(rootfs, '/usr/lib/acme/app.mjs')).toContain('SENSOR_WORKS = false');
  });

  it('carry the secrets of a careless factory, the same in each', async () => {
    const { rootfs } = await makeDemoImages(request('careless'));
    expect(await fileIn(rootfs, '/etc/shadow')).toMatch(/^root:\$6\$/);
    expect(await fileIn(rootfs, '/etc/machine-id')).toBe(`${FACTORY_MACHINE_ID}\n`);
    const key = join(directory, 'host-key');
    await writeFile(key, await fileIn(rootfs, '/etc/ssh/ssh_host_ed25519_key'), { mode: 0o600 });
    expect((await runProgram('ssh-keygen', ['-y', '-f', key])).stdout.trim()).toBe(factoryHostKeyLine());
    const shadow = await fileIn(rootfs, '/etc/shadow');
    for (const [user, password] of [
      ['root', 'xc3511'],
      ['support', 'support'],
    ] as const) {
      const hash = new RegExp(`^${user}:([^:]+):`, 'm').exec(shadow)?.[1] ?? '';
      expect(
        await testHash(
          hash,
          FACTORY_PAIRS.map((pair) => pair.password),
        ),
      ).toEqual({ kind: 'fits', password });
    }
  });

  it('refuse to be made without the agent, and say how to build it', async () => {
    const made = makeDemoImages(request('no-agent', { agentFile: join(directory, 'absent.mjs') }));
    await expect(made).rejects.toMatchObject({ code: 'agent-not-built', cure: 'npm run build' });
  });

  it('refuse a size that the agent does not fit into', async () => {
    const large = join(directory, 'large.mjs');
    await writeFile(large, new Uint8Array(5 * MIB));
    await expect(makeDemoImages(request('small', { rootfsMib: 4, agentFile: large }))).rejects.toMatchObject({
      code: 'image-too-small',
    });
  });
});
