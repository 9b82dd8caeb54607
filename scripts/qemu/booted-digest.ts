/** What lies in a slot, read by this machine from the device's disk and not asked of the device. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { BOOT, partitionOf, ROOT } from '../device-image/layout.ts';
import { needProgram } from '../programs.ts';

/** The images of a release that people signed. */
export interface SignedImages {
  readonly version: string;
  readonly bootImage: string;
  readonly rootImage: string;
}

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
  async versionIn(disk: string, slot: 'a' | 'b', releases: readonly SignedImages[]): Promise<string | undefined> {
    for (const { version, bootImage, rootImage } of releases) {
      // The root file system first: releases share a boot image.
      const root = await this.#digestOf(rootImage);
      if ((await digestInPartition(disk, ROOT[slot], root.sizeBytes)) !== root.sha256) continue;
      const boot = await this.#digestOf(bootImage);
      if ((await digestInPartition(disk, BOOT[slot], boot.sizeBytes)) === boot.sha256) return version;
    }
    return undefined;
  }

  #digestOf(path: string): Promise<ImageDigest> {
    const known = this.#digests.get(path) ?? digestOf(path);
    this.#digests.set(path, known);
    return known;
  }
}

async function digestOf(path: string): Promise<ImageDigest> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  const { size } = await stat(path);
  return { sizeBytes: size, sha256: hash.digest('hex') };
}

/** SHA-256 of a partition's first bytes. */
async function digestInPartition(disk: string, partition: number, sizeBytes: number): Promise<string> {
  const raw = `${disk}.looked-at`;
  const file = { driver: 'qcow2', file: { driver: 'file', filename: disk } };
  const part = { driver: 'raw', offset: partitionOf(partition).startBytes, size: sizeBytes, file };
  await needProgram('qemu-img', ['convert', '-U', '-O', 'raw', `json:${JSON.stringify(part)}`, raw]);
  try {
    return (await digestOf(raw)).sha256;
  } finally {
    await rm(raw, { force: true });
  }
}
