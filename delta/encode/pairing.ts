/**
 * Which old file a new file is to be compared with: the one of the same path, else one whose path differs only in
 * digits (a library's or a kernel's version), else one of the same name up to digits and nearest in size.
 */
import type { Ext4File } from './ext4.ts';

export class OldFiles {
  readonly #byPath = new Map<string, Ext4File>();
  readonly #byShape = new Map<string, Ext4File[]>();
  readonly #byName = new Map<string, Ext4File[]>();

  constructor(files: readonly Ext4File[]) {
    for (const file of files) {
      this.#byPath.set(file.path, file);
      add(this.#byShape, shapeOf(file.path), file);
      add(this.#byName, shapeOf(nameOf(file.path)), file);
    }
  }

  samePath(path: string): Ext4File | undefined {
    return this.#byPath.get(path);
  }

  /** The best first; at most `atMost`. Never a directory for a file or the other way round. */
  candidates(file: Ext4File, atMost: number): Ext4File[] {
    const found = new Set<Ext4File>();
    const same = this.#byPath.get(file.path);
    if (same?.kind === file.kind) found.add(same);
    const shape = this.#byShape.get(shapeOf(file.path)) ?? [];
    const name = this.#byName.get(shapeOf(nameOf(file.path))) ?? [];
    for (const list of [nearest(shape, file), nearest(name, file)]) {
      for (const other of list) {
        if (found.size >= atMost) return [...found];
        if (other.kind === file.kind && other.extents.length > 0) found.add(other);
      }
    }
    return [...found];
  }
}

function nearest(files: readonly Ext4File[], file: Ext4File): Ext4File[] {
  const far = (other: Ext4File): number => Math.abs(other.sizeBytes - file.sizeBytes);
  return files.length > 200 ? [] : [...files].sort((a, b) => far(a) - far(b));
}

function shapeOf(path: string): string {
  return path.replaceAll(/\d+([.\-+~]\d+)*/g, '#');
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function add(map: Map<string, Ext4File[]>, key: string, file: Ext4File): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [file]);
  else list.push(file);
}
