/** Opens what a person named: a folder, a file system, or a disk with a partition table; each file system is a volume. */
import { statSync } from 'node:fs';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { ByteSource } from './byte-source.ts';
import { type Partition, readPartitions } from './partitions.ts';
import { readDirectory } from './readers/directory.ts';
import { isErofs, readErofs } from './readers/erofs.ts';
import { isExt4, readExt4 } from './readers/ext4.ts';
import { isFat, readFat } from './readers/fat.ts';
import { isSquashfs, readSquashfs } from './readers/squashfs.ts';
import { type ImageTree, TreeView, Unreadable } from './tree.ts';

export interface Volume {
  /** `partition 5 (root-a)`; empty when the image is one file system. */
  readonly name: string;
  readonly format: string;
  readonly sizeBytes: number;
  /** undefined: empty, unknown or unreadable, as `trouble` says. */
  readonly view: TreeView | undefined;
  readonly state: 'read' | 'empty' | 'unknown' | 'unread';
  readonly trouble: string;
  /** The root file system of a system: what rules about configuration look at. */
  readonly isRoot: boolean;
}

export interface OpenedImage {
  readonly volumes: readonly Volume[];
  close(): void;
}

interface Reader {
  readonly is: (source: ByteSource) => boolean;
  readonly read: (source: ByteSource) => ImageTree;
}

const READERS: readonly Reader[] = [
  { is: isSquashfs, read: readSquashfs },
  { is: isExt4, read: readExt4 },
  { is: isErofs, read: readErofs },
  { is: isFat, read: readFat },
];

/** What is known by name and not read: [format, offset, bytes in latin1]. */
const OTHERS: readonly (readonly [format: string, offset: number, bytes: string])[] = [
  ['btrfs', 0x10040, '_BHRfS_M'],
  ['f2fs', 1024, '\x10\x20\xf5\xf2'],
  ['xfs', 0, 'XFSB'],
  ['LUKS', 0, 'LUKS\xba\xbe'],
  ['LVM', 512, 'LABELONE'],
  ['UBI', 0, 'UBI#'],
  ['Android sparse image', 0, '\x3a\xff\x26\xed'],
  ['gzip', 0, '\x1f\x8b'],
  ['xz', 0, '\xfd7zXZ\0'],
  ['zstd', 0, '\x28\xb5\x2f\xfd'],
  ['bzip2', 0, 'BZh'],
  ['zip', 0, 'PK\x03\x04'],
  ['qcow2', 0, 'QFI\xfb'],
];
const PACKED = new Set(['gzip', 'xz', 'zstd', 'bzip2', 'zip', 'qcow2', 'Android sparse image']);
const EMPTY_PROBE_BYTES = 64 * 1024;

/** Faults: `path-not-found` and its kin, `image-packed`, `image-unknown`, `program-missing`. */
export function openImage(path: string): OpenedImage {
  try {
    if (statSync(path).isDirectory()) {
      const volume = volumeOf('', readDirectory(path), 0);
      return { volumes: [volume], close: () => undefined };
    }
    return openFile(path);
  } catch (error) {
    throw faultOfSystemError(error, path) ?? error;
  }
}

function openFile(path: string): OpenedImage {
  const source = ByteSource.open(path);
  const volumes: Volume[] = [];
  const close = (): void => {
    for (const { view } of volumes) view?.tree.close();
    source.close();
  };
  try {
    const partitions = readPartitions(source);
    if (partitions === undefined) volumes.push(wholeImage(source, path));
    else for (const partition of partitions) volumes.push(openPart(nameOf(partition), partOf(source, partition)));
    return { volumes, close };
  } catch (error) {
    close();
    throw error;
  }
}

function wholeImage(source: ByteSource, path: string): Volume {
  const volume = openPart('', source);
  if (volume.state === 'read' || (volume.state === 'unread' && !PACKED.has(volume.format))) return volume;
  const packed = PACKED.has(volume.format);
  throw new Fault({
    code: packed ? 'image-packed' : 'image-unknown',
    what: packed
      ? `the image is packed (${volume.format})`
      : 'the file is no disk with a partition table, and no file system that is known',
    where: path,
    cure: packed
      ? 'Unpack it first (xz -d, zstd -d, qemu-img convert -O raw).'
      : 'Give a raw disk image, an ext4, squashfs, erofs or FAT image, or a folder.',
    exitStatus: EXIT.input,
  });
}

function nameOf({ number, name }: Partition): string {
  return name === '' ? `partition ${number}` : `partition ${number} (${name})`;
}

function partOf(source: ByteSource, { startBytes, sizeBytes }: Partition): ByteSource {
  return source.part(startBytes, sizeBytes);
}

function openPart(name: string, source: ByteSource): Volume {
  const { sizeBytes } = source;
  const without = (state: Volume['state'], format: string, trouble: string): Volume => {
    return { name, format, sizeBytes, view: undefined, state, trouble, isRoot: false };
  };
  const reader = READERS.find(({ is }) => is(source));
  if (reader !== undefined) {
    try {
      return volumeOf(name, reader.read(source), sizeBytes);
    } catch (error) {
      if (!(error instanceof Unreadable) && !(error instanceof RangeError)) throw error;
      return without('unread', 'damaged', error.message);
    }
  }
  const other = OTHERS.find(([, offset, bytes]) => startsWith(source, offset, bytes))?.[0];
  if (other !== undefined) return without('unread', other, `${other} is not read`);
  return isEmpty(source)
    ? without('empty', 'empty', '')
    : without('unknown', 'unknown', 'no file system is known by these bytes');
}

function volumeOf(name: string, tree: ImageTree, sizeBytes: number): Volume {
  const view = new TreeView(tree);
  const has = (folder: string): boolean => view.resolve(folder)?.kind === 'folder';
  const isRoot = has('etc') && (has('usr') || has('bin'));
  return { name, format: tree.format, sizeBytes, view, state: 'read', trouble: '', isRoot };
}

function startsWith(source: ByteSource, offset: number, bytes: string): boolean {
  if (source.sizeBytes < offset + bytes.length) return false;
  return source.read(offset, bytes.length).toString('latin1') === bytes;
}

function isEmpty(source: ByteSource): boolean {
  const probe = source.read(0, Math.min(EMPTY_PROBE_BYTES, source.sizeBytes));
  return probe.every((byte) => byte === 0 || byte === 0xff);
}
