/**
 * Which old file a new file is to be compared with: the one of the same path, else one whose path differs only in
 * digits (a library's or a kernel's version), else one of the same name up to digits and nearest in size.
 */
/** A file of any file system. */
export interface NamedFile {
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'other';
  readonly sizeBytes: number;
}

export class OldFiles<File extends NamedFile> {
  readonly #byPath = new Map<string, File>();
  readonly #byShape = new Map<string, File[]>();
  readonly #byName = new Map<string, File[]>();

  constructor(files: readonly File[]) {
    for (const file of files) {
      this.#byPath.set(file.path, file);
      add(this.#byShape, shapeOf(file.path), file);
      add(this.#byName, shapeOf(nameOf(file.path)), file);
    }
  }

  samePath(path: string): File | undefined {
    return this.#byPath.get(path);
  }

  /** The best first; at most `atMost`. Never a directory for a file or the other way round. */
  candidates(file: NamedFile, atMost: number): File[] {
    const found = new Set<File>();
    const same = this.#byPath.get(file.path);
    if (same?.kind === file.kind) found.add(same);
    const shape = this.#byShape.get(shapeOf(file.path)) ?? [];
    const name = this.#byName.get(shapeOf(nameOf(file.path))) ?? [];
    for (const list of [nearest(shape, file), nearest(name, file)]) {
      for (const other of list) {
        if (found.size >= atMost) return [...found];
        if (other.kind === file.kind && other.sizeBytes > 0) found.add(other);
      }
    }
    return [...found];
  }
}

function nearest<File extends NamedFile>(files: readonly File[], file: NamedFile): File[] {
  const far = (other: NamedFile): number => Math.abs(other.sizeBytes - file.sizeBytes);
  return files.length > 200 ? [] : [...files].sort((a, b) => far(a) - far(b));
}

function shapeOf(path: string): string {
  return path.replaceAll(/\d+([.\-+~]\d+)*/g, '#');
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function add<File>(map: Map<string, File[]>, key: string, file: File): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [file]);
  else list.push(file);
}
