/** One device as it leaves the factory: a disk with release 1 in slot a, an empty slot b, and the device's own data. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { appendFile, copyFile, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { ClaimFile } from '../../protocol/enrolment.ts';
import { IMAGE_TOOL_ENV, makeExt4Image } from '../images/ext4-image.ts';
import { makeFatImage } from '../images/fat-image.ts';
import type { ImageFile } from '../images/image-tree.ts';
import { needProgram } from '../programs.ts';
import { assembleDisk } from './disk.ts';
import { BOOT, COMMON, DATA, ENVIRONMENT, partitionOf, ROOT } from './layout.ts';

const SOURCES = join(import.meta.dirname, 'board');
const BOOT_SCRIPT = resolve(import.meta.dirname, '../../agent/boards/u-boot/boot.cmd');
const COPY_BYTES = 0x4000;
const COPY_B_AT_BYTES = 0x10000;

export interface DeviceDiskRequest {
  readonly outFile: string;
  readonly bootImage: string;
  readonly rootImage: string;
  /** The claim file: the one thing on the disk that is this device's alone. */
  readonly claim: string;
  /** Other files of its data partition, by path. */
  readonly data?: Readonly<Record<string, string>>;
}

export async function makeDeviceDisk(request: DeviceDiskRequest): Promise<void> {
  const { outFile, bootImage, rootImage } = request;
  const work = `${outFile}.work`;
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  try {
    const at = (name: string): string => join(work, name);
    await makeCommon(at('common'), work);
    await makeEnvironment(at('environment'), work, await canaryOf(request));
    await makeData(at('data'), work, request);
    const parts = new Map([
      [COMMON, at('common')],
      [BOOT.a, bootImage],
      [ROOT.a, rootImage],
      [DATA, at('data')],
      [ENVIRONMENT, at('environment')],
    ]);
    await assembleDisk(outFile, parts);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Shows that bootloader and agent see one environment; any value does that is not another device's by chance. */
async function canaryOf({ rootImage, claim }: DeviceDiskRequest): Promise<string> {
  const hash = createHash('sha256').update(v.parse(ClaimFile, JSON.parse(await readFile(claim, 'utf8'))).claimId);
  for await (const chunk of createReadStream(rootImage)) hash.update(chunk);
  return hash.digest('hex').slice(0, 16);
}

/**
 * The shipped boot script behind what makes an environment for it, as one boot.scr. `boardParts`: names in board/ of what
 * stands between the two.
 */
export async function makeBootScript(outFile: string, boardParts: readonly string[] = []): Promise<void> {
  const text = `${outFile}.cmd`;
  const parts = [...['environment.cmd', ...boardParts].map((name) => join(SOURCES, name)), BOOT_SCRIPT];
  await writeFile(text, (await Promise.all(parts.map((path) => readFile(path, 'utf8')))).join('\n'));
  const words = ['-A', 'arm64', '-O', 'linux', '-T', 'script', '-C', 'none', '-n', 'holdfast', '-d', text, outFile];
  await needProgram('mkimage', words, { env: IMAGE_TOOL_ENV });
  await rm(text);
}

/** U-Boot's script, and the slot marked good. */
async function makeCommon(outFile: string, work: string): Promise<void> {
  const compiled = join(work, 'boot.scr');
  await makeBootScript(compiled);
  const files = [
    { name: 'boot.scr', bytes: await readFile(compiled) },
    { name: 'holdfast.good', bytes: new TextEncoder().encode('holdfast_good=a\n') },
  ];
  const { sizeBytes } = partitionOf(COMMON);
  await makeFatImage({ outFile, sizeBytes, files, workDirectory: join(work, 'fat') });
}

async function makeEnvironment(outFile: string, work: string, canary: string): Promise<void> {
  const text = join(work, 'environment.txt');
  await writeFile(text, `BOOT_ORDER=a\nholdfast_canary=${canary}\nbootcmd=run distro_bootcmd\n`);
  const copy = join(work, 'environment.copy');
  await needProgram('mkenvimage', ['-r', '-s', String(COPY_BYTES), '-o', copy, text]);
  await copyFile(copy, outFile);
  await truncate(outFile, COPY_B_AT_BYTES);
  await appendFile(outFile, await readFile(copy));
}

/** The claim, and room. Everything else that the device keeps it makes itself. */
async function makeData(outFile: string, work: string, request: DeviceDiskRequest): Promise<void> {
  const { claim, data = {} } = request;
  const file = (path: string, bytes: Uint8Array): ImageFile => ({
    path,
    mode: 0o600,
    content: { kind: 'bytes', bytes },
  });
  const others = Object.entries(data).map(([path, text]) => file(path, new TextEncoder().encode(text)));
  await makeExt4Image({
    outFile,
    sizeBytes: partitionOf(DATA).sizeBytes,
    files: [file('/factory/claim.json', await readFile(claim)), ...others],
    label: 'data',
    journal: true,
    workDirectory: join(work, 'data-files'),
  });
}
