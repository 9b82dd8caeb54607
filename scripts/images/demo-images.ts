/**
 * The demo product's images: `boot.img` (FAT: a kernel-like file, its configuration, the release's name) and
 * `rootfs.img` (ext4: real programs and libraries of this machine, the agent and its first boot, a health check, the
 * product's app, and the secrets of its factory).
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, Fault } from '../../platform/fault.ts';
import { EXT4_OVERHEAD_SHARE, makeExt4Image } from './ext4-image.ts';
import { factorySecretFiles } from './factory-secrets.ts';
import { makeFatImage } from './fat-image.ts';
import {
  contentSizeBytes,
  filesOfVersion,
  type ImageFile,
  madeFile,
  type RealFile,
  readContent,
  realFiles,
} from './image-tree.ts';

const MIB = 1024 * 1024;
const USERSPACE = join(import.meta.dirname, 'userspace');
export const PROJECT_DIRECTORY = join(import.meta.dirname, '../..');

export interface DemoImageRequest {
  readonly version: string;
  readonly sequence: number;
  /** Where boot.img and rootfs.img are made. */
  readonly outDirectory: string;
  /** The app starts, and says that its sensor does not work: the health check fails. */
  readonly brokenApp: boolean;
  readonly rootfsMib: number;
  readonly bootMib: number;
  /** The shipped bundles. */
  readonly agentFile: string;
  readonly firstBootFile: string;
  /** Share of the root file system that is written. */
  readonly onProgress?: (share: number) => void;
}

/** Paths. */
export type DemoImages = Readonly<Record<'boot' | 'rootfs', string>>;

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
/** `holdfast-agent` and its first boot, as `npm run build` makes them. */
export const BUILT_BUNDLES = {
  agentFile: join(PROJECT_DIRECTORY, 'dist/holdfast-agent.mjs'),
  firstBootFile: join(PROJECT_DIRECTORY, 'dist/holdfast-firstboot.mjs'),
} as const;

async function bundle(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new Fault({
      code: 'agent-not-built',
      what: 'the agent that the image carries is not built',
      where: file,
      cure: 'npm run build',
      exitStatus: EXIT.input,
      cause,
    });
  }
}

function setConstant(source: string, from: string, to: string): string {
  if (!source.includes(from)) throw new Error(`app.mjs has no line ${from}`);
  return source.replace(from, to);
}

async function ownFiles(request: DemoImageRequest): Promise<ImageFile[]> {
  const { version, sequence, brokenApp } = request;
  let app = await readFile(join(USERSPACE, 'app.mjs'), 'utf8');
  app = setConstant(app, "VERSION = '0.0.0'", `VERSION = ${JSON.stringify(version)}`);
  if (brokenApp) app = setConstant(app, 'SENSOR_WORKS = true', 'SENSOR_WORKS = false');
  return [
    madeFile('/etc/holdfast-release', `${JSON.stringify({ version, sequence })}\n`),
    madeFile('/usr/lib/acme/app.mjs', app),
    madeFile('/usr/lib/holdfast/agent.mjs', await bundle(request.agentFile)),
    madeFile('/usr/lib/holdfast/firstboot.mjs', await bundle(request.firstBootFile)),
    madeFile('/usr/lib/holdfast/health.d/10-app', await readFile(join(USERSPACE, '10-app')), 0o755),
    ...factorySecretFiles(),
  ];
}

async function makeBoot(request: DemoImageRequest, outFile: string, kernelFrom: readonly ImageFile[]): Promise<void> {
  const { version, sequence } = request;
  const sizeBytes = request.bootMib * MIB;
  const parts = [text(`holdfast demo kernel ${version}\n`)];
  let room = Math.floor(sizeBytes * 0.85);
  for (const file of kernelFrom) {
    if (room <= 0) break;
    const bytes = (await readContent(file)).subarray(0, room);
    parts.push(bytes);
    room -= bytes.length;
  }
  const files = [
    { name: 'release.jsn', bytes: text(`${JSON.stringify({ version, sequence })}\n`) },
    { name: 'cmdline.txt', bytes: text('console=ttyAMA0 root=/dev/slot rootfstype=ext4 ro\n') },
    { name: 'config.txt', bytes: text('arm_64bit=1\nkernel=kernel8.img\n') },
    { name: 'kernel8.img', bytes: Buffer.concat(parts) },
  ];
  await makeFatImage({ outFile, sizeBytes, files, workDirectory: workIn(request.outDirectory) });
}

const workIn = (directory: string): string => join(directory, `.work-${randomUUID()}`);

function selectFiles(request: DemoImageRequest, real: readonly RealFile[], own: readonly ImageFile[]): ImageFile[] {
  const ownBytes = own.reduce((sum, file) => sum + contentSizeBytes(file) + 4096, 0);
  const budget = Math.floor(request.rootfsMib * MIB * (1 - EXT4_OVERHEAD_SHARE)) - ownBytes;
  if (budget < 0) {
    throw new Fault({
      code: 'image-too-small',
      what: `the agent and the app do not fit into ${request.rootfsMib} MiB`,
      cure: 'Give a larger --rootfs-mib.',
      exitStatus: EXIT.input,
    });
  }
  return filesOfVersion(real, request.version, budget);
}

/** Makes both images; what stood there before is replaced. */
export async function makeDemoImages(request: DemoImageRequest): Promise<DemoImages> {
  const { outDirectory, rootfsMib } = request;
  await mkdir(outDirectory, { recursive: true });
  const images = { boot: join(outDirectory, 'boot.img'), rootfs: join(outDirectory, 'rootfs.img') };
  const own = await ownFiles(request);
  // More than fits: the far end of the list is what changed files are made of.
  const real = await realFiles(PROJECT_DIRECTORY, rootfsMib * MIB * 1.25, (rootfsMib * MIB) / 8);
  const chosen = selectFiles(request, real, own);
  await makeBoot(request, images.boot, chosen.toReversed());
  const files = [...chosen, ...own];
  await makeExt4Image({
    outFile: images.rootfs,
    sizeBytes: rootfsMib * MIB,
    files,
    workDirectory: workIn(outDirectory),
    onFile: (written) => request.onProgress?.(written / files.length),
  });
  return images;
}
