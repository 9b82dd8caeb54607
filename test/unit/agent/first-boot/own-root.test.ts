/** An emulated device's root, in real folders: whatever agent.json, the environment or an image's links say, it is its own. */
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../../../agent/config.ts';
import type { Log } from '../../../../agent/core/ports.ts';
import { DeviceFiles } from '../../../../agent/first-boot/device-files.ts';
import { firstBootConfigOf } from '../../../../agent/first-boot/first-boot-config.ts';
import { openOwnRoot } from '../../../../agent/first-boot/own-root.ts';
import { wire } from '../../../../agent/first-boot/wiring.ts';
import { DEMO_TIMING, makeDevice } from '../../../../emulator/factory.ts';
import { nodeDisk } from '../../../../platform/disk.ts';

const FORM = { mode: 0o600, uid: 0, gid: 0 };
let home: string;
let device: string;
const at = (path: string): string => join(device, path);
const places = () => ({ dataDirectory: at('data'), applicationData: [] as string[], resetRequest: null });

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), 'holdfast-own-root-')));
  device = join(home, 'cam-0001');
  const any = join(home, 'any');
  await writeFile(any, 'x');
  await makeDevice({
    directory: device,
    images: {},
    installed: { sequence: 1, version: '1.0.0' },
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'rehearsal',
    rootFile: any,
    claim: '{}',
    server: { url: 'https://localhost:1', mqttUrl: null, anchorsFile: any },
    timing: DEMO_TIMING,
    firstBoot: { providers: {}, owners: [] },
  });
  await mkdir(at('run/rootfs/etc'), { recursive: true });
  await mkdir(join(home, 'machine/etc'), { recursive: true });
  await writeFile(join(home, 'machine/etc/shadow'), "the machine's");
});
afterEach(() => rm(home, { recursive: true, force: true }));

async function filesOf(): Promise<DeviceFiles> {
  const own = await openOwnRoot(device, places());
  return new DeviceFiles(nodeDisk, { ...own, dataDirectory: at('data'), way: 'bound' });
}

const put = async (): Promise<void> => (await filesOf()).put('/etc/shadow', Buffer.from('own'), FORM);
const machine = (): Promise<string> => readFile(join(home, 'machine/etc/shadow'), 'utf8');

describe('the root of an emulated device', () => {
  it('is the folder that its boot loop filled', async () => {
    expect((await openOwnRoot(device, places())).root).toBe(at('run/rootfs'));
    await put();
    expect(await readFile(at('run/rootfs/etc/shadow'), 'utf8')).toBe('own');
  });

  it('is refused where there is none, and where it is a link', async () => {
    await rm(at('run/rootfs'), { recursive: true });
    await expect(openOwnRoot(device, places())).rejects.toMatchObject({ code: 'emulated-root-missing' });
    await symlink(join(home, 'machine'), at('run/rootfs'));
    await expect(openOwnRoot(device, places())).rejects.toMatchObject({ code: 'emulated-root-missing' });
    await expect(openOwnRoot('/', places())).rejects.toMatchObject({ code: 'emulated-root-missing' });
  });

  it.each([
    [
      'a folder',
      async () => {
        await rm(at('run/rootfs/etc'), { recursive: true });
        await symlink(join(home, 'machine/etc'), at('run/rootfs/etc'));
      },
    ],
    ['a file', () => symlink(join(home, 'machine/etc/shadow'), at('run/rootfs/etc/shadow'))],
    ['nothing yet', () => symlink(join(home, 'machine/etc/not-yet'), at('run/rootfs/etc/shadow'))],
  ])('is not left by a link of the image to %s of the machine', async (_what, link) => {
    await link();
    const files = await filesOf();
    await expect(put()).rejects.toMatchObject({ code: 'leads-out-of-device' });
    await expect(files.readInEffect('/etc/shadow')).rejects.toMatchObject({ code: 'leads-out-of-device' });
    await expect(files.cover('/etc/shadow')).rejects.toMatchObject({ code: 'leads-out-of-device' });
    expect(await machine()).toBe("the machine's");
  });

  it('may have links of its own', async () => {
    await mkdir(at('run/rootfs/usr/etc'), { recursive: true });
    await rm(at('run/rootfs/etc'), { recursive: true });
    await symlink('usr/etc', at('run/rootfs/etc'));
    await put();
    expect(await readFile(at('run/rootfs/usr/etc/shadow'), 'utf8')).toBe('own');
  });

  it.each([
    ['data', () => ({ dataDirectory: join(home, 'machine') })],
    ['application data', () => ({ applicationData: [join(home, 'machine')] })],
    ['a request for a reset', () => ({ resetRequest: '/boot/reset' })],
  ])('goes with %s in the device alone', async (_what, change) => {
    await expect(openOwnRoot(device, { ...places(), ...change() })).rejects.toMatchObject({
      code: 'leads-out-of-device',
    });
  });

  it('has the programs that are run', async () => {
    await mkdir(at('run/rootfs/bin'));
    await writeFile(at('run/rootfs/bin/sh'), '#!/bin/sh\necho of the device\n', { mode: 0o755 });
    const { run } = await openOwnRoot(device, places());
    expect(await run('/bin/sh', [])).toMatchObject({ status: 0, stdout: 'of the device\n' });
    await expect(run('/usr/bin/env', [])).rejects.toMatchObject({ code: 'board-program-missing' });
  });

  it('is what the first boot of an emulated board works on, whatever the environment says', async () => {
    await writeFile(at('board/booted.json'), '{"bootId":"boot-1","slot":"a","trial":false}\n');
    await writeFile(at('run/rootfs/etc/passwd'), 'only-here:x:0:0::/root:/bin/sh\n');
    const config = await readConfig(nodeDisk, at('factory/agent.json'));
    const before = process.env.HOLDFAST_RUN;
    process.env.HOLDFAST_RUN = '/';
    try {
      const { providers } = await wire(config, firstBootConfigOf(config), { info() {}, warn() {} } as unknown as Log);
      const seen = await Promise.all(providers.map((provider) => provider.inspect()));
      expect(seen.flat()).toContainEqual(expect.objectContaining({ name: 'password:only-here', state: 'factory' }));
      expect(seen.flat().filter(({ kind }) => kind === 'password')).toHaveLength(1);
    } finally {
      if (before === undefined) delete process.env.HOLDFAST_RUN;
      else process.env.HOLDFAST_RUN = before;
    }
  });
});
