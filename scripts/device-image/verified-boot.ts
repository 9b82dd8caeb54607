/**
 * The option that every byte which runs from a slot is verified at each boot: U-Boot verifies the FIT, the initial RAM disk in it
 * holds the root hash, and the kernel verifies each block of the root file system when it reads it. See docs/QEMU.md.
 *
 * What the bootloader trusts lies outside of the disk: its device tree with the maker's key, and a read-only flash with
 * its environment and the boot script.
 */
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFatImage } from '../images/fat-image.ts';
import { needProgram } from '../programs.ts';
import { type Accelerator, boardWords, EMULATOR } from './board.ts';
import { packRamDisk } from './boot-image.ts';
import type { DeviceBase } from './device-base.ts';
import { makeBootScript } from './device-disk.ts';
import { BOOT, partitionOf } from './layout.ts';
import { signFit } from './signed-fit.ts';
import { appendVerityTree, verityLine } from './verity.ts';

/** Where this board's U-Boot looks for its environment, and how much of it is one. */
const FLASH_BYTES = 64 * 1024 * 1024;
const FLASH_ADDRESS = 0x4000000;
const ENVIRONMENT_BYTES = 0x40000;
const SCRIPT_AT_BYTES = 0x100000;

/** What the board is given beside its disk (QEMU's -dtb and its second flash). */
export interface BoardFirmware {
  readonly deviceTree: string;
  readonly flash: string;
}

/**
 * Appends the hash tree to a root image, and makes the boot image that belongs to it: FAT with one file, kernel.itb.
 * `base` must have been made with `verified`.
 */
export async function makeVerifiedImages(
  base: DeviceBase,
  { rootImage, bootImage, keyFolder }: { rootImage: string; bootImage: string; keyFolder: string },
): Promise<void> {
  const root = await appendVerityTree(rootImage);
  const work = `${bootImage}.work`;
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, 'tree'), { recursive: true });
  try {
    await writeFile(join(work, 'tree/verity'), verityLine(root));
    await packRamDisk(join(work, 'tree'), join(work, 'verity.img'));
    // The kernel unpacks one archive after another.
    const ramDisk = join(work, 'initrd.img');
    await writeFile(ramDisk, Buffer.concat([await readFile(base.ramDisk), await readFile(join(work, 'verity.img'))]));
    const fit = join(work, 'kernel.itb');
    await signFit({ kernel: base.kernelFile, ramDisk, outFile: fit, keyFolder });
    await makeFitBootImage(bootImage, fit);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A slot's boot image with this FIT. */
export async function makeFitBootImage(outFile: string, fit: string): Promise<void> {
  await makeFatImage({
    outFile,
    sizeBytes: partitionOf(BOOT.a).sizeBytes,
    files: [{ name: 'kernel.itb', bytes: await readFile(fit) }],
    workDirectory: `${outFile}.fat`,
  });
}

export interface FirmwareRequest {
  /** Gets board.dtb and flash.img. */
  readonly folder: string;
  readonly base: DeviceBase;
  readonly keyFolder: string;
  /** Of the board that will have it: its device tree says what the board is. */
  readonly accelerator: Accelerator;
}

export async function makeBoardFirmware(request: FirmwareRequest): Promise<BoardFirmware> {
  const { folder, base, keyFolder, accelerator } = request;
  const firmware = { deviceTree: join(folder, 'board.dtb'), flash: join(folder, 'flash.img') };
  const { deviceTree } = firmware;
  // Without seeds: a device tree that is kept would give every boot the same ones.
  await needProgram(EMULATOR, boardWords(accelerator, `,dumpdtb=${deviceTree},dtb-randomness=off`));
  // mkimage adds a public key only while it signs something.
  const fit = join(folder, 'key.itb');
  await signFit({ kernel: base.kernelFile, ramDisk: base.ramDisk, outFile: fit, keyFolder, deviceTree });
  await rm(fit);
  await makeFlash(folder, firmware.flash);
  return firmware;
}

async function makeFlash(folder: string, outFile: string): Promise<void> {
  const [text, environment, script] = [join(folder, 'env.txt'), join(folder, 'env.bin'), join(folder, 'boot.scr')];
  const address = (FLASH_ADDRESS + SCRIPT_AT_BYTES).toString(16);
  // bootdelay: no key on the console stops it. The script ends in a reset, and so does what comes back from it.
  const lines = [
    'bootdelay=-2',
    `bootcmd=setenv devtype virtio; setenv devnum 0; virtio scan; source 0x${address}; reset`,
  ];
  await writeFile(text, `${lines.join('\n')}\n`);
  await needProgram('mkenvimage', ['-s', String(ENVIRONMENT_BYTES), '-o', environment, text]);
  await makeBootScript(script, ['verified.cmd']);
  await rm(outFile, { force: true });
  const flash = await open(outFile, 'wx');
  try {
    await flash.truncate(FLASH_BYTES);
    for (const [file, at] of [
      [environment, 0],
      [script, SCRIPT_AT_BYTES],
    ] as const) {
      const bytes = await readFile(file);
      await flash.write(bytes, 0, bytes.length, at);
    }
  } finally {
    await flash.close();
  }
  for (const file of [text, environment, script]) await rm(file);
}
