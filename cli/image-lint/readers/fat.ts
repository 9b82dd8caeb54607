/**
 * FAT12, FAT16 and FAT32, read without mounting and without another program. Layout: Microsoft's FAT specification 1.03.
 *
 * Invariants: a chain of clusters ends at the number of clusters that there are, so that a circle ends too; every number is
 * checked against the partition's size.
 */
import type { ByteSource } from '../byte-source.ts';
import { EntryCollector, type ImageEntry, type ImageTree, Unreadable } from '../tree.ts';

const FOLDER_CAP_BYTES = 16 * 1024 * 1024;
const DEPTH_AT_MOST = 64;
const ATTRIBUTE = { volume: 0x08, folder: 0x10, longName: 0x0f } as const;

export function isFat(source: ByteSource): boolean {
  if (source.sizeBytes < 512) return false;
  const sector = source.read(0, 512);
  const clusterSectors = sector[13] ?? 0;
  return (
    sector.readUInt16LE(510) === 0xaa55 &&
    (sector[0] === 0xeb || sector[0] === 0xe9) &&
    [512, 1024, 2048, 4096].includes(sector.readUInt16LE(11)) &&
    clusterSectors > 0 &&
    (clusterSectors & (clusterSectors - 1)) === 0 &&
    (sector[16] === 1 || sector[16] === 2) &&
    (sector.toString('latin1', 54, 57) === 'FAT' || sector.toString('latin1', 82, 85) === 'FAT')
  );
}

export function readFat(source: ByteSource): ImageTree {
  const found = new EntryCollector();
  const clusters = new Map<string, number>();
  const volume = openVolume(source);
  const waiting: { path: string; bytes: Buffer; depth: number }[] = [{ path: '', bytes: volume.root(), depth: 0 }];
  const folders = new Set<number>();
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for (const { name, isFolder, cluster, sizeBytes } of entriesOf(folder.bytes)) {
      const path = name === '.' || name === '..' ? undefined : found.pathOf(folder.path, name);
      if (path === undefined) continue;
      if (!found.add(entryOf(path, isFolder, sizeBytes))) continue;
      clusters.set(path, cluster);
      if (!isFolder) continue;
      if (folders.has(cluster) || folder.depth >= DEPTH_AT_MOST) {
        found.trouble('a folder stands in two places, or too deep', path);
        continue;
      }
      folders.add(cluster);
      try {
        waiting.push({ path, bytes: volume.chain(cluster, FOLDER_CAP_BYTES), depth: folder.depth + 1 });
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        found.trouble('a folder is damaged', path);
      }
    }
  }
  return {
    format: 'vfat',
    entries: found.entries,
    troubles: found.troubles,
    read(entry, capBytes) {
      const wanted = Math.min(entry.sizeBytes, capBytes);
      if (wanted === 0) return new Uint8Array();
      try {
        const bytes = volume.chain(clusters.get(entry.path) ?? 0, wanted);
        if (bytes.length < wanted) throw new RangeError('short chain');
        return bytes.subarray(0, wanted);
      } catch (error) {
        if (error instanceof RangeError) throw new Unreadable('its clusters are damaged', { cause: error });
        throw error;
      }
    },
    close: () => undefined,
  };
}

function entryOf(path: string, isFolder: boolean, sizeBytes: number): ImageEntry {
  const kind = isFolder ? 'folder' : 'file';
  return { path, kind, mode: undefined, uid: 0, gid: 0, sizeBytes: isFolder ? 0 : sizeBytes, target: '' };
}

interface Volume {
  root(): Buffer;
  /** The bytes of a chain of clusters, up to `capBytes` and the rest of the last cluster. */
  chain(first: number, capBytes: number): Buffer;
}

function openVolume(source: ByteSource): Volume {
  try {
    return layOut(source, source.read(0, 512));
  } catch (error) {
    if (error instanceof RangeError) throw new Unreadable('its boot sector has impossible sizes', { cause: error });
    throw error;
  }
}

