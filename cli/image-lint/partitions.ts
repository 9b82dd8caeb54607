/**
 * Partition tables, read: GPT (UEFI 2.10, chapter 5) and MBR with its logical partitions.
 *
 * Invariants: every number is checked against the image's size; a chain of logical partitions ends after 128.
 */
import type { ByteSource } from './byte-source.ts';

export interface Partition {
  readonly number: number;
  /** GPT's name; empty in an MBR. */
  readonly name: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
}

const MBR_SECTOR_BYTES = 512;
const PARTITIONS_AT_MOST = 128;
const EXTENDED = [0x05, 0x0f, 0x85];
const PROTECTIVE = 0xee;

/** undefined: there is no table, and the whole image is to be looked at. */
export function readPartitions(image: ByteSource): readonly Partition[] | undefined {
  if (image.sizeBytes < 2 * MBR_SECTOR_BYTES) return undefined;
  for (const sectorBytes of [512, 4096]) {
    const found = readGpt(image, sectorBytes);
    if (found !== undefined) return found;
  }
  return readMbr(image);
}

function readGpt(image: ByteSource, sectorBytes: number): Partition[] | undefined {
  if (image.sizeBytes < 2 * sectorBytes) return undefined;
  const header = image.read(sectorBytes, 512);
  if (header.toString('latin1', 0, 8) !== 'EFI PART') return undefined;
  const tableAt = Number(header.readBigUInt64LE(72)) * sectorBytes;
  const count = Math.min(header.readUInt32LE(80), PARTITIONS_AT_MOST);
  const entryBytes = header.readUInt32LE(84);
  if (entryBytes < 128 || entryBytes > 4096 || tableAt + count * entryBytes > image.sizeBytes) return undefined;
  const table = image.read(tableAt, count * entryBytes);
  const found: Partition[] = [];
  for (let index = 0; index < count; index += 1) {
    const entry = table.subarray(index * entryBytes, (index + 1) * entryBytes);
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue;
    const first = Number(entry.readBigUInt64LE(32));
    const last = Number(entry.readBigUInt64LE(40));
    const name = entry.toString('utf16le', 56, 128).replace(/\0.*$/s, '');
    if (last < first) continue;
    const sizeBytes = (last - first + 1) * sectorBytes;
    found.push({ number: index + 1, name, startBytes: first * sectorBytes, sizeBytes });
  }
  return found;
}

interface MbrEntry {
  readonly type: number;
  readonly first: number;
  readonly sectors: number;
}

function mbrEntries(sector: Buffer): MbrEntry[] {
  return [0, 1, 2, 3].map((index) => {
    const at = 446 + 16 * index;
    return { type: sector[at + 4] ?? 0, first: sector.readUInt32LE(at + 8), sectors: sector.readUInt32LE(at + 12) };
  });
}

function readMbr(image: ByteSource): Partition[] | undefined {
  const sector = image.read(0, MBR_SECTOR_BYTES);
  if (sector.readUInt16LE(510) !== 0xaa55) return undefined;
  // A boot sector of FAT ends like an MBR; where a table would be it has code, whose status bytes are not 0x00 or 0x80.
  if ([0, 1, 2, 3].some((index) => ((sector[446 + 16 * index] ?? 0) & 0x7f) !== 0)) return undefined;
  const entries = mbrEntries(sector);
  if (entries.every(({ type, sectors }) => type === 0 || sectors === 0)) return undefined;
  if (entries.some(({ type, first }) => type !== 0 && first * MBR_SECTOR_BYTES >= image.sizeBytes)) return undefined;
  const found: Partition[] = [];
  for (const [index, entry] of entries.entries()) {
    if (entry.type === 0 || entry.sectors === 0 || entry.type === PROTECTIVE) continue;
    if (EXTENDED.includes(entry.type)) found.push(...logicalPartitions(image, entry.first));
    else found.push(partitionOf(index + 1, entry.first, entry.sectors));
  }
  return found;
}

function partitionOf(number: number, first: number, sectors: number): Partition {
  return { number, name: '', startBytes: first * MBR_SECTOR_BYTES, sizeBytes: sectors * MBR_SECTOR_BYTES };
}

function logicalPartitions(image: ByteSource, start: number): Partition[] {
  const found: Partition[] = [];
  for (let at = start; found.length < PARTITIONS_AT_MOST; ) {
    if ((at + 1) * MBR_SECTOR_BYTES > image.sizeBytes) return found;
    const sector = image.read(at * MBR_SECTOR_BYTES, MBR_SECTOR_BYTES);
    if (sector.readUInt16LE(510) !== 0xaa55) return found;
    const [own, next] = mbrEntries(sector);
    if (own !== undefined && own.sectors > 0) found.push(partitionOf(5 + found.length, at + own.first, own.sectors));
    if (next === undefined || next.sectors === 0 || next.first === 0 || start + next.first === at) return found;
    // A chain only leads on: backwards would be a circle.
    if (start + next.first <= at) return found;
    at = start + next.first;
  }
  return found;
}
