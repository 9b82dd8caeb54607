/** What lies in a slot, read by this machine from the device's disk and not asked of the device. */
import { rm, stat } from 'node:fs/promises';
import { sha256OfFile } from '../file-digest.ts';
import { needProgram } from '../programs.ts';

/** The images of a release that people signed. */
export interface SignedImages {
  readonly version: string;
  /** Files, by component. */
  readonly images: ReadonlyMap<string, string>;
}

/** Where the images of a slot lie on the disk, by component. */
export type SlotPlaces = ReadonlyMap<string, { readonly startBytes: number }>;

interface ImageDigest {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Knows signed releases by their images, each read once. */
export class SlotReader {
  readonly #digests = new Map<string, Promise<ImageDigest>>();

  /**
   * The version whose images the slot holds, byte for byte; undefined when it holds those of no release. The disk may be
   * in use: the slot that runs is not written to.
   */
  async versionIn(disk: string, slot: SlotPlaces, releases: readonly SignedImages[]): Promise<string | undefined> {
    for (const { version, images } of releases) {
      if (await this.#holdsAll(disk, slot, images)) return version;
    }
    return undefined;
  }

  async #holdsAll(disk: string, slot: SlotPlaces, images: ReadonlyMap<string, string>): Promise<boolean> {
    // The root file system, which comes last, first: releases share a boot image.
    for (const [component, image] of [...images].reverse()) {
      const { sizeBytes, sha256 } = await this.#digestOf(image);
      const place = slot.get(component);
      if (place === undefined || (await digestInDisk(disk, place.startBytes, sizeBytes)) !== sha256) return false;
    }
    return images.size > 0;
  }

  #digestOf(path: string): Promise<ImageDigest> {
    const known = this.#digests.get(path) ?? digestOf(path);
    this.#digests.set(path, known);
    return known;
  }
}

async function digestOf(path: string): Promise<ImageDigest> {
  const { size } = await stat(path);
  return { sizeBytes: size, sha256: await sha256OfFile(path) };
}

/** SHA-256 of a partition's first bytes. */
async function digestInDisk(disk: string, startBytes: number, sizeBytes: number): Promise<string> {
  const raw = `${disk}.looked-at`;
  const file = { driver: 'qcow2', file: { driver: 'file', filename: disk } };
  const part = { driver: 'raw', offset: startBytes, size: sizeBytes, file };
  await needProgram('qemu-img', ['convert', '-U', '-O', 'raw', `json:${JSON.stringify(part)}`, raw]);
  try {
    return await sha256OfFile(raw);
  } finally {
    await rm(raw, { force: true });
  }
}
