import { describe, expect, it } from 'vitest';
import { obtainRelease, verifyImages } from '../../../agent/obtain-release.ts';
import { BLOCK_BYTES } from '../../../trust/blocks.ts';
import { MemorySource, type ReleaseWish, TestMaker } from '../../sim/release-fixture.ts';
import { makeFactoryDevice, SimulatedDevice } from '../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../sim/simulated-disk.ts';

const ROOTFS = new Uint8Array(BLOCK_BYTES + 50).fill(3);
const GOOD: ReleaseWish = {
  sequence: 2,
  version: '2.0.0',
  images: { boot: new Uint8Array(700).fill(4), rootfs: ROOTFS },
};

async function obtain(wish: ReleaseWish, after: (maker: TestMaker) => void = () => {}) {
  const maker = new TestMaker();
  const { releasePath } = maker.release(wish);
  after(maker);
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, {}, maker.factoryRoot);
  const source = new MemorySource(maker);
  const device = new SimulatedDevice(disk, source);
  return { source, obtained: await obtainRelease(device.ports(), device.settings, releasePath, 1, 0) };
}

describe('obtaining a release', () => {
  it('gives the verified release with a block map for every image, and its images verify', async () => {
    const { source, obtained } = await obtain(GOOD);
    if (!obtained.ok) throw new Error(obtained.detail);
    expect([...obtained.value.blockMaps.keys()]).toEqual(['boot', 'rootfs']);
    const images = await verifyImages({ source }, obtained.value);
    expect(images).toMatchObject({
      ok: true,
      value: { images: [{ component: 'boot' }, { component: 'rootfs', sizeBytes: ROOTFS.length }] },
    });
  });

  it('refuses an image with one flipped bit', async () => {
    const served = ROOTFS.map((byte, at) => (at === BLOCK_BYTES + 7 ? byte ^ 1 : byte));
    const { source, obtained } = await obtain({ ...GOOD, serveImage: { rootfs: served } });
    if (!obtained.ok) throw new Error(obtained.detail);
    expect(await verifyImages({ source }, obtained.value)).toMatchObject({ code: 'block-digest-mismatch' });
  });

  it('refuses an image that fits its block map and not its signed digest', async () => {
    const { source, obtained } = await obtain({ ...GOOD, signDigest: { rootfs: 'cd'.repeat(32) } });
    if (!obtained.ok) throw new Error(obtained.detail);
    expect(await verifyImages({ source }, obtained.value)).toMatchObject({ code: 'image-digest-mismatch' });
  });

  it('refuses a block map that is not the signed one', async () => {
    const { obtained } = await obtain(GOOD, (maker) => {
      for (const [path, bytes] of maker.files) {
        if (path.endsWith('.rootfs.blocks'))
          maker.files.set(
            path,
            bytes.map((byte, at) => (at === 40 ? byte ^ 1 : byte)),
          );
      }
    });
    expect(obtained).toMatchObject({ ok: false, code: 'metadata-hash-mismatch' });
  });

  it('refuses a target that is longer than it was signed', async () => {
    const { obtained } = await obtain(GOOD, (maker) => {
      for (const [path, bytes] of maker.files) {
        if (path.endsWith('.release.suit')) maker.files.set(path, new Uint8Array([...bytes, 0]));
      }
    });
    expect(obtained).toMatchObject({ ok: false, code: 'input-too-large' });
  });
});
