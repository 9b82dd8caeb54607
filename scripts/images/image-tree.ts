/**
 * What lies in a demo image, as data: paths, modes and where the bytes come from. Making file systems of it is the
 * business of ext4-image.ts and fat-image.ts.
 *
 * Invariant: the tree depends on the files it is made from, the version and the size, and on nothing else (no clock,
 * no random number, no order of a folder), so that the same inputs give the same image.
 */
import { createHash } from 'node:crypto';
import { lstat, opendir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemErrorCode } from '../../platform/fault.ts';

export interface ImageFile {
  /** Absolute, inside the image. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly content:
    | { readonly kind: 'file'; readonly source: string; readonly sizeBytes: number }
    | { readonly kind: 'bytes'; readonly bytes: Uint8Array };
}

/** A file with this content, that no file of this machine has. */
export function madeFile(path: string, content: string | Uint8Array, mode = 0o644): ImageFile {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return { path, mode, content: { kind: 'bytes', bytes } };
}

export interface RealFile {
  readonly source: string;
  readonly path: string;
  readonly sizeBytes: number;
}

/** debugfs and mtools have quoting rules of their own; files with such names are left out. */
const PLAIN_NAME = /^[A-Za-z0-9._+-]+$/;
const EXT4_BLOCK_BYTES = 4096;
/** One file in about twenty is another one in the next version, as after a round of security upgrades. */
const CHANGED_IN_256 = 13;

const onDisk = (sizeBytes: number): number => Math.ceil(sizeBytes / EXT4_BLOCK_BYTES) * EXT4_BLOCK_BYTES;

/** Folders of real files, first choice first: a machine with few programs still has the project's packages. */
export function realFileRoots(projectDirectory: string): { source: string; path: string }[] {
  return [
    { source: '/usr/bin', path: '/usr/bin' },
    { source: '/usr/lib', path: '/usr/lib' },
    { source: join(projectDirectory, 'node_modules'), path: '/opt/packages' },
  ];
}

async function collect(
  source: string,
  path: string,
  enough: () => boolean,
  take: (file: RealFile) => void,
): Promise<void> {
  const names: string[] = [];
  try {
    for await (const entry of await opendir(source)) if (PLAIN_NAME.test(entry.name)) names.push(entry.name);
  } catch (error) {
    if (['EACCES', 'ENOENT'].includes(systemErrorCode(error) ?? '')) return;
    throw error;
  }
  for (const name of names.sort()) {
    if (enough()) return;
    const facts = await lstat(join(source, name));
    if (facts.isDirectory()) await collect(join(source, name), `${path}/${name}`, enough, take);
    else if (facts.isFile() && (facts.mode & 0o444) === 0o444) {
      take({ source: join(source, name), path: `${path}/${name}`, sizeBytes: facts.size });
    }
  }
}

/** Real files of at least `totalBytes` together, none larger than `largestBytes`, in a fixed order. */
export async function realFiles(
  projectDirectory: string,
  totalBytes: number,
  largestBytes: number,
): Promise<RealFile[]> {
  const files: RealFile[] = [];
  let sum = 0;
  const enough = (): boolean => sum >= totalBytes;
  for (const root of realFileRoots(projectDirectory)) {
    await collect(root.source, root.path, enough, (file) => {
      // Small files cost inodes, not bytes: an image of a few thousand of them takes minutes to make.
      if (file.sizeBytes < 16 * 1024 || file.sizeBytes > largestBytes) return;
      files.push(file);
      sum += onDisk(file.sizeBytes);
    });
  }
  return files;
}

function changesIn(version: string, path: string): boolean {
  return (createHash('sha256').update(`${version}\0${path}`).digest()[0] ?? 0) < CHANGED_IN_256;
}

/**
 * The files of one version: `files` until `budgetBytes` of blocks are used; the paths that a version changes take the
 * bytes of a file from the far end of the list.
 */
export function filesOfVersion(files: readonly RealFile[], version: string, budgetBytes: number): ImageFile[] {
  const chosen: ImageFile[] = [];
  let left = budgetBytes;
  files.forEach((file, index) => {
    const other = files[files.length - 1 - index] ?? file;
    const from = changesIn(version, file.path) ? other : file;
    if (onDisk(from.sizeBytes) > left) return;
    left -= onDisk(from.sizeBytes);
    chosen.push({
      path: file.path,
      mode: 0o755,
      content: { kind: 'file', source: from.source, sizeBytes: from.sizeBytes },
    });
  });
  return chosen;
}

export function contentSizeBytes(file: ImageFile): number {
  return file.content.kind === 'bytes' ? file.content.bytes.length : file.content.sizeBytes;
}

export async function readContent(file: ImageFile): Promise<Uint8Array> {
  return file.content.kind === 'bytes' ? file.content.bytes : await readFile(file.content.source);
}
