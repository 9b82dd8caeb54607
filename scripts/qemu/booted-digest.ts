/** What lies in a slot, read by this machine from the device's disk and not asked of the device. */
import { createHash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { BOOT, partitionOf, ROOT } from '../device-image/layout.ts';
import { needProgram } from '../programs.ts';

/** The images of a release that people signed. */
export interface SignedImages {
  readonly version: string;
  readonly bootImage: string;
  readonly rootImage: string;
}

/**
 * The version whose images the slot holds, byte for byte; undefined when it holds those of no release. The disk may be
 * in use: the slot that runs is not written to.
 */
export async function versionInSlot(
  disk: string,
  slot: 'a' | 'b',
  releases: readonly SignedImages[],
): Promise<string | undefined> {
  const raw = `${disk}.looked-at`;
  await needProgram('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', disk, raw]);
  try {
    for (const { version, bootImage, rootImage } of releases) {
      const same = (await holds(raw, BOOT[slot], bootImage)) && (await holds(raw, ROOT[slot], rootImage));
      if (same) return version;
    }
    return undefined;
  } finally {
    await rm(raw, { force: true });
  }
}

async function holds(disk: string, partition: number, image: string): Promise<boolean> {
  const { startBytes } = partitionOf(partition);
  const { size } = await stat(image);
  return (await hashRange(disk, startBytes, size)) === (await hashRange(image, 0, size));
}

async function hashRange(path: string, startBytes: number, lengthBytes: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  try {
    const end = startBytes + lengthBytes - 1;
    for await (const chunk of file.createReadStream({ start: startBytes, end, autoClose: false })) hash.update(chunk);
    return hash.digest('hex');
  } finally {
    await file.close();
  }
}