function layOut(source: ByteSource, sector: Buffer): Volume {
  const sectorBytes = sector.readUInt16LE(11);
  const clusterBytes = (sector[13] ?? 1) * sectorBytes;
  const reserved = sector.readUInt16LE(14);
  const rootEntries = sector.readUInt16LE(17);
  const fatSectors = sector.readUInt16LE(22) || sector.readUInt32LE(36);
  const total = sector.readUInt16LE(19) || sector.readUInt32LE(32);
  const rootAt = (reserved + (sector[16] ?? 2) * fatSectors) * sectorBytes;
  const rootBytes = Math.ceil((rootEntries * 32) / sectorBytes) * sectorBytes;
  const dataAt = rootAt + rootBytes;
  const count = Math.floor((Math.min(total * sectorBytes, source.sizeBytes) - dataAt) / clusterBytes);
  if (count < 1) throw new RangeError('clusters');
  const bits = count < 4085 ? 12 : count < 65525 ? 16 : 32;
  const table = source.read(
    reserved * sectorBytes,
    Math.min(fatSectors * sectorBytes, Math.ceil(((count + 2) * bits) / 8) + 4),
  );
  const next = (cluster: number): number => {
    if (bits === 32) return table.readUInt32LE(cluster * 4) & 0x0fffffff;
    if (bits === 16) return table.readUInt16LE(cluster * 2);
    const pair = table.readUInt16LE(cluster + (cluster >> 1));
    return (cluster & 1) === 1 ? pair >> 4 : pair & 0xfff;
  };
  const chain = (first: number, capBytes: number): Buffer => {
    const pieces: Buffer[] = [];
    let cluster = first;
    for (let gotBytes = 0; gotBytes < capBytes && pieces.length <= count; gotBytes += clusterBytes) {
      if (cluster < 2 || cluster >= count + 2) break;
      pieces.push(source.read(dataAt + (cluster - 2) * clusterBytes, clusterBytes));
      cluster = next(cluster);
    }
    return Buffer.concat(pieces);
  };
  return {
    root: () => (bits === 32 ? chain(sector.readUInt32LE(44), FOLDER_CAP_BYTES) : source.read(rootAt, rootBytes)),
    chain,
  };
}

interface FatEntry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly cluster: number;
  readonly sizeBytes: number;
}

function entriesOf(bytes: Buffer): FatEntry[] {
  const found: FatEntry[] = [];
  let long: string[] = [];
  for (let at = 0; at + 32 <= bytes.length; at += 32) {
    const entry = bytes.subarray(at, at + 32);
    const attributes = entry[11] ?? 0;
    if (entry[0] === 0) break;
    if (entry[0] === 0xe5) {
      long = [];
    } else if ((attributes & 0x3f) === ATTRIBUTE.longName) {
      // The last piece comes first.
      if (((entry[0] ?? 0) & 0x40) !== 0) long = [];
      long.unshift(
        `${entry.toString('utf16le', 1, 11)}${entry.toString('utf16le', 14, 26)}${entry.toString('utf16le', 28, 32)}`,
      );
    } else {
      if ((attributes & ATTRIBUTE.volume) === 0) found.push(shortEntry(entry, long.join('').replace(/\0.*$/s, '')));
      long = [];
    }
  }
  return found;
}

function shortEntry(entry: Buffer, longName: string): FatEntry {
  const base = entry.toString('latin1', 0, 8).trimEnd();
  const ending = entry.toString('latin1', 8, 11).trimEnd();
  const short = (ending === '' ? base : `${base}.${ending}`).toLowerCase();
  return {
    name: longName === '' ? short : longName,
    isFolder: ((entry[11] ?? 0) & ATTRIBUTE.folder) !== 0,
    cluster: entry.readUInt16LE(26) + entry.readUInt16LE(20) * 65536,
    sizeBytes: entry.readUInt32LE(28),
  };
}
