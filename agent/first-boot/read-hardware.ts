/**
 * Reads what identifies this board from where agent.json says, each capped. A trait that cannot be read, or whose value is
 * one byte or digit all along (a serial number that nobody burnt in), is left out: agent/core/hardware.ts takes that as
 * not known, never as another board.
 *
 * Sources: Documentation/devicetree (serial-number of the root node), Documentation/driver-api/nvmem, and
 * Documentation/ABI/testing/sysfs-bus-mmc and drivers/mmc/core/bus.c for `type` (MMC, SD) and `cid`.
 */
import { createHash } from 'node:crypto';
import type { Disk } from '../../platform/disk.ts';
import { systemErrorCode } from '../../platform/fault.ts';
import { readProc } from '../boards/machine.ts';
import type { HardwareTrait } from '../core/first-boot-ports.ts';
import { HARDWARE_WEIGHTS, type HardwareSource } from '../core/hardware.ts';

export interface HardwarePlace {
  readonly source: HardwareSource;
  /** Of `emmc-cid`: a folder like /sys/block. */
  readonly path: string;
}

/** At most one trait a source: where a source has several places, all of them together. */
export async function readHardware(disk: Disk, places: readonly HardwarePlace[]): Promise<readonly HardwareTrait[]> {
  const values = new Map<HardwareSource, Uint8Array[]>();
  for (const { source, path } of places) {
    const found = source === 'emmc-cid' ? await readCids(disk, path) : [await readValue(disk, path)];
    const known = found.filter((value) => value !== undefined);
    if (known.length > 0) values.set(source, [...(values.get(source) ?? []), ...known]);
  }
  return [...values].map(([source, parts]) => ({
    source,
    weight: HARDWARE_WEIGHTS[source],
    digest: digestOf(source, parts),
  }));
}

/** CIDs of what is soldered: `type` is MMC. A card says SD, and moves. Boot and RPMB areas are the same device again. */
async function readCids(disk: Disk, folder: string): Promise<readonly (Uint8Array | undefined)[]> {
  const names = await disk.list(folder).catch(() => []);
  const cids: (Uint8Array | undefined)[] = [];
  for (const name of names.filter((one) => /^mmcblk\d+$/.test(one))) {
    const type = await readValue(disk, `${folder}/${name}/device/type`);
    if (type !== undefined && new TextDecoder().decode(type) === 'MMC')
      cids.push(await readValue(disk, `${folder}/${name}/device/cid`));
  }
  return cids;
}

/** Without the NUL or newline at its end; undefined when there is none, or nothing in it. */
async function readValue(disk: Disk, path: string): Promise<Uint8Array | undefined> {
  try {
    const bytes = await readProc(disk, path);
    let end = bytes?.length ?? 0;
    while (end > 0 && [0, 0x0a, 0x20].includes(bytes?.[end - 1] ?? 1)) end -= 1;
    const value = bytes?.subarray(0, end) ?? new Uint8Array();
    return new Set(value).size > 1 ? value : undefined;
  } catch (error) {
    // Permissions, a driver that gives EIO, a folder in its place: not known.
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

function digestOf(source: string, parts: readonly Uint8Array[]): string {
  const digest = createHash('sha256').update(`holdfast trait 1\0${source}\0`);
  const sorted = parts.map((part) => Buffer.from(part)).sort(Buffer.compare);
  for (const part of sorted) digest.update(`${part.length}\0`).update(part);
  return digest.digest('hex');
}
