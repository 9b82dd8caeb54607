/**
 * What verifying a release costs: the signatures and metadata once, then every block and the whole of the image, against
 * reading and hashing the same bytes with node:crypto and nothing else.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { silentLog } from '../../agent/log.ts';
import { obtainRelease, verifyImages } from '../../agent/obtain-release.ts';
import { DirectorySource } from '../../agent/transport/directory-source.ts';
import { nodeDisk } from '../../platform/disk.ts';
import { CHANNEL, HARDWARE_CLASS, NOW_UNIX_S, TestMaker, VENDOR } from '../sim/release-fixture.ts';
import { medianOf, type Ratio, type Row, rowOf, timed } from './measure.ts';

const IMAGE_BYTES = 64 * 1024 * 1024;

export async function benchVerification(directory: string, runs: number): Promise<{ rows: Row[]; ratios: Ratio[] }> {
  const { releasePath, imageFile } = await publishTo(directory);
  const clock = { monotonicMs: () => performance.now(), wallUnixMs: () => NOW_UNIX_S * 1000, sleep: async () => {} };
  const ports = { disk: nodeDisk, clock, log: silentLog, source: new DirectorySource(nodeDisk, directory) };
  const device = {
    deviceId: 'cam-0001',
    vendor: VENDOR,
    hardwareClass: HARDWARE_CLASS,
    channel: CHANNEL,
    environment: 'rehearsal',
  } as const;
  const signatures: number[] = [];
  const images: number[] = [];
  const hashing: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    // A fresh state folder each time: the root chain, timestamp, snapshot and targets are all verified again.
    const settings = {
      device,
      stateDirectory: join(directory, `state-${run}`),
      factoryRootPath: join(directory, 'metadata/1.root.json'),
    };
    let obtained: Awaited<ReturnType<typeof obtainRelease>> | undefined;
    signatures.push(await timed(async () => (obtained = await obtainRelease(ports, settings, releasePath, 1, 0))));
    if (obtained?.ok !== true) throw new Error(`the release was refused: ${JSON.stringify(obtained)}`);
    const { value } = obtained;
    images.push(
      await timed(async () => {
        const verdict = await verifyImages(ports, value);
        if (!verdict.ok) throw new Error(`the images were refused: ${JSON.stringify(verdict)}`);
      }),
    );
    hashing.push(
      await timed(async () =>
        createHash('sha256')
          .update(await readFile(imageFile))
          .digest(),
      ),
    );
  }
  const ratio = medianOf(images) / medianOf(hashing);
  return {
    rows: [
      rowOf('verify a release', 'metadata, signatures, block maps', signatures, 'ms'),
      rowOf('verify a release', 'every block and the whole of 64 MiB', images, 'ms'),
      rowOf('verify a release', 'one SHA-256 over the same 64 MiB', hashing, 'ms'),
    ],
    ratios: [{ name: 'verifying images / one SHA-256 of them', value: round(ratio), aim: '<= 4', met: ratio <= 4 }],
  };
}

const round = (value: number): number => Math.round(value * 100) / 100;

/** The folder that `verify --from` reads: metadata/ and targets/. */
async function publishTo(directory: string): Promise<{ releasePath: string; imageFile: string }> {
  const maker = new TestMaker();
  const { releasePath } = maker.release({
    sequence: 2,
    version: '2.0.0',
    images: { rootfs: new Uint8Array(randomBytes(IMAGE_BYTES)) },
  });
  maker.publish();
  const write = async (path: string, bytes: Uint8Array): Promise<string> => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    return path;
  };
  for (const [name, bytes] of maker.metadata) await write(join(directory, 'metadata', name), bytes);
  let imageFile = '';
  for (const [path, bytes] of maker.files) {
    const file = await write(join(directory, 'targets', path), bytes);
    if (bytes.length === IMAGE_BYTES) imageFile = file;
  }
  return { releasePath, imageFile };
}
