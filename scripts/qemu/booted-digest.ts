/** What lies in a slot, read by this machine from the device's disk and not asked of the device. */
import { createHash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { needProgram } from '../programs.ts';

/** The images of a release that people signed. */
export interface SignedImages {
  readonly version: string;
  /** Files, by component. */
  readonly images: ReadonlyMap<string, string>;
}

/** Where the images of a slot lie on the disk, by component. */
export type SlotPlaces = ReadonlyMap<string, { readonly startBytes: number }>;

/**
 * The version whose images the slot holds, byte for byte; undefined when it holds those of no release. The disk may be
 * in use: the slot that runs is not written to.
 */
export async function versionInSlot(
  disk: string,
  slot: SlotPlaces,
  releases: readonly SignedImages[],
): Promise<string | undefined> {
  const raw = `${disk}.looked-at`;
  await needProgram('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', disk, raw]);
  try {
    for (const { version, images } of releases) {
      if (await holdsAll(raw, slot, images)) return version;
    }
    return undefined;
  } finally {
    await rm(raw, { force: true });
  }
}

async function holdsAll(disk: string, slot: SlotPlaces, images: ReadonlyMap<string, string>): Promise<boolean> {
  for (const [component, image] of images) {
    const place = slot.get(component);
    if (place === undefined || !(await holds(disk, place.startBytes, image))) return false;
  }
  return images.size > 0;
}

async function holds(disk: string, startBytes: number, image: string): Promise<boolean> {
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
