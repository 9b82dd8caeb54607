/** The machine's own disk, and a list of everything that was changed on it. Reading is not counted: it wears nothing out. */
import type { Disk, DiskFile, OpenMode } from '../../../platform/disk.ts';
import { nodeDisk } from '../../../platform/disk.ts';

export class CountedDisk implements Disk {
  /** One word per change: `create`, `write`, `truncate`, `sync`, `rename`, `remove`, `make-directory`, `sync-directory`. */
  readonly changes: string[] = [];

  async open(path: string, mode: OpenMode, permissions?: number): Promise<DiskFile> {
    if (mode === 'create') this.changes.push('create');
    const file = await nodeDisk.open(path, mode, permissions);
    const counted = <T>(word: string, change: () => Promise<T>): Promise<T> => {
      this.changes.push(word);
      return change();
    };
    return {
      read: (length, position) => file.read(length, position),
      readInto: (into, position) => file.readInto(into, position),
      write: (bytes, position) => counted('write', () => file.write(bytes, position)),
      truncate: (lengthBytes) => counted('truncate', () => file.truncate(lengthBytes)),
      sizeBytes: () => file.sizeBytes(),
      sync: () => counted('sync', () => file.sync()),
      close: () => file.close(),
    };
  }
  readFile(path: string, capBytes: number): Promise<Uint8Array | undefined> {
    return nodeDisk.readFile(path, capBytes);
  }
  rename(from: string, to: string): Promise<void> {
    this.changes.push('rename');
    return nodeDisk.rename(from, to);
  }
  remove(path: string): Promise<void> {
    this.changes.push('remove');
    return nodeDisk.remove(path);
  }
  makeDirectory(path: string, permissions?: number): Promise<void> {
    this.changes.push('make-directory');
    return nodeDisk.makeDirectory(path, permissions);
  }
  list(path: string): Promise<string[]> {
    return nodeDisk.list(path);
  }
  syncDirectory(path: string): Promise<void> {
    this.changes.push('sync-directory');
    return nodeDisk.syncDirectory(path);
  }
}
